"""Run folders are read, in whatever state they are."""

import json
import os
import subprocess

import numpy as np
import pytest

from multiscale.checks import InvalidInput
from multiscale.comparison.runs import find, read, read_all
from multiscale.runs.files import write_json
from tests.helpers.run_folders import NOBODY, config, finished, summary, unfinished


def test_a_run_a_sweep_and_any_folder_above_are_found_in_the_order_of_their_numbers(tmp_path):
    sweep = tmp_path / "multirun" / "today"
    runs = [finished(sweep / f"{number}_hmlstm_seed{number}", 1.0, seed=number) for number in (0, 1, 2, 10)]
    assert find([runs[1]]) == [runs[1]]
    assert find([sweep]) == runs
    assert find([tmp_path]) == runs
    assert find([runs[3], tmp_path]) == [runs[3], *runs[:3]]  # each once


def test_a_path_without_runs_is_said_with_the_nearest_name(tmp_path):
    finished(tmp_path / "sweep" / "0", 1.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"swep.*Did you mean 'sweep'"):
        find([tmp_path / "swep"])
    with pytest.raises(InvalidInput, match=r"empty.*has no run in it"):
        find([tmp_path / "empty"])


def test_folders_inside_a_run_are_not_runs(tmp_path):
    run = finished(tmp_path / "run", 1.0)
    finished(run / "checkpoints" / "odd", 1.0)
    assert find([tmp_path]) == [run]


def test_a_finished_run_tells_what_it_was_and_measured(tmp_path):
    run = read(finished(tmp_path / "a", 1.25, seed=3))
    assert (run.state, run.reason, run.name, run.seed) == ("finished", "", "hmlstm", 3)
    assert (run.model, run.data, run.task, run.monitor, run.metric) == (
        "hmlstm",
        "python_docs",
        "language_model",
        "val/bpc",
        "bpc",
    )
    assert run.score == 1.25


def test_a_config_is_read_as_it_stands_in_the_folder(tmp_path):
    run = read(finished(tmp_path / "a", 1.0, changes={"model": {"hidden_size": "${data.batch_size}"}}))
    assert run.config["model"]["hidden_size"] == 4
    assert run.config["callbacks"]["best"]["dirpath"] == "${folder}/checkpoints"
    assert not any("folder" in str(value) for value in run.leaves.values())


def test_runs_that_differ_only_in_seed_place_and_telling_are_one_configuration(tmp_path):
    one = read(finished(tmp_path / "a", 1.0))
    same = {
        "seed": {"seed": 5},
        "name": {"name": "mine"},
        "threads": {"threads": 2},
        "folder": {"folder": "elsewhere"},
        "place": {"rendezvous": "host:1"},
        "new": {"init_from": None},
        "logger": {"logger": {"wandb": {"_target_": "multiscale.training.logging.wandb_log.SafeWandb"}}},
        "shown": {"trainer": {"log_every_n_steps": 5, "enable_progress_bar": False}},
        "drawn": {"callbacks": {"figures": {"every_n_epochs": 7}}},
        "kept": {"callbacks": {"last": {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "monitor": None}}},
    }
    for name, changes in same.items():
        assert read(finished(tmp_path / name, 1.0, changes=changes)).configuration == one.configuration, name
    other = {
        "width": {"model": {"hidden_size": 33}},
        "epochs": {"trainer": {"max_epochs": 5}},
        "rate": {"optim": {"optimizer": {"lr": 0.01}}},
        "batch": {"data": {"batch_size": 8}},
        "scored": {"callbacks": {"boundaries": {"_target_": "BoundaryScores", "reference": "spaces"}}},
    }
    for name, changes in other.items():
        assert read(finished(tmp_path / name, 1.0, changes=changes)).configuration != one.configuration, name


def test_what_follows_the_seed_of_the_run_is_no_difference(tmp_path):
    runs = [
        read(finished(tmp_path / str(seed), 1.0, seed=seed, changes={"data": {"seed": "${seed}"}})) for seed in (0, 1)
    ]
    assert runs[0].configuration == runs[1].configuration
    assert runs[0].setting == runs[1].setting
    assert runs[0].leaves == runs[1].leaves
    assert [run.config["data"]["seed"] for run in runs] == [0, 1]
    assert runs[0].content != runs[1].content  # so their checksums may differ


