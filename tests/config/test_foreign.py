"""A config from elsewhere is data: what it may name, and all the ways in which it may not be more."""

import time

import pytest
from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.config.compose import CONF, check_foreign_words, jobs
from multiscale.config.foreign import check_foreign, parse_yaml

GROUPS = (
    "model",
    "head",
    "data",
    "task",
    "optim",
    "scheduler",
    "trainer",
    "logger",
    "callbacks",
    "debug",
    "experiment",
    "match",
)
CHOICES = [
    f"{group}={file.relative_to(CONF / group).with_suffix('')}"
    for group in GROUPS
    for file in sorted((CONF / group).rglob("*.yaml"))
]
HOSTILE = [  # (where, what stands there, why not)
    ("model", {"_target_": "os.system", "command": "touch x"}, "must start with one of"),
    ("model", {"_target_": "multiscale.kernels.compiler._run", "command": ["touch", "x"]}, "must be a class"),
    ("model", {"_target_": "multiscale.training.checkpoint.files.torch.load", "f": "x"}, "must be a class"),
    ("model", {"_target_": "multiscale.training.checkpoint.files.ZipFile", "file": "x"}, "defined in an allowed"),
    ("model", {"_target_": "multiscale.nn.heads.Top"}, "must be a kind of Backbone"),
    ("model", {"_target_": "multiscale.no.such"}, "must name a class"),
    ("model.hidden_size", {"_target_": "multiscale.nn.schedules.Constant"}, "model.hidden_size must be plain values"),
    ("model.slope", {"_target_": "torch.optim.Adam"}, "model.slope._target_ must be a kind of Schedule"),
    ("model._args_", [{"_target_": "multiscale.nn.heads.Top"}], r"model._args_\[0\] must be plain values"),
    ("task", {"_target_": "multiscale.kernels.compiler._run"}, "must be a class"),
    ("callbacks.mine", {"_target_": "multiscale.runs.signals.end_with_parent"}, "must be a class"),
    ("logger.mine", {"_target_": "pytorch_lightning.Trainer"}, "must be a kind of Logger"),
    ("optim.optimizer", {"_target_": "torch.optim.swa_utils.get_ema_avg_fn", "_partial_": True}, "must be a class"),
    ("anything", {"deep": [{"_target_": "torch.optim.Adam"}]}, "must be plain values"),
    ("name", "${oc.env:HOME}", "must be data"),
    ("name", "${now:%Y}", "must be data"),
    ("name", "${folder}${seed}", "must be data"),
    ("model.slope", '${oc.decode:"{_target_: numpy.load, file: x, allow_pickle: true}"}', "must be data"),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_everything_of_ours_may_be_in_a_run_folder(choice):
    (config,) = jobs([choice, *(["logger=csv"] if not choice.startswith("logger") else [])])
    check_foreign(OmegaConf.to_container(config))


@pytest.mark.parametrize(("where", "what", "why"), HOSTILE, ids=lambda v: v if isinstance(v, str) else "")
def test_what_is_no_data_is_refused(where, what, why):
    (config,) = jobs(["logger=csv"])
    OmegaConf.update(config, where, what, merge=False, force_add=True)
    with pytest.raises(InvalidInput, match=why):
        check_foreign(OmegaConf.to_container(config))


def test_a_trusted_package_may_be_named_and_its_objects_must_be_of_their_kind():
    config = {"callbacks": {"slow": {"_target_": "tests.faults.breaking.Slow"}}}
    with pytest.raises(InvalidInput, match=r"trust=\[its package.\] lets it"):
        check_foreign(config)
    check_foreign(config, ["tests."])
    with pytest.raises(InvalidInput, match="must be a kind of Backbone"):
        check_foreign({"model": config["callbacks"]["slow"]}, ["tests."])
    with pytest.raises(InvalidInput, match="must be a class"):
        check_foreign({"model": {"_target_": "tests.faults.breaking.run"}}, ["tests."])


@pytest.mark.parametrize(
    "word",
    [
        "hydra.callbacks.mine={_target_: os.system}",
        "+hydra.callbacks.mine._target_=x",
        "hydra/launcher=joblib",
        "hydra.searchpath=[file:///tmp]",
        "~hydra.callbacks",
        "+model@hydra.callbacks.mine=hmlstm",
        "name=${oc.env:HOME}",
        """model.slope='${oc.decode:"{_target_: x}"}'""",
        "name='${${seed}:x}'",
    ],
)
def test_a_sweep_from_elsewhere_sets_nothing_but_its_runs(word):
    with pytest.raises(InvalidInput, match="may only set keys of its runs"):
        check_foreign_words([word])


def test_words_that_set_keys_of_runs_are_fine():
    check_foreign_words(["seed=0,1", "model=glob(*)", "+model.slope={_target_: x, a: 1}", "name=${seed}", "~match"])


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", BOMB, "[" * 10**5, "a:\n" + "".join(" " * i + "- \n" for i in range(99)), "a: [", "\0"]
)
def test_yaml_that_has_no_end_is_refused_at_once(text):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"refers to parts|levels deep|expected|control characters"):
        parse_yaml(text.encode())
    assert time.monotonic() - begun < 1
