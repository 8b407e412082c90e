"""Hyper-parameter studies by ask and tell: which trial is next, how it is run, and what became of it.

A study is an SQLite file that several workers share; it survives a worker that is killed while it writes, as a journal
does not. Whatever reads the state of all trials and adds one holds the study's lock; a worker holds the lock of its
trial until that has ended, so that a trial that runs while nobody holds its lock is one whose worker was killed.

A trial that lost its worker is made again under the number that it has in a search which nobody stops: of that its
sampler's seed and its run's folder are made, so that the run goes on, and all trials are those of an unbroken search.
"""

import itertools
import shlex
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path

import optuna
from filelock import BaseFileLock, FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.jobs.plan import Plan, overrides
from multiscale.jobs.start import run_in_process
from multiscale.runs import folder as runs
from multiscale.runs import status

WAIT = 60  # seconds in which the run of a killed worker saves, and ends
KILLED = "the worker was killed"
STOPPED = "the search was stopped"


class TrialFailed(Exception):
    """A trial has no value; says why in one line."""


class Search:
    """One worker of a study.

    Args:
        folder: of the study, shared by its workers.
        plan: what to do.
        objective: a trial's number and words to its value, which is to be small; raises :class:`TrialFailed`.
        say: called with each trial that has ended.

    Raises:
        InvalidInput: if the folder holds a study of something else.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        objective: Callable[[int, list[str]], float],
        say: Callable[[FrozenTrial], None] = lambda trial: None,
    ) -> None:
        self.folder, self.plan, self.objective, self.say = folder, plan, objective, say
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "locks" / "study")
        with self._lock:
            self.study = optuna.create_study(
                storage=f"sqlite:///{folder / 'study.db'}",
                study_name=plan.study,
                direction="minimize",
                load_if_exists=True,
            )
            there = self.study.user_attrs.get("plan")
            if there is None:
                self.study.set_user_attr("plan", plan.identity())
            elif there != plan.identity():
                what = "command line" if there["words"] != list(plan.words) else "space"
                raise InvalidInput(
                    f"study {plan.study!r} in {folder} has another {what} than this search; "
                    f"take a new one with search.study=<name>, or remove the folder."
                )

    def work(self) -> None:
        """Run trials until the study has as many as planned; a signal ends the trial, which is made again later."""
        while (claim := self._claim()) is not None:
            trial, lock = claim
            try:
                self._run(trial)
            except BaseException:  # Ctrl-C above all
                self._fail(trial, STOPPED)
                raise
            finally:
                lock.release()
            self.say(self.study.trials[trial.number])

    def ended_trials(self) -> list[FrozenTrial]:
        """The trials that have ended and count, the best first, then the failed ones."""
        ended = self.study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
        counted = [trial for trial in ended if trial.value is not None or not is_lost(trial)]
        return sorted(counted, key=lambda trial: (trial.value is None, trial.value or 0.0))

    def _trial_lock(self, number: int) -> BaseFileLock:
        return FileLock(self.folder / "locks" / f"trial_{number:03d}", timeout=0)

    def _claim(self) -> tuple[Trial, BaseFileLock] | None:
        """The next trial with its lock held, or None if enough are finished or under way."""
        with self._lock:
            self._recover()
            taken = {number(t) for t in [*self.ended_trials(), *self._trials(TrialState.RUNNING)]}
            if len(taken) >= self.plan.trials:
                return None
            following = next(n for n in itertools.count() if n not in taken)
            lost = [t for t in self._trials(TrialState.FAIL) if t.user_attrs.get("number") == following]
            if lost and not self._trials(TrialState.WAITING):
                self.study.enqueue_trial(lost[-1].params)
            self.study.sampler = self.plan.make_sampler(following)
            trial = self.study.ask(dict(self.plan.space))
            trial.set_user_attr("number", following)  # the last of it: a trial that has this has all of its params
            lock = self._trial_lock(trial.number)
            lock.acquire()
            return trial, lock

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(states=[state])

    def _recover(self) -> None:
        """End the trials that run without a worker."""
        for trial in self._trials(TrialState.RUNNING):
            try:
                with self._trial_lock(trial.number):
                    self.study.tell(trial.number, state=TrialState.FAIL)
            except Timeout:
                continue

    def _run(self, trial: Trial) -> None:
        try:
            value = self.objective(trial.user_attrs["number"], overrides(trial.params))
        except TrialFailed as error:
            return self._fail(trial, str(error))
        if isnan(value):
            return self._fail(trial, "its value is not a number")
        with self._lock:
            self.study.tell(trial, value)

    def _fail(self, trial: Trial, reason: str) -> None:
        with self._lock:
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=TrialState.FAIL)


def number(trial: FrozenTrial) -> int:
    """Which trial of a search that nobody stops it is, from 0."""
    return trial.user_attrs.get("number", trial.number)


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed; a worker that is killed leaves no word."""
    return trial.user_attrs.get("reason", KILLED)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial that failed has only lost its worker."""
    return reason(trial) in (KILLED, STOPPED)


def run_trial(folder: Path, words: Sequence[str], config_dir: str | None = None) -> float:
    """One run in a process of its own, in ``folder``, with its output in ``output.txt``; returns its validation metric.

    A run that is there already goes on.

    Raises:
        TrialFailed: if the run fails, with what went wrong.
        Interrupted: if this process was asked to end; the run has then ended by itself.
        InUse: if another process runs there, and does not come to an end.
    """
    try:
        (config,) = jobs(words, config_dir)
        config.folder = str(folder)
        runs.claim(config, shlex.join(["python", "-m", "multiscale.run", *words]))
    except InvalidInput as error:
        raise TrialFailed(str(error)) from error
    with runs.held(folder, rank=0, wait=WAIT):
        finished = runs.state(folder) == runs.FINISHED
    if not finished and (code := run_in_process(folder, folder / "output.txt")):
        raise TrialFailed(f"exit code {code}: {status.read(folder).get('error') or 'without a word'}")
    return runs.value(folder)
