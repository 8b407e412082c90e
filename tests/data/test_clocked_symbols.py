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
    assert made.targets(shown, made.ticks()).tolist() == [[4, 4, 4, 3, 3, 3, 1, 1, 1, 2, 2, 2, 4]]


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


def test_jitter_moves_ticks_by_one_step_as_often_as_asked():
    still = data(periods=[5], steps=96, alphabet=50, sequences=(400, 2, 2))
    made = data(periods=[5], steps=96, alphabet=50, sequences=(400, 2, 2), jitter=0.3)
    inputs, targets = (made.samples["train"].inputs, made.samples["train"].targets)
    assert torch.equal(inputs, still.samples["train"].inputs)
    taken = torch.stack([targets[:, t] == inputs[:, t] for t in range(96)], 1) & (targets != targets.roll(1, 1))
    rate = {lag: taken[:, 20 + lag : 80 : 5].float().mean().item() for lag in range(-2, 3)}
    by_chance = rate[-2] + rate[2]
    assert by_chance < 0.02
    assert abs(rate[0] - 0.7) < 0.03
    assert all(abs(rate[lag] - 0.15) < 0.02 for lag in (-1, 1))


def test_the_first_tick_is_never_moved_and_jitter_is_seeded():
    made, again = data(periods=[3], jitter=1.0), data(periods=[3], jitter=1.0)
    both = [m.samples["train"] for m in (made, again)]
    assert torch.equal(both[0].targets, both[1].targets)
    assert torch.equal(both[0].targets[:, 0], both[0].inputs[:, 0])


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
        ({"jitter": 1.5}, "jitter must be a number at least 0 and at most 1; got 1.5"),
        ({"seed": -1}, "seed must be a number at least 0; got -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        data(**wrong)
