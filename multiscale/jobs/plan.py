"""What a hyper-parameter search does: the file of conf/search that a command line names, and what its space means."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna import distributions, samplers
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from multiscale.checks import InvalidInput, first_line, nearest, one_of, positive_int, real
from multiscale.cli import arguments
from multiscale.config.compose import CONF, compose_jobs, jobs

DEFAULTS = {"trials": 20, "study": str, "sampler": "tpe", "seed": 0, "startup": 10}
RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Plan:
    """What a search does.

    Args:
        study: its name.
        trials: how many are to be finished; failed ones count, those that a killed or stopped worker left do not.
        sampler: ``tpe`` or ``random``.
        seed: of the sampler.
        startup: trials before TPE begins to learn from them.
        space: for each key of a run's config, a distribution.
        words: the command line that all trials share.
        config_dir: a folder of YAML beside the project's own.
        monitor: the metric that is to be small.
    """

    study: str
    trials: int
    sampler: str
    seed: int
    startup: int
    space: Mapping[str, BaseDistribution]
    words: tuple[str, ...] = ()
    config_dir: str | None = None
    monitor: str = ""

    def make_sampler(self, asked: int) -> samplers.BaseSampler:
        """The sampler of the trial after ``asked`` others: the same in a search that was resumed."""
        if self.sampler == "random":
            return samplers.RandomSampler(seed=self.seed + asked)
        return samplers.TPESampler(seed=self.seed + asked, n_startup_trials=self.startup)

    def identity(self) -> dict[str, Any]:
        """What must not change while a study goes on."""
        space = {key: distributions.distribution_to_json(kind) for key, kind in self.space.items()}
        return {"words": list(self.words), "space": space}

    def command(self, params: Mapping[str, Any]) -> list[str]:
        """The command line of the run with these hyper-parameters."""
        places = ["--config-dir", self.config_dir] if self.config_dir else []
        return ["python", "-m", "multiscale.run", *places, *self.words, *overrides(params)]


def read(words: Sequence[str]) -> Plan:
    """The plan that a command line asks for, every end of its space composed, the first and the last prepared.

    Raises:
        InvalidInput: for what does not exist or is not allowed, with the nearest name.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    options, rest = parser.parse_known_args(list(words))
    own = [word for word in rest if word.partition("=")[0] == "search" or word.startswith("search.")]
    shared = [word for word in rest if word not in own]
    for word in shared:
        if word.startswith("-"):
            raise InvalidInput(f"{word} is no word of a search; see --help.")
        if word.startswith(("hydra.run.dir", "hydra.sweep")):
            raise InvalidInput(f"{word.partition('=')[0]} is the search's own to choose; got {word!r}.")
    name, file = _read_file(own, options.config_dir)
    settings, space = _read_settings(file, [word for word in own if word.startswith("search.")], shared)
    configs = jobs(shared, options.config_dir)
    if len(configs) != 1:
        raise InvalidInput("a search takes one value for each key; what is searched stands in the space.")
    monitor = str(configs[0].task.monitor)
    plan = Plan(**settings, space=space, words=tuple(shared), config_dir=options.config_dir, monitor=monitor)
    try:
        _check_space(plan)
    except InvalidInput as error:
        raise InvalidInput(f"the space of search {name}: {error}") from error
    return plan


def _read_file(own: Sequence[str], config_dir: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the content of the search file that is asked for."""
    folders = [CONF / "search", *([Path(config_dir) / "search"] if config_dir else [])]
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    name = next((word.partition("=")[2] for word in own if word.startswith("search=")), None)
    if name is None:
        raise InvalidInput(f"search must be given, as search=<name>; there is {', '.join(files)}.")
    content = OmegaConf.to_container(OmegaConf.load(files[one_of("search", name, list(files))]))
    return name, {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _read_settings(
    file: Mapping[str, Any], changes: list[str], shared: Sequence[str]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """(the settings, the space) of a search file with the ``changes`` of a command line."""
    allowed = (*DEFAULTS, "space")
    for key in file:
        if key not in allowed:
            raise InvalidInput(f"{key} is no part of a search; there is {', '.join(allowed)}.{nearest(key, allowed)}")
    space = file.get("space")
    if not isinstance(space, dict) or not space:
        raise InvalidInput("a search must have a space: keys of a run's config with what they may be.")
    plain = {**DEFAULTS, **{key: value for key, value in file.items() if key != "space"}}
    given = arguments(changes, {f"search.{key}": value for key, value in plain.items()})
    settings = {key.removeprefix("search."): value for key, value in given.items()}
    for key in ("trials", "startup"):
        positive_int(f"search.{key}", settings[key])
    one_of("search.sampler", settings["sampler"], ("tpe", "random"))
    for word in shared:
        if word.partition("=")[0].lstrip("+~") in space:
            raise InvalidInput(f"{word.partition('=')[0]} is searched, and cannot be given too; got {word!r}.")
    return settings, {key: distribution(key, given) for key, given in space.items()}


def _check_space(plan: Plan) -> None:
    """Compose every choice and both ends of every range; prepare the first and the last of all together."""
    from multiscale.jobs.prepare import check_jobs  # torch takes a second or two

    values_of = {key: _ends(kind) for key, kind in plan.space.items()}
    for key, values in values_of.items():
        for value in values:
            jobs([*plan.words, *overrides({key: value})], plan.config_dir)
    for end in (0, -1):
        words = overrides({key: values[end] for key, values in values_of.items()})
        check_jobs(compose_jobs([*plan.words, *words], plan.config_dir))


def distribution(key: str, given: Any) -> BaseDistribution:
    """What a key of a space stands for: a list of choices, or low and high with log or step.

    Raises:
        InvalidInput: for anything else.
    """
    where = f"space.{key}"
    if isinstance(given, list) and given:
        return CategoricalDistribution([_word(choice) for choice in given])
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
        raise InvalidInput(f"{where} is no range: {first_line(error)}") from error


def overrides(params: Mapping[str, Any]) -> list[str]:
    """The hyper-parameters of a trial as words of a command line."""
    return [f"{key}={_word(value)}" for key, value in params.items()]


def _word(value: Any) -> str:
    """A value as an override says it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(map(_word, value)) + "]"
    return str(value)


def _ends(kind: BaseDistribution) -> list[Any]:
    """Every choice, or the least and the greatest number."""
    if isinstance(kind, CategoricalDistribution):
        return list(kind.choices)
    assert isinstance(kind, IntDistribution | FloatDistribution)
    return [kind.low, kind.high]
