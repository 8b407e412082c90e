"""The benchmark runs, compares in turn, and refuses what it does not know."""

import itertools

import pytest
import torch

from multiscale import benchmark


@pytest.mark.parametrize("model", ["hmlstm", "clockwork"])
def test_a_small_report_has_every_peer(model, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "PAUSE", 0)
    assert benchmark.main([f"model={model}", "sizes=16x2x5", "rounds=1", "threads=1"]) == 0
    shown = capsys.readouterr().out
    for word in ("torch.nn.LSTM", "reference", "error", "On a GPU: not run", "1 rounds"):
        assert word in shown


def test_a_ratio_is_the_median_over_rounds_of_each_rounds_own(monkeypatch):
    times = {"a": [(1.0, 1.0), (2.0, 2.0), (10.0, 10.0)], "b": [(2.0, 4.0), (2.0, 4.0), (2.0, 4.0)]}
    found = benchmark.ratios(times, "a")
    assert found["a"].total == 1
    assert found["b"].total == 6 / 4
    assert (found["b"].forward, found["b"].backward) == (1.0, 2.0)


def test_peers_take_turns(monkeypatch):
    monkeypatch.setattr(benchmark, "PAUSE", 0)
    seen: list[str] = []
    peers = {name: (lambda name=name: seen.append(name)) for name in "abc"}
    times = benchmark.round_robin(peers, rounds=3)
    assert seen == list(itertools.islice(itertools.cycle("abc"), 12))
    assert [len(found) for found in times.values()] == [3, 3, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=hmlstn"], "model must be one of hmlstm, clockwork; got 'hmlstn'. Did you mean 'hmlstm'?"),
        ([], "model must be one of"),
        (["model=hmlstm", "round=3"], "Did you mean 'rounds'?"),
        (["model=hmlstm", "rounds=0"], "rounds must be a whole number of at least 1; got 0"),
        (["model=hmlstm", "sizes=3x4"], "sizes must be like 512x64x100"),
        (["fast"], "words must be name=value; got 'fast'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(words, message, capsys):
    assert benchmark.main(words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(capsys):
    assert benchmark.main(["model=hmlstm", "device=cuda"]) == 2
    assert "no GPU" in capsys.readouterr().err