def test_the_identity_in_the_folder_decides_what_is_one_configuration(tmp_path):
    science = [config()["identity"]["science"], config(width=64)["identity"]["science"]]
    assert [read(finished(tmp_path / str(width), 1.0, width=width)).configuration for width in (32, 64)] == science
    folder = finished(tmp_path / "a", 1.0, width=64)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(science[1], science[0]))
    assert read(folder).configuration == science[0]
    path.write_text(path.read_text().partition("identity:")[0])
    assert read(folder).configuration not in science
    assert read(folder).reason == ""


@pytest.mark.parametrize(
    ("state", "status", "seen", "reason"),
    [
        (
            "failed",
            {"error": "RuntimeError: out of memory"},
            "failed",
            "failed at epoch 2, step 40: RuntimeError: out of",
        ),
        ("interrupted", {}, "interrupted", "interrupted at epoch 2"),
        ("running", {}, "running", "still running"),
        ("running", {"pid": NOBODY}, "interrupted", "ended without a word"),
        ("running", {"pid": NOBODY, "host": "elsewhere"}, "running", "still running"),
        (
            "interrupted",
            {"error": "ended by SIGTERM"},
            "interrupted",
            "interrupted at epoch 2, step 40: ended by SIGTERM",
        ),
        ("waiting", {}, "waiting", "not begun"),
        ("dreaming", {}, "unknown", "'dreaming'"),
    ],
)
def test_the_state_of_a_run_without_a_result_is_told(tmp_path, state, status, seen, reason):
    run = read(unfinished(tmp_path / "a", state, status))
    assert run.state == seen
    assert reason in run.reason
    assert run.summary == {}
    assert np.isnan(run.score)


def test_a_process_that_has_ended_is_dead(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    assert read(unfinished(tmp_path / "a", "running", {"pid": process.pid})).state == "interrupted"
    assert read(unfinished(tmp_path / "b", "running", {"pid": os.getpid()})).state == "running"


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("summary.json", '{"name": "hmls', "summary.json is damaged"),
        ("summary.json", "", "summary.json is damaged"),
        ("summary.json", "[1]", "summary.json is damaged"),
        ("summary.json", "{}", "summary.json has no val"),
        ("summary.json", None, "summary.json is missing"),
        ("summary.json", b"\xff\xfe\x00", "summary.json is damaged"),
        ("status.json", '{"state": ', "status.json is damaged"),
        ("config.yaml", "a: [1", "config.yaml is damaged"),
        ("config.yaml", "just words", "config.yaml is damaged"),
        ("config.yaml", "data: [${", "config.yaml is damaged"),
        ("config.yaml", "", "config.yaml is damaged: it is no mapping"),
        ("config.yaml", "seed: 0", "config.yaml has no model"),
        ("config.yaml", None, "config.yaml is missing"),
    ],
)
def test_a_damaged_file_is_a_reason_and_no_crash(tmp_path, file, text, reason):
    folder = finished(tmp_path / "a", 1.0)
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    (run,) = read_all([folder])
    assert reason in run.reason


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_a_reason(tmp_path, score):
    folder = finished(tmp_path / "a", 1.0)
    told = summary(config(), 1.0)
    told["test"]["test/bpc"] = score
    write_json(folder / "summary.json", told)
    assert read(folder).reason == "test/bpc is no number"
    (folder / "summary.json").write_text(json.dumps(told))
    assert score is None or "a number that is not finite" in read(folder).reason


def test_a_run_without_a_status_or_a_seed_stands_apart(tmp_path):
    folder = finished(tmp_path / "a", 1.5, changes={"seed": "first"})
    assert read(folder).reason == "its seed is 'first'"
    (folder / "status.json").unlink()
    assert (read(folder).state, read(folder).reason) == ("unknown", "status.json is missing")


def test_labels_tell_what_differs_among_configurations_of_a_model(tmp_path):
    finished(tmp_path / "0", 1.0, model="stacked_lstm")
    finished(tmp_path / "1", 1.0)
    assert [run.label for run in read_all([tmp_path])] == ["stacked_lstm", "hmlstm"]
    unfinished(tmp_path / "2", "failed", width=64)
    labels = [run.label for run in read_all([tmp_path])]
    assert labels == ["stacked_lstm", "hmlstm, hidden_size 32", "hmlstm, hidden_size 64"]


