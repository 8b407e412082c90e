"""The benchmark's command line and what it promises to print."""

import math

import pytest
import torch

from multiscale import benchmark
from multiscale.benchmark import Size, main, measure, parse, ratios
from multiscale.benchmarks.hmlstm import multiplications


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(benchmark, "PAUSE", 0)


def test_the_report_of_a_model_has_every_part(capsys):
    assert main(["model=hmlstm", "sizes=6x3x5", "rounds=1"]) == 0
    printed = capsys.readouterr().out
    for part in ("torch.nn.LSTM", "reference", "fused", "layer norm", "worst gradient", "Compiling", "On a GPU"):
        assert part in printed
    assert "6 units, B 3, T 5" in printed
    assert " s." in printed or "not run" in printed


def test_the_clockworks_report_has_its_peers(capsys):
    assert main(["model=clockwork", "sizes=16x2x5", "rounds=1"]) == 0
    printed = capsys.readouterr().out
    for part in ("torch.nn.RNN", "torch.nn.LSTM", "Clockwork RNN, cascade", "hardened", "learned", "multiply", "error"):
        assert part in printed


def test_a_ratio_is_the_median_over_rounds_of_each_rounds_own():
    times = {"a": [(1.0, 1.0), (2.0, 2.0), (10.0, 10.0)], "b": [(2.0, 4.0), (2.0, 4.0), (2.0, 4.0)]}
    found = ratios(times, "a")
    assert found["a"].total == 1
    assert found["b"].total == 6 / 4
    assert (found["b"].forward, found["b"].backward) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["modl=hmlstm"], "there is no setting 'modl'; there are model, sizes"),
        (["modl=hmlstm"], "Did you mean 'model'?"),
        (["model=hmlst"], "model must be one of hmlstm"),
        ([], "model must be one of hmlstm"),
        (["hmlstm"], "words must be name=value; got 'hmlstm'"),
        (["model=hmlstm", "rounds=none"], "rounds must be a whole number of at least 1; got 'none'"),
        (["model=hmlstm", "sizes=6x3"], "sizes must be like 512x64x100"),
        (["model=hmlstm", "precision=float16"], "precision must be one of float32, bf16"),
    ],
)
def test_a_mistake_ends_with_2_and_one_message(words, message, capsys):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1


def test_words_become_settings():
    settings = parse(["model=hmlstm", "sizes=6x3x5,7x1x2", "rounds=3", "precision=bf16"])
    assert settings.sizes == (Size(6, 3, 5), Size(7, 1, 2))
    assert (settings.rounds, settings.precision) == (3, "bf16")


def test_peers_take_turns_and_the_first_is_the_measure():
    turns = []
    found = measure({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=3)
    assert turns == ["a", "b"] * 4
    assert found["a"].total == 1
    assert math.isfinite(found["b"].total)


def test_multiplications_are_counted_by_what_the_boundaries_ask_for():
    never, always = torch.zeros(2, 10, 3), torch.ones(2, 10, 3)
    # Layer 1 reads its input and itself, one product each of the eight; the others copy.
    assert multiplications(never) == (pytest.approx(2 / 8), 6 / 8, [10, 0, 0])
    # At the first step nothing has ended yet, so nothing reads down.
    assert multiplications(always) == (pytest.approx((6 + 2 * 0.9) / 8), 6 / 8, [10, 10, 10])
