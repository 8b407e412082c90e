"""Loggers in general: what each need not do, and how they go on with a training that was stopped."""

import json
from types import SimpleNamespace

import pytest
import wandb
from pytorch_lightning.loggers import Logger
from rich.console import Console

from multiscale.checks import InvalidInput
from multiscale.training.logging import lightning_logs, progress, wandb_log
from multiscale.training.logging import loggers as logs
from multiscale.training.logging.base import RunLogger
from multiscale.training.logging.csv_log import CSVLog
from multiscale.training.logging.lightning_logs import MLflowLog, TensorBoardLog
from tests.conftest import TINY


class Foreign(Logger):
    """A logger of Lightning's kind, which knows of nothing but metrics."""

    name, version, closed = "foreign", None, ""

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        pass

    def finalize(self, status):
        self.closed = status


class Silent(Foreign, RunLogger):
    """One of ours that shows metrics alone."""

    begun = None

    def begin(self, rows, again):
        self.begun = (rows, again)


def test_what_a_logger_does_not_show_costs_nothing(tmp_path):
    both = [Silent(), Foreign()]
    logs.begin_logs(both, 3)
    assert both[0].begun == (3, 0)
    logs.log_image(both, "a", tmp_path / "none.png")
    logs.log_table(both, "a", {"b": ["c"]})
    logs.log_numbers(both, {"a": 1.0})
    logs.finish(both, failed=True)
    assert [logger.closed for logger in both] == ["failed", "failed"]
    assert logs.closing_lines(both) == []
    assert logs.logged_rows(both) == 0


def test_logs_go_on_after_the_rows_of_a_checkpoint_and_tell_which_come_again(tmp_path):
    for step in range(5):
        CSVLog(tmp_path).log_metrics({"a": step}, step)
    both = [CSVLog(tmp_path), Silent()]
    assert logs.logged_rows(both) == 5
    logs.begin_logs(both, 3)
    assert both[1].begun == (3, 2)
    assert logs.logged_rows(both) == 3
    both[0].log_metrics({"a": 3, "b": 1}, 3)
    assert both[0].path.read_text() == "step,a,b\n0,0,\n1,1,\n2,2,\n3,3,1\n"


def test_a_row_that_was_cut_off_is_none(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a\n0,1.0\n1,2")
    log = CSVLog(tmp_path)
    assert log.rows == 1
    log.begin(1, 0)
    assert log.path.read_text() == "step,a\n0,1.0\n"


@pytest.mark.parametrize(("columns", "shown"), [(80, 2), (101, 3), (60, 0)])
def test_the_bar_shows_as_many_metrics_as_fit_a_line(monkeypatch, columns, shown):
    metrics = {"train/bpc": 1.74449, "train/updates": 1.33, "val/bpc": 1.80111}
    monkeypatch.setattr(progress, "get_console", lambda: Console(width=columns))
    told = progress.Progress().get_metrics(SimpleNamespace(progress_bar_metrics=metrics, loggers=[]), None)
    assert list(told) == ["val/bpc", "train/bpc", "train/updates"][:shown]


@pytest.mark.parametrize(("epochs", "told"), [(4, "Epoch 1/4"), (-1, "Epoch 1"), (None, "Epoch 1")])
def test_the_bar_counts_epochs_from_one_up_to_the_last_where_it_is_known(epochs, told):
    bar = progress.Progress()
    bar._trainer = SimpleNamespace(max_epochs=epochs)
    assert bar._get_train_description(0).rstrip() == told


def test_wandb_knows_how_often_rows_are_to_reach_the_disk():
    """A setting outside of its public face, without which a run that is killed lacks its last rows."""
    assert wandb.Settings(**{wandb_log.FLUSH: 1.0}).model_dump()[wandb_log.FLUSH] == 1.0


def test_tensorboard_and_mlflow_hold_the_curves_the_figures_and_the_costs_of_a_run(here, tmp_path):
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = here("model=hmlstm", *TINY, "logger=[tensorboard,mlflow]", f"logger.mlflow.tracking_uri=file:{tmp_path}/ml")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in tmp_path.rglob("summary.json"))
    summary = json.loads((folder / "summary.json").read_text())
    score, cost = summary["test"]["test/bpc"], summary["parameters"]

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert events.Scalars("test/bpc")[-1].value == pytest.approx(score, rel=1e-6)
    assert events.Scalars("cost/parameters")[-1].value == cost
    assert {"figures/raster", "figures/boundaries"} <= set(events.Tags()["images"])

    client = MlflowClient(f"file:{tmp_path}/ml")
    run = client.get_run((folder / "mlflow_id.txt").read_text().strip())
    assert run.data.metrics["test/bpc"] == pytest.approx(score)
    assert run.data.metrics["cost/parameters"] == cost
    assert run.data.params["model/num_layers"] == "3"
    assert run.info.status == "FINISHED"
    assert "figures/raster.png" in [file.path for file in client.list_artifacts(run.info.run_id, "figures")]


def test_a_resumed_training_goes_on_in_one_run_and_logs_no_row_twice(tmp_path):
    def log() -> MLflowLog:
        return MLflowLog(str(tmp_path), "e", "n", f"file:{tmp_path}/ml")

    first, second = log(), log()
    for step in range(3):
        first.log_metrics({"a": step}, step)
    second.begin(rows=1, again=2)
    for step in range(1, 5):
        second.log_metrics({"a": step}, step)
    run_id = (tmp_path / "mlflow_id.txt").read_text().strip()
    assert [point.value for point in second.experiment.get_metric_history(run_id, "a")] == [0, 1, 2, 3, 4]


def test_a_logger_whose_package_is_missing_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(lightning_logs, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'multiscale-rnn\[tensorboard\]'"):
        TensorBoardLog(str(tmp_path))
