"""Hyper-parameter studies by ask and tell: what is searched, which trial is next, and what became of it.

A study is an SQLite file that several workers share. Whatever reads the state of all trials and adds one holds the
study's lock; a worker holds the lock of its trial until that has ended, so that a trial that runs while nobody holds
its lock is one whose worker was killed.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import optuna
from filelock import BaseFileLock, FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from multiscale.checks import InvalidInput, nearest, real

RANGE = ("low", "high", "log", "step")
KILLED = "the worker was killed"
STOPPED = "the search was stopped"


class TrialFailed(Exception):
    """A trial has no value; says why in one line."""


@dataclass(frozen=True)
class Plan:
    """What a study does.

    Args:
        study: its name.
        trials: how many are to be finished; failed ones count, those that a killed or stopped worker left do not.
        sampler: ``tpe`` or ``random``.
        seed: of the sampler.
        startup: trials before TPE begins to learn from them.
        space: for each key of a run's config, a distribution.
        words: the command line that all trials share.
    """

    study: str
    trials: int
    sampler: str
    seed: int
    startup: int
    space: Mapping[str, BaseDistribution]
    words: tuple[str, ...] = ()

    def sampled(self, asked: int) -> optuna.samplers.BaseSampler:
        """The sampler of the trial after ``asked`` others: the same in a search that was resumed."""
        if self.sampler == "random":
            return optuna.samplers.RandomSampler(seed=self.seed + asked)
        return optuna.samplers.TPESampler(seed=self.seed + asked, n_startup_trials=self.startup)

    def identity(self) -> dict[str, Any]:
        """What must not change while a study goes on."""
        space = {key: optuna.distributions.distribution_to_json(kind) for key, kind in self.space.items()}
        return {"words": list(self.words), "space": space}


def distribution(key: str, given: Any) -> BaseDistribution:
    """What a key of a space stands for: a list of choices, or low and high with log or step.

    Raises:
        InvalidInput: for anything else.
    """
    where = f"space.{key}"
    if isinstance(given, list) and given:
        return CategoricalDistribution([word(choice) for choice in given])
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{where} must be a list of choices or a range (low, high, log, step); got {given!r}.")
    for name in given:
        if name not in RANGE:
            raise InvalidInput(f"{where}.{name} does not exist; there is {', '.join(RANGE)}.{nearest(name, RANGE)}")
    low, high = (real(f"{where}.{name}", given.get(name)) for name in ("low", "high"))
    log, step = given.get("log", False), given.get("step")
    try:
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log, step=1 if step is None else step)
        return FloatDistribution(low, high, log=log, step=step)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{where} is no range: {str(error).strip().splitlines()[0]}") from error


def word(value: Any) -> str:
    """A value as an override says it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(map(word, value)) + "]"
    return str(value)


def overrides(params: Mapping[str, Any]) -> list[str]:
    """The hyper-parameters of a trial as words of a command line."""
    return [f"{key}={word(value)}" for key, value in params.items()]


def ends(kind: BaseDistribution) -> list[Any]:
    """Every choice, or the least and the greatest number."""
    if isinstance(kind, CategoricalDistribution):
        return list(kind.choices)
    assert isinstance(kind, IntDistribution | FloatDistribution)
    return [kind.low, kind.high]


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
        url = f"sqlite:///{folder / 'study.db'}"
        with self._locked():
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
            self.study = optuna.create_study(
                storage=storage,
                study_name=plan.study,
                direction="minimize",
                pruner=optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
            held = self.study.user_attrs.get("plan")
            if held is None:
                self.study.set_user_attr("plan", plan.identity())
            elif held != plan.identity():
                what = "command line" if held["words"] != list(plan.words) else "space"
                raise InvalidInput(
                    f"study {plan.study!r} in {folder} has another {what} than this search; "
                    f"take a new one with search.study=<name>, or remove the folder."
                )

    def work(self) -> None:
        """Run trials until the study has as many as planned; Ctrl-C ends the trial, which is made again later."""
        while (claimed := self._claim()) is not None:
            trial, lock = claimed
            try:
                value = self.objective(trial.number, overrides(trial.params))
                with self._locked():
                    if isnan(value):
                        self._fail(trial, "its value is not a number")
                    else:
                        self.study.tell(trial, value)
            except TrialFailed as error:
                with self._locked():
                    self._fail(trial, str(error))
            except BaseException:  # Ctrl-C above all
                with self._locked():
                    self._abandon(trial, STOPPED)
                raise
            finally:
                lock.release()
            self.say(self.study.trials[trial.number])

    def settled(self) -> list[FrozenTrial]:
        """The trials that have ended and count, the best first, then the failed ones."""
        ended = self.study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
        counted = [trial for trial in ended if not trial.user_attrs.get("again")]
        return sorted(counted, key=lambda trial: (trial.value is None, trial.value or 0.0))

    def _locked(self) -> AbstractContextManager[Any]:
        return FileLock(self.folder / "locks" / "study")

    def _lock(self, number: int) -> BaseFileLock:
        return FileLock(self.folder / "locks" / f"trial_{number:03d}")

    def _claim(self) -> tuple[Trial, BaseFileLock] | None:
        """The next trial with its lock held, or None if enough are finished or under way."""
        with self._locked():
            self._recover()
            running = self.study.get_trials(states=[TrialState.RUNNING])
            if len(self.settled()) + len(running) >= self.plan.trials:
                return None
            self.study.sampler = self.plan.sampled(len(self.study.trials))
            trial = self.study.ask(dict(self.plan.space))
            lock = self._lock(trial.number)
            lock.acquire(timeout=0)
            return trial, lock

    def _recover(self) -> None:
        """Fail the trials that run without a worker, and ask for them again."""
        for left in self.study.get_trials(states=[TrialState.RUNNING]):
            lock = self._lock(left.number)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            self._abandon(Trial(self.study, left._trial_id), KILLED)
            lock.release()

    def _abandon(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("again", True)
        self._fail(trial, reason)
        self.study.enqueue_trial(trial.params)

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)
