"""The hidden clocks' task: targets by hand, by brute force, and solvable exactly by who knows the periods."""

import pytest
import torch

from multiscale.data.clocked_symbols import ClockedSymbols


def data(**changes) -> ClockedSymbols:
    made = ClockedSymbols(**{"batch_size": 4, "steps": 13, "sequences": (8, 2, 2), **changes})
    made.setup()
    return made


def test_the_target_is_the_symbol_of_the_last_tick():
    made = data(periods=[3], alphabet=5)
    shown = torch.tensor([[4, 1, 2, 3, 0, 0, 1, 2, 2, 2, 1, 1, 4]])
    assert made.targets(shown).tolist() == [[4, 4, 4, 3, 3, 3, 1, 1, 1, 2, 2, 2, 4]]


@pytest.mark.parametrize("periods", [[2, 6], [3, 4], [2, 4, 8]])
def test_several_clocks_hold_a_register_each_and_the_slowest_takes_the_symbol(periods):
    made = data(periods=periods, alphabet=3)
    for inputs, targets in (made.samples["train"][i] for i in range(8)):
        registers = [0] * len(periods)
        for t, (symbol, target) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            due = [j for j, period in enumerate(periods) if t % period == 0]
            if due:
                registers[due[-1]] = symbol
            assert target == sum(r * 3**j for j, r in enumerate(registers))


def test_symbols_are_seeded_and_splits_differ():
    one, same, other = data(seed=1), data(seed=1), data(seed=2)
    assert torch.equal(one.samples["train"].inputs, same.samples["train"].inputs)
    assert one.facts.sha256 == same.facts.sha256 != other.facts.sha256
    assert not torch.equal(one.samples["val"].inputs, one.samples["test"].inputs)
    assert [len(one.samples[split]) for split in ("train", "val", "test")] == [8, 2, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"periods": []}, "periods must be a list"),
        ({"periods": [0]}, r"periods\[0\] must be a whole number of at least 1; got 0"),
        ({"periods": [13]}, r"below steps = 13; got \[13\]"),
        ({"periods": [3, 3]}, "periods must differ"),
        ({"alphabet": 100, "periods": [2, 4]}, "at most 4096 classes; got 10000"),
        ({"sequences": [1, 2]}, "sequences must be three"),
        ({"seed": -1}, "seed must be a number at least 0; got -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        data(**wrong)
