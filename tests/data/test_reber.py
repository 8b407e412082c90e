"""Embedded Reber strings: against the grammar as an expression, what may follow, and which steps are decisive."""

import re

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.data.batch import Batch, pad
from multiscale.data.reber import SYMBOLS, EmbeddedReber
from multiscale.training.build import build

LOOP = "T*V(PXT*V)*"  # from the lower left, to where V or PS ends it
REBER = f"B(TS*X(S|X{LOOP}(V|PS))|P{LOOP}(V|PS))E"  # all ways through Reber's graph
STRING = re.compile(rf"B([TP]){REBER}\1E")


def make(**changes) -> EmbeddedReber:
    data = EmbeddedReber(**{"batch_size": 4, "sequences": [300, 10, 10], "strings": 3, **changes})
    data.setup()
    return data


def texts(data: EmbeddedReber, split: str = "train") -> list[str]:
    return ["".join(SYMBOLS[i] for i in inputs.tolist()) for inputs in data.samples[split].inputs]


def test_a_sequence_is_as_many_strings_of_the_grammar_as_were_asked_for():
    for text in texts(make()):
        strings = split_strings(text)
        assert "".join(strings) == text
        assert len(strings) == 3
        assert all(STRING.fullmatch(string) for string in strings)


def split_strings(text: str) -> list[str]:
    """A string ends where an E follows a T or P: R ends with S or V before its own."""
    return re.findall(r".*?[TP]E", text)


def test_what_may_follow_is_what_does_follow_somewhere_after_the_same_beginning():
    follows: dict[str, set[str]] = {}
    data = make(sequences=[1500, 1, 1], strings=1)
    for text in texts(data):
        for at in range(len(text) - 1):
            follows.setdefault(text[: at + 1], set()).add(text[at + 1])
    for text, (_, targets) in zip(texts(data), data.samples["train"], strict=True):
        allowed = ["".join(s for s, on in zip(SYMBOLS, row, strict=True) if on) for row in targets.tolist()]
        assert allowed[-1] == "B"  # of another string
        for at in range(min(5, len(text) - 1)):  # beginnings that are met often
            assert set(allowed[at]) == follows[text[: at + 1]]


def test_every_choice_is_as_likely_as_the_other():
    joined = "".join(texts(make(sequences=[1000, 1, 1])))
    assert joined.count("EBT") / joined.count("EB") == pytest.approx(0.5, abs=0.03)
    assert len(joined) / 3000 == pytest.approx(12, abs=0.2)  # the mean, by the chances of the graph's loops


def test_the_decisive_steps_are_those_where_a_reber_string_has_ended():
    data = make()
    for text, (_, targets) in zip(texts(data), data.samples["train"], strict=True):
        alone = (targets.sum(1) == 1) & targets[:, list(data.facts.decisive)].any(1)
        ends = [match.start() for match in re.finditer(r"(?<=[SV])E", text)]
        assert alone.nonzero().flatten().tolist() == ends
        assert [SYMBOLS[int(targets[at].argmax())] for at in ends] == [text[at + 1] for at in ends]


def test_without_the_outer_symbol_the_best_nll_is_that_of_a_coin_at_each_decisive_step():
    data = make(strings=[2, 2, 5])
    task = build(jobs(["experiment=embedded_reber", "model=rnn"])[0], data.facts).task
    batch = pad([data.samples["test"][i] for i in range(10)], True)
    outputs = 40 * (2 * batch.targets - 1)
    alone = (batch.targets.sum(-1) == 1) & batch.targets[..., list(data.facts.decisive)].any(-1)
    for symbol in data.facts.decisive:
        outputs[..., symbol][alone] = 0.0
    measures = task.measure(outputs, batch)
    assert measures["loss"].mean == pytest.approx(data.facts.references["NLL without the long memory (nats)"])
    assert measures["accuracy_decisive"].mean == 0
    assert measures["accuracy_decisive"].weight == 10 * 5
    assert measures["accuracy"].mean == pytest.approx(1 - 50 / float(batch.mask.sum()))


def test_the_accuracy_asks_for_all_switches_and_counts_no_padding():
    data = make()
    task = build(jobs(["experiment=embedded_reber", "model=rnn"])[0], data.facts).task
    targets = torch.zeros(1, 4, 7)
    targets[0, 0, 1] = targets[0, 1, 2] = targets[0, 2, 3] = targets[0, 2, 4] = 1
    outputs = 2 * targets - 1
    outputs[0, 1, 1] = 1.0  # T beside the P that is due
    batch = Batch(torch.zeros(1, 4, dtype=torch.long), targets, torch.tensor([[True, True, True, False]]))
    measures = task.measure(outputs, batch)
    assert measures["accuracy"].mean == pytest.approx(2 / 3)
    assert measures["accuracy_decisive"].mean == 0.5
    assert "accuracy_decisive" in task.metrics({name: m.mean for name, m in measures.items()})


def test_splits_may_have_sequences_of_their_own_length_and_the_same_seed_gives_the_same_data():
    data = make(strings=[1, 2, 4])
    assert [len(split_strings(texts(data, split)[0])) for split in ("train", "val", "test")] == [1, 2, 4]
    assert make().facts == make().facts != make(seed=1).facts
    assert texts(make(), "val") != texts(make(), "test")


def test_a_passage_is_written_in_letters():
    data = make()
    assert "".join(data.passage(9).symbols) == texts(data, "val")[0][:9]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"strings": 0}, "strings must be a whole number of at least 1; got 0"),
        ({"strings": [1, 2]}, "strings must be one number or 3 of them"),
        ({"sequences": [1, 2]}, "sequences must be three numbers"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, named):
    with pytest.raises(InvalidInput, match=named):
        make(**changes)
