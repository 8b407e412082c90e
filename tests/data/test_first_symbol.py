"""Blocks of which only the first symbol is not known: the strings of the papers, and which began the last."""

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.data.first_symbol import FirstSymbol


def make(**changes) -> FirstSymbol:
    data = FirstSymbol(**{"batch_size": 8, "sequences": [400, 4, 4], **changes})
    data.setup()
    return data


def test_a_block_is_one_of_the_two_strings_of_22_symbols_and_the_class_tells_which_began_the_last():
    data = make()
    assert data.facts.input_size == 22
    for inputs, label in (data.samples["train"][i] for i in range(400)):
        blocks = inputs.reshape(3, 21)
        assert blocks[:, 1:].tolist() == [list(range(2, 22))] * 3
        assert set(blocks[:, 0].tolist()) <= {0, 1}
        assert blocks[2, 0] == label


def test_the_first_symbols_are_even_and_those_of_a_sequence_tell_nothing_of_each_other():
    samples = make(sequences=[20000, 4, 4], delay=1, fillers=1, blocks=2).samples["train"]
    first = samples.inputs[:, ::2]
    assert torch.equal(first[:, 1], samples.targets)
    for one in range(2):
        for other in range(2):
            assert abs(float((first == torch.tensor([one, other])).all(1).double().mean()) - 0.25) < 0.02


def test_fillers_begin_anew_where_the_delay_is_longer():
    inputs, _ = make(delay=12, fillers=5, blocks=1).samples["train"][0]
    assert inputs[1:].tolist() == [2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2, 3]
    assert make(delay=3, fillers=5).samples["train"].inputs.shape == (400, 12)


def test_a_passage_is_written_in_the_papers_letters():
    data = make(delay=2, fillers=2, blocks=2)
    passage = data.passage(5)
    starts = ["ax"[i] for i in passage.inputs[0, ::3].tolist()]
    assert list(passage.symbols) == [starts[0], "b1", "b2", starts[1], "b1"]


def test_the_same_seed_gives_the_same_data_and_another_split_others():
    one, other = make(), make()
    assert one.facts == other.facts
    assert not torch.equal(one.samples["val"].inputs, one.samples["test"].inputs)
    assert make(seed=1).facts.sha256 != one.facts.sha256


@pytest.mark.parametrize("name", ["delay", "fillers", "blocks"])
def test_bad_arguments_are_refused_by_name(name):
    with pytest.raises(InvalidInput, match=f"{name} must be a whole number of at least 1; got 0"):
        make(**{name: 0})