def test_labels_of_a_grid_name_every_axis(tmp_path):
    for number, (width, rate) in enumerate([(32, 0.003), (32, 0.01), (64, 0.003), (64, 0.01)]):
        finished(tmp_path / str(number), 1.0, width=width, changes={"optim": {"optimizer": {"lr": rate}}})
    labels = [run.label for run in read_all([tmp_path])]
    assert labels == [f"hmlstm, hidden_size {width}, lr {rate}" for width in (32, 64) for rate in (0.003, 0.01)]


def test_labels_count_differences_that_go_along_with_a_named_one(tmp_path):
    finished(tmp_path / "0", 1.0, width=32)
    finished(tmp_path / "1", 1.0, width=64, changes={"trainer": {"max_epochs": 9}, "data": {"batch_size": 8}})
    runs = read_all([tmp_path])
    assert [run.label for run in runs] == ["hmlstm, hidden_size 32 (+2)", "hmlstm, hidden_size 64 (+2)"]
    assert runs[1].details == "hidden_size 64, batch_size 8, max_epochs 9"


def test_a_chosen_head_stands_in_the_label(tmp_path):
    finished(tmp_path / "0", 1.0)
    finished(
        tmp_path / "1", 1.0, changes={"choices": {"head": "concat"}, "head": {"_target_": "multiscale.nn.heads.Concat"}}
    )
    assert [run.label for run in read_all([tmp_path])] == ["hmlstm, head gated", "hmlstm, head concat"]


def test_curves_are_the_logged_values_at_their_steps(tmp_path):
    curves = read(finished(tmp_path / "a", 1.0)).curves
    assert set(curves) == {"train/bpc", "val/bpc", "trace/period_1", "trace/period_2"}
    steps, values = curves["train/bpc"]
    assert steps.tolist() == [19, 39, 59, 79]
    np.testing.assert_allclose(values, [4, 2, 4 / 3, 1])
    assert [part.tolist() for part in curves["val/bpc"]] == [[39, 79], [2.5, 3.5]]


def test_a_step_logged_again_counts_as_it_was_logged_last(tmp_path):
    folder = finished(tmp_path / "a", 1.0)
    (folder / "metrics.csv").write_text("epoch,step,x\n0,10,1\n0,20,2\n0,30,3\n0,20,20\n0,30,30\n0,40,4\n")
    steps, values = read(folder).curves["x"]
    assert steps.tolist() == [10, 20, 30, 40]
    assert values.tolist() == [1, 20, 30, 4]


def test_a_cell_that_is_no_number_is_left_out_of_its_curve_alone(tmp_path):
    folder = finished(tmp_path / "a", 1.0)
    (folder / "metrics.csv").write_text("epoch,step,x,y\n0,10,1.5,4\n0,20,what,5\n0,30,2.5,6\n")
    curves = read(folder).curves
    assert [part.tolist() for part in curves["x"]] == [[10, 30], [1.5, 2.5]]
    assert [part.tolist() for part in curves["y"]] == [[10, 20, 30], [4, 5, 6]]


def test_what_is_damaged_in_curves_is_left_out_with_a_last_line_that_was_cut_off(tmp_path):
    folder = finished(tmp_path / "a", 1.0)
    (folder / "metrics.csv").write_text("epoch,step,x\n0,10,1.5\n0,20,1.2")  # was 1.25
    assert [part.tolist() for part in read(folder).curves["x"]] == [[10], [1.5]]
    (folder / "metrics.csv").write_text("epoch,step,x,y\r\n0,10,1.5\r\n0,20,,7\r\n0,30,what,8\r\n0,,9,9\r\n")
    curves = read(folder).curves
    assert {name: [part.tolist() for part in curve] for name, curve in curves.items()} == {
        "x": [[10], [1.5]],
        "y": [[20, 30], [7, 8]],
    }
    (folder / "metrics.csv").write_text("epoch,step,x\n")
    assert read(folder).curves == {}
    (folder / "metrics.csv").unlink()
    assert read(folder).curves == {}


def test_an_excerpt_is_what_was_kept_or_nothing(tmp_path):
    folder = finished(tmp_path / "a", 1.0)
    assert read(folder).excerpt() == {}
    (folder / "excerpt.json").write_text('{"text": "abc"}')
    assert read(folder).excerpt() == {"text": "abc"}
    (folder / "excerpt.json").write_text('{"text')
    assert read(folder).excerpt() == {}
