"""The benchmark's command line and what it promises to print."""

import math

import pytest
import torch

from multiscale.benchmark import REPORTS, benchmark
from multiscale.benchmarks import backbones, hmlstm, timing
from multiscale.benchmarks.hmlstm import multiplications
from multiscale.benchmarks.streaming import RATES, rarely_ending
from multiscale.benchmarks.timing import REPEATS, Settings, Size, measure, ratios, sizes_of
from multiscale.checks import InvalidInput
from tests.conftest import MODELS, ROOT


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE", 0)


@pytest.mark.slow
def test_the_report_of_a_model_has_every_part(capsys):
    benchmark(["model=hmlstm", "sizes=6x3x5", "rounds=1"])
    printed = capsys.readouterr().out
    for part in (
        "torch.nn.LSTM",
        "reference",
        "fused",
        "layer norm",
        "worst gradient",
        "Compiling",
        "On a GPU",
        "rests",
    ):
        assert part in printed
    assert "6 units, B 3, T 5" in printed
    assert printed.index("| hmlstm ") < printed.index("| reference")
    assert " s." in printed or "not run" in printed


@pytest.mark.slow
def test_without_a_model_there_is_a_row_for_each_with_a_ratio_for_every_column(capsys):
    benchmark(["sizes=16x2x3", "rounds=1", "threads=1"])
    captured = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in captured.out.splitlines() if "|" in line]
    assert [row[0] for row in rows[2:]] == ["torch.nn.LSTM", *MODELS]
    assert rows[2][2:] == ["48", *["1.00"] * 4]
    assert all(int(row[2]) == pytest.approx(48, rel=0.1) for row in rows[2:])
    assert all(float(cell) > 0 for row in rows[2:] for cell in row[4:])
    assert "training, 1 thread: turn 1 of 1" in captured.err.splitlines()


def test_a_model_that_takes_no_size_near_enough_is_named(monkeypatch):
    monkeypatch.setattr(backbones, "NEAR", 0)
    with pytest.raises(InvalidInput, match="sizes must be such that clockwork takes a hidden_size near 3: "):
        backbones.backbone("clockwork", Size(1, 1, 1))


def test_a_lone_stacked_lstm_has_the_weights_of_its_peer():
    peer = torch.nn.LSTM(16, 16, 3)
    assert backbones.describe("x", backbones.backbone("stacked_lstm", Size(16, 1, 1)), peer)[2:] == (48, 1.0)


def test_one_by_one_goes_through_the_steps_of_the_whole():
    network, x = backbones.backbone("gru", Size(8, 1, 1)).eval(), torch.randn(1, 6, 8)
    seen = []
    network.register_forward_hook(lambda *call: seen.append(call[2].levels[-1]))
    backbones.one_by_one(network, x)()
    assert torch.allclose(torch.cat(seen, 1), network(x).levels[-1], atol=1e-6)


def test_the_clockworks_report_has_its_peers(capsys):
    benchmark(["model=clockwork", "sizes=16x2x5", "rounds=1"])
    printed = capsys.readouterr().out
    for part in ("torch.nn.RNN", "torch.nn.LSTM", "Clockwork RNN, ", "hardened", "learned", "multiply", "error"):
        assert part in printed


def test_the_report_of_streams_has_its_peers(capsys):
    benchmark(["model=streaming", "sizes=16x1x5", "rounds=1"])
    printed = capsys.readouterr().out
    for part in ("One character at a time", "LSTMCell", "torch.nn.LSTM ", "HM-LSTM, stream", "Clockwork RNN, stream"):
        assert part in printed


