"""A Weights & Biases run that a training outlives, whatever happens to the package, the server or the network."""

import logging
import os
import re
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from multiscale.checks import first_line, flag, in_range, one_of
from multiscale.config.identity import group_name, to_plain
from multiscale.runs import files
from multiscale.runs.machine import describe_machine
from multiscale.runs.metrics import read_column
from multiscale.runs.processes import get_rank
from multiscale.training.lean import stand_in
from multiscale.training.logging.base import RunLogger
from multiscale.training.logging.wandb_mode import find_unsent, mode_of

log = logging.getLogger(__name__)

STEP = "trainer/global_step"  # the x-axis of every curve
RISING = re.compile(r"(val|trace)/(accuracy|log_likelihood|f1)(_.*)?")  # the higher, the better
WIDTH, IMAGES, ROWS = 1600, 60, 1000  # of a picture in pixels; pictures of one name; rows of a table
EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 143}  # the last is what a shell tells of SIGTERM
# Not its public face either: to ask whether a job of W&B Launch staged inputs, it loads all of Launch, half a second.
LAUNCH = "wandb.sdk.launch.inputs.internal"
FLUSH = "x_transaction_log_flush_interval"  # not W&B's public face: seconds of rows that a killed run may lack


class SafeWandb(RunLogger):
    """A W&B run that begins with the hyper-parameters; the first call that fails is a warning, and the last one made.

    Where the server does not answer within ``timeout`` the run goes on offline. Of several processes the first alone
    sends anything.

    Args:
        folder: the run's folder; ``wandb_id.txt`` in it makes a resumed training one run with what it resumes.
        project, name: of the run; its job type is the chosen experiment, else the data.
        monitor: the metric whose least value stands in the summary, and as ``best/<its name>``.
        choices: the chosen file of each group; those of model, data, head and experiment are tags.
        group: of the run; None for one made of the choices and the hyper-parameters, without the seed.
        tags: beside the choices.
        entity, notes: of the run; without, W&B's default, and none.
        send_best: send ``checkpoints/best.ckpt`` as an artifact at the end.
        mode: ``online``, ``offline`` or ``auto``: what ``WANDB_MODE`` says, else online where a key is found
            (``WANDB_API_KEY`` or a netrc file), else offline.
        timeout: seconds to wait for the server at the start; at the end, ten times as many for what is not yet sent.

    Raises:
        InvalidInput: for another ``mode``, or a ``timeout`` that is not above 0.
    """

    def __init__(
        self,
        folder: str,
        project: str,
        name: str,
        monitor: str,
        choices: Mapping[str, str | None],
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["auto", "online", "offline"] = "auto",
        timeout: float = 30.0,
        entity: str | None = None,
        notes: str | None = None,
        send_best: bool = False,
    ) -> None:
        super().__init__()
        one_of("mode", mode, ("auto", "online", "offline"))
        chosen = [choices[key] for key in ("model", "data", "head", "experiment")]
        self.init = {
            "project": project,
            "name": name,
            "group": group,
            "job_type": choices["experiment"] or choices["data"],
            "tags": list(dict.fromkeys([*filter(None, chosen), *tags])),
            "mode": mode_of(mode),
            "entity": entity,
            "notes": notes,
        }
        self.send_best = flag("send_best", send_best)
        self.folder, self.monitor = Path(folder), monitor
        self.timeout = in_range("timeout", timeout, 0, open_low=True)
        self.run: Any = None
        self.alive = get_rank() == 0
        self.to_skip = 0
        self.best = float("inf")
        self.defined: set[str] = set()
        self.sent: Counter[str] = Counter()
        self.delayed: dict[str, Path] = {}

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> None:
        return None

    @property
    def experiment(self) -> Any:
        """The W&B run, once it has begun."""
        return self.run

    def begin(self, rows: int, again: int) -> None:
        """Do not send the next ``again`` calls of ``log_metrics``: a resumed training makes them a second time."""
        self.to_skip = again

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._try(self._ensure_run, to_plain(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.monitor in metrics:
            self.best = min(self.best, metrics[self.monitor])
        if self.to_skip > 0:
            self.to_skip -= 1
            return
        self._try(self._send, metrics, step)

    def log_image(self, key: str, path: Path) -> None:
        """Send a picture; of more than ``IMAGES`` under one name, the first ones and the last."""
        if self.sent[key] >= IMAGES - 1:
            self.delayed[key] = path  # perhaps the last
            return
        self.sent[key] += 1
        self._try(self._picture, key, path)

    def log_table(self, key: str, columns: Mapping[str, Sequence[str]]) -> None:
        """Send a table, given by its columns; one of more than ``ROWS`` rows is cut, and its last row says so."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        if len(rows) > ROWS:
            note = f"{len(rows) - ROWS + 1} more rows were left out"
            rows = [*rows[: ROWS - 1], [note] + [""] * (len(columns) - 1)]
        self._try(self._table, key, tuple(columns), rows)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Put numbers of the whole run into the summary, where bars and tables find them."""
        self._try(lambda: self._ensure_run().summary.update(dict(numbers)))

    def finish(self, state: str) -> None:
        """End the run as ``finished``, ``failed`` or ``interrupted``; W&B calls the last one preempted."""
        for key, path in self.delayed.items():
            self._try(self._picture, key, path)
        self.delayed = {}
        if self.run is not None:
            self._try(self._end, state)

    def closing_lines(self) -> list[str]:
        """How to send what was kept on this machine, or where the run is to be seen; for the end of a summary."""
        identity = _read(self.folder / "wandb_id.txt")
        broken = "" if self.alive else "*"  # then also what was meant to be sent at once
        if identity and (kept := find_unsent(self.folder, f"{broken or 'offline-'}run-*-{identity}*")):
            return [shlex.join(["wandb", "sync", *map(str, kept)])]
        url = getattr(self.run, "url", None)
        return [f"Weights & Biases: {url}"] if url else []

    def _try(self, call: Callable[..., Any], *arguments: Any) -> None:
        if not self.alive:
            return
        try:
            call(*arguments)
        except Exception as error:  # whatever W&B does, training goes on
            self.alive = False
            log.warning("Weights & Biases is off from here: %s", _line(error))
            if isinstance(error, ConnectionError) or "Closed" in type(error).__name__:
                _release()

    def _ensure_run(self, config: Mapping[str, Any] | None = None) -> Any:
        """The W&B run, begun at the first call."""
        if self.run is None:
            arguments = self._arguments(config or {})
            try:
                self.run = self._begin(arguments)
            except Exception as error:
                if arguments["mode"] != "online":
                    raise
                _release()  # the run's id
                self.run = self._begin({**arguments, "mode": "offline"})
                log.warning("Weights & Biases is offline, and the run is kept in its folder: %s", _line(error))
        return self.run

    def _arguments(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of ``wandb.init``, once the hyper-parameters are known."""
        group = self.init["group"] or group_name(config)
        path = self.folder / "wandb_id.txt"
        chosen = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        identity = chosen or _read(path)  # a sweep's agent takes no other id than its own
        if identity:  # the training goes on, and so does the best of it
            self.best = min([self.best, *read_column(self.folder / "metrics.csv", self.monitor)])
        else:
            identity = secrets.token_hex(8)  # not from the generators that a seed fixes
        files.write(path, f"{identity}\n".encode())
        described = {**config, "machine": describe_machine(torch.get_num_threads())}
        return {**self.init, "group": group, "config": described, "id": identity, "resume": "allow"}

    def _begin(self, arguments: dict[str, Any]) -> Any:
        import wandb as client

        # Silent, or it tells where it found a key; with the mode, or an offline run loads what reports on it.
        client.setup(client.Settings(silent=True, mode=arguments["mode"]))
        often: dict[str, Any] = {FLUSH: 1.0} if FLUSH in client.Settings.model_fields else {}
        settings = client.Settings(
            silent=True,
            console="off",
            disable_git=True,
            init_timeout=self.timeout,
            finish_timeout=10 * self.timeout,
            finish_timeout_raises=True,
            **often,
        )
        with stand_in(LAUNCH, StagedLaunchInputs=_NothingStaged):
            run = client.init(**arguments, dir=str(self.folder), settings=settings, reinit="finish_previous")
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    def _send(self, metrics: Mapping[str, float], step: int | None) -> None:
        run = self._ensure_run()
        for key in metrics.keys() - self.defined:
            self.defined.add(key)
            if key == self.monitor or RISING.fullmatch(key):
                summary = "min" if key == self.monitor else "max"
                run.define_metric(key, step_metric=STEP, step_sync=True, summary=summary)
        row = dict(metrics)
        if self.monitor in row:  # as a plain number too: a sweep reads no other
            row[f"best/{self.monitor.rpartition('/')[2]}"] = self.best
        run.log(row if step is None else {**row, STEP: step})

    def _picture(self, key: str, path: Path) -> None:
        import wandb as client

        with Image.open(path) as file:
            picture = file.convert("RGB")
        picture.thumbnail((WIDTH, picture.height))
        self._ensure_run().log({key: [client.Image(picture)]})

    def _table(self, key: str, columns: Sequence[str], rows: list[list[Any]]) -> None:
        import wandb as client

        self._ensure_run().log({key: client.Table(columns=list(columns), data=rows)})

    def _end(self, state: str) -> None:
        best = self.folder / "checkpoints" / "best.ckpt"
        if self.send_best and best.exists():
            self.run.log_model(path=str(best), name=f"{self.init['name']}-{self.run.id}")
        if state == "interrupted":
            self.run.mark_preempting()
        self.run.finish(exit_code=EXIT_CODES[state])


class _NothingStaged:
    def apply(self, run: Any) -> None:
        """Whoever staged inputs would have loaded W&B's own."""


def _release() -> None:
    """Let go of W&B's own process, dead or alive; the next run starts a new one."""
    import wandb as client

    with suppress(Exception, SystemExit):
        client.teardown(exit_code=1)


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
