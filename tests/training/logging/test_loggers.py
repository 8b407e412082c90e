"""Loggers in general: what each need not do, and how they go on with a training that was stopped."""

import wandb
from pytorch_lightning.loggers import Logger

from multiscale.training.logging import loggers as logs
from multiscale.training.logging import wandb_log
from multiscale.training.logging.base import RunLogger
from multiscale.training.logging.csv_log import CSVLog


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


def test_wandb_knows_how_often_rows_are_to_reach_the_disk():
    """A setting outside of its public face, without which a run that is killed lacks its last rows."""
    assert wandb.Settings(**{wandb_log.FLUSH: 1.0}).model_dump()[wandb_log.FLUSH] == 1.0