@pytest.mark.skipif(hmlstm.kernels()[0] != "native", reason="no C++ compiler")
def test_the_report_of_resting_levels_draws_their_time(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark(["model=resting", "sizes=16x2x5", "rounds=1"])
    assert "updates a step above the first layer" in capsys.readouterr().out
    assert (tmp_path / "resting.png").stat().st_size > 10_000


def test_its_hmlstm_ends_segments_as_rarely_as_it_says():
    inputs = torch.randn(200, 1, 32)
    fired = rarely_ending(inputs).eval()(inputs.transpose(0, 1), trace=True).trace.boundary.mean((0, 1))
    assert fired[:2].tolist() == pytest.approx(RATES, abs=0.05)


def test_a_ratio_is_the_median_over_rounds_of_each_rounds_own():
    times = {"a": [(1.0, 1.0), (2.0, 2.0), (10.0, 10.0)], "b": [(2.0, 4.0), (2.0, 4.0), (2.0, 4.0)]}
    found = ratios(times, "a")
    assert found["a"].total == 1
    assert found["b"].total == 6 / 4
    assert (found["b"].forward, found["b"].backward) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["modl=hmlstm"], "modl does not exist; there is model, sizes, .* Did you mean 'model'?"),
        (["model=hmlst"], "model must be one of chunking, .*; got 'hmlst'. Did you mean 'hmlstm'?"),
        (["model=timing"], "model must be one of chunking, .*; got 'timing'"),
        (["hmlstm"], "arguments must be of the form key=value; got 'hmlstm'"),
        (["model=hmlstm", "rounds=none"], "rounds must be a whole number; got 'none'"),
        (["model=hmlstm", "rounds=0"], "rounds must be a whole number of at least 1; got 0"),
        (["model=hmlstm", "threads=1,0"], "threads must be a whole number of at least 1; got 0"),
        (["model=hmlstm", "threads=two"], "threads must be whole numbers with commas between, as 1,2; got 'two'"),
        (["model=hmlstm", "sizes=6x3"], "sizes must be like 512x64x100"),
        (["model=hmlstm", "precision=float16"], "precision must be one of float32, bf16"),
        (["model=streaming", "precision=bf16"], "precision must be float32 for model=streaming; got 'bf16'"),
        (["model=hmlstm", "device=gpu"], "device must be one of cpu, cuda; got 'gpu'"),
    ],
)
def test_a_mistake_is_told_by_name(words, message):
    with pytest.raises(InvalidInput, match=message):
        benchmark(words)


def test_bf16_is_not_measured_where_torch_has_no_lstm_of_it(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(InvalidInput, match="torch has no LSTM to measure against on this CPU; use float32"):
        benchmark(["model=hmlstm", "precision=bf16", "sizes=3x2x4"])
    measured = []
    monkeypatch.setattr(hmlstm, "speed", lambda settings, rows: measured.extend(rows))
    for part in ("error", "resting", "skipping"):
        monkeypatch.setattr(hmlstm, part, lambda *_: None)
    hmlstm.report(Settings())
    assert {precision for _, precision, _ in measured} == {"float32"}


def test_a_mistake_ends_with_2_and_one_line(cli):
    done = cli("model=hmlst", module="benchmark", PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_help_says_how_it_is_called(cli):
    done = cli("--help", module="benchmark", PYTHONPATH=str(ROOT))
    assert done.returncode == 0
    assert "python -m multiscale.benchmark [model=hmlstm]" in done.stdout
    assert done.stderr == ""


def test_every_report_is_found_by_the_name_of_its_file():
    files = {path.stem for path in (ROOT / "multiscale/benchmarks").glob("*.py")}
    assert set(REPORTS) == files - {"__init__", "timing", "backbones"}
    assert set(REPORTS) <= {*MODELS, "streaming", "resting"}


def test_words_become_sizes_and_settings():
    assert sizes_of("6x3x5,7x1x2") == (Size(6, 3, 5), Size(7, 1, 2))
    assert Settings().sizes is None


def test_peers_take_turns_and_the_first_is_the_measure():
    turns = []
    found = measure({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=3)
    assert turns == [*"a" * REPEATS, *"b" * REPEATS] * 4  # short ones several times in a turn
    assert found["a"].total == 1
    assert math.isfinite(found["b"].total)


def test_multiplications_are_counted_by_what_the_boundaries_ask_for():
    never, always = torch.zeros(2, 10, 3), torch.ones(2, 10, 3)
    # Layer 1 reads its input and itself, one product each of the eight; the others copy.
    assert multiplications(never) == (pytest.approx(2 / 8), 6 / 8, [10, 0, 0])
    # At the first step nothing has ended yet, so nothing reads down.
    assert multiplications(always) == (pytest.approx((6 + 2 * 0.9) / 8), 6 / 8, [10, 10, 10])
