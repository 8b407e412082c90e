"""What is wrong with a command line is said in one line, before there is a folder; a run is prepared once."""

import contextlib
import importlib
import sys

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.config.compose import compose_jobs, read_line
from multiscale.jobs.prepare import check_jobs
from tests.helpers import tiny

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")

MEAN = "+callbacks.mean._target_=pytorch_lightning.callbacks.StochasticWeightAveraging"
STOP = "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping"

NAMES = [  # groups, choices and keys
    ("modle=hmlstm", "modle does not exist; .*Did you mean 'model'"),
    ("init_from=nowhere.ckpt", "init_from must be a checkpoint of a run; there is no file 'nowhere.ckpt'"),
    ("init_from=0", "init_from must be a checkpoint of a run; there is no file 0"),
    ("trainer=ddp trainer.num_nodes=2", "rendezvous must be given, as host:port, for trainer.num_nodes=2"),
    ("rendezvous=node0", "rendezvous must be host:port; got 'node0'"),
    ("search=reading", "search is no group of a run; it is for `python -m multiscale.search`"),
    ("model=hmlstn", "model must be one of .*got 'hmlstn'. Did you mean 'hmlstm'"),
    ("data=pythn_docs", "data must be one of .*Did you mean 'python_docs'"),
    ("experiment=null", "experiment must be one of .*got 'null'"),
    ("model=null", "model must be one of .*got 'null'"),
    ("model.hiden_size=3", "model.hiden_size does not exist; below model .*Did you mean 'hidden_size'"),
    ("model=clockwork model.period=[1]", "model.period .*Did you mean 'periods'"),
    ("model.hidden_size", "not of the form key=value"),
    ("logger.wandb.mod=x", "logger.wandb.mod .*Did you mean 'mode'"),
    ("+model.depth=3", "model.depth is not an argument .*allowed are hidden_size"),
    ("+model.hiden_size=3", "model.hiden_size is not an argument .*Did you mean 'hidden_size'"),
    ("+model.slope.rat=3", "model.slope.rat is not an argument .*Did you mean 'rate'"),
    ("model=learned_clock_dct +model.clock.duty=0.5", "model.clock.duty is not an argument of .*DCTClock; allowed are"),
    ("model=learned_clock +model.clock.l1=0.1", "model.clock.l1 is not an argument of .*PulseClock; allowed are"),
    ("+trainer.max_epoch=3", r"trainer.max_epoch is not an argument of pytorch_lightning.Trainer. .*'max_epochs'"),
    ("+nonsense=1", "nonsense does not exist; at the top there is seed"),
    ("+sed=1", "sed does not exist; .*Did you mean 'seed'"),
    ("+optim.lr=1", "optim.lr does not exist; .*Did you mean 'optim.optimizer.lr'"),
    ("+optim.schedulr=1", "optim.schedulr does not exist; .*Did you mean 'scheduler'"),
    ("+optim.optimizer.amsgard=true", "optim.optimizer.amsgard is not an argument .*Did you mean 'amsgrad'"),
    ("+callbacks.figures.evry_n_epochs=3", "callbacks.figures.evry_n_epochs .*Did you mean 'every_n_epochs'"),
    ("+callbacks.mine=3", "callbacks.mine must name a class or function as _target_; got 3"),
    ("+callbacks.mine._target_=nothing.Here", "callbacks.mine._target_ .*'nothing.Here', whose package is not found"),
    ("+callbacks.mine._target_=tests.helpers.spoil.Spoiler", "which has no 'Spoiler'. Did you mean 'Spoil'"),
    ("+callbacks.mine._target_=pytorch_lightning.callbacks.EarlyStoping", "Did you mean 'EarlyStopping'"),
    ("+callbacks.mine._target_=pytorch_lightning.callbacks.EarlyStopping", "callbacks.mine.monitor must be given"),
    ("model._target_=multiscale.backbones.hmlstm.HMLSTMM", "model._target_ .*Did you mean 'HMLSTM'"),
    ("+model.input_size=3", "model.input_size is not for you to set"),
    ("+trainer.logger=false", "trainer.logger is not for you to set"),
    ("+optim.optimizer.params=3", "optim.optimizer.params is not for you to set"),
    ("data=text_file", "data.path must be given, as data.path=..."),
]

REMOVED = [
    ("~callbacks.progres", "callbacks.progres does not exist; .*Did you mean 'progress'"),
    ("~model.hidden_size", "model.hidden_size must be given, .* needs it"),
    ("~seed", "seed must not be removed"),
    ("~model", "model must not be removed"),
    ("~optim.scheduler", "optim.scheduler must not be removed"),
    ("~optim.optimizer._partial_", "optim.optimizer._partial_ must be true"),
    ("~task.monitor", r"\w+\.monitor must refer to a key that exists; got '\${task.monitor}'"),
]

VALUES = [  # of a wrong kind, or out of range
    ("seed=-1", "seed must be a whole number from 0"),
    ("seed=x", "seed must be a whole number from 0"),
    ("seed=1.5", "seed must be a whole number from 0 .*got 1.5"),
    ("threads=0", "threads must be a whole number of at least 1; got 0"),
    ("threads=many", "threads must be a whole number of at least 1; got 'many'"),
    ("name=", "name must be a word without a slash; got ''"),
    ("model.hidden_size=-3", "model.hidden_size must be a whole number of at least 1; got -3"),
    ("model.hidden_size=abc", "model.hidden_size must be .*got 'abc'"),
    ("model.hidden_size=[8,8]", r"model.hidden_size must be one number or 3 of them; got \[8, 8\]"),
    ("model.slope.start=0", "model.slope.start must be a number above 0; got 0"),
    ("model.layer_norm=maybe", "model.layer_norm must be true or false; got 'maybe'"),
    ("model=clockwork model.periods=[]", "model.periods must be a list of at least one"),
    ("model=clockwork model.periods=[0,1]", r"model.periods\[0\] must be a whole number of at least 1; got 0"),
    ("model=learned_clock model.clock.candidates=fourier", "model.clock.candidates must be one of all, powers, log"),
    ("model=learned_clock model.clock.temperature=3", "model.clock.temperature must be a schedule, .*got 3"),
    ("model=learned_clock model.clock=3", "model.clock must be a Clock, such as PulseClock.*got 3"),
    ("model.kernel=warp", "model.kernel must be one of auto, .*got 'warp'"),
    ("head.embedding_size=0", "head.embedding_size must be"),
    ("task.embedding_size=-1", "task.embedding_size must be"),
    ("task.monitor=val/bcp", "task.monitor must be one of val/bpc; .*Did you mean"),
    ("data.batch_size=0", "data.batch_size must be a whole number of at least 1; got 0"),
    ("seed=${sed}", r"seed must refer to a key that exists; got '\${sed}'"),
    ("model.hidden_size=${nothing.here}", "model.hidden_size must refer to a key that exists"),
    ("data.split=[a,b,c]", r"data.split\[0\] must be a number above 0 and at most 1; got 'a'"),
    ("data.split=3", "data.split must be a list; got 3"),
    ("data=text_file data.path=/no/such/file", "data.path must be a readable text file; '/no/such/file'"),
    ("data=text_file data.path=/no/such/*.txt", "data.path must be a file, or a folder or pattern .*; '/no/such/"),
    ("data=text_file data.path=[]", "data.path must name at least one file; got .."),
    ("optim.optimizer.lr=-1", "optim.optimizer.lr must be a number at least 0; got -1"),
    ("optim.optimizer.lr=abc", "optim.optimizer.lr must be a finite number; got 'abc'"),
    ("+optim.optimizer.betas=[2,3]", "optim.optimizer is refused by torch.optim.Adam: Invalid beta"),
    ("optim.scheduler.factor=2", "optim.scheduler.factor must be a number at least 0 and at most 1; got 2"),
    ("optim.scheduler.factor=1", "optim.scheduler is refused by .*ReduceLROnPlateau: Factor should be < 1.0"),
    ("optim.scheduler.patience=x", "optim.scheduler.patience must be a whole number; got 'x'"),
    ("trainer.max_epochs=abc", "trainer.max_epochs must be at least 1 .*got 'abc'"),
    ("trainer.max_epochs=0", "trainer.max_epochs must be at least 1"),
    ("trainer.max_epochs=-5", "trainer.max_epochs must be at least 1 .*got -5"),
    ("trainer.devices=two", "trainer.devices must be a whole number, auto, or a list of GPUs; got 'two'"),
    ("trainer.devices=0", "trainer.devices must be a whole number of at least 1; got 0"),
    ("trainer.devices=true", "trainer.devices must be a whole number of at least 1; got True"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be a number at least 0; got -1"),
    ("+trainer.limit_train_batches=-3", "trainer.limit_train_batches must be .*got -3"),
    ("+trainer.limit_val_batches=0", "trainer.limit_val_batches must be above 0; got 0"),
    ("trainer.precision=nonsense", "trainer.precision must be one of 32-true, .*got 'nonsense'"),
    ("trainer=ddp trainer.strategy=dpp", "trainer.strategy must be .*got 'dpp'. Did you mean 'ddp'"),
    ("trainer.accelerator=gpuu", "trainer.accelerator must be one of .*Did you mean 'gpu'"),
    ("+trainer.enable_progress_bar=maybe", "trainer.enable_progress_bar must be true or false"),
    (
        "+trainer.reload_dataloaders_every_n_epochs=x",
        "trainer.reload_dataloaders_every_n_epochs must be a whole number",
    ),
    ("+trainer.limit_val_batches=0.0001", "trainer.limit_val_batches must be at least 0.0[0-9]+; got 0.0001"),
    ("+trainer.val_check_interval=1000000", "trainer.val_check_interval must be at most the [0-9]+ batches"),
    ("~trainer.max_epochs", "trainer.max_epochs must be given, or another of max_epochs, max_steps, max_time"),
    ("trainer.max_epochs=null", "trainer.max_epochs must be given"),
    ("name=[1,2]", r"name must be a word without a slash; got \[1, 2\]"),
    ("name=a/b", "name must be a word without a slash; got 'a/b'"),
    ("name=\udcff", "'name=.*' is not of the form key=value"),
    ("name='\udcff'", "name must be a word without a slash"),
    ("+data.note='\udcff'", "data.note must be text that can be written"),
    ("choices=[0]", "choices is not for you to set: it tells of the groups; got 'choices=.0.'"),
    ("folder=here", "folder is not for you to set; hydra.run.dir=... names a run's folder"),
    ("hydra/sweeper=1e400", "Config group override must be a string or a list"),
    ("optim.optimizer.lr=99999999999999999999", "optim.optimizer.lr must be a number of at most 64 bits"),
    ("+model.periods=[99999999999999999999]", r"model.periods\[0\] must be a number of at most 64 bits"),
    ("+callbacks.numbers._args_=2", "callbacks.numbers._args_ must be a list; got 2"),
    ("+match.hidden_size=[null]", "match must name a class or function as _target_"),
    ("model.slope=[1]", "model.slope"),
    ("model=learned_clock model.clock.temperature=1e-30", "model.clock.temperature must be a"),
    ("+trainer.max_time=0", "trainer.max_time must be a word or a mapping or null; got 0"),
    ("+trainer.overfit_batches=2", "trainer.overfit_batches must be 0, for a run that was stopped"),
    (f"{MEAN} +callbacks.mean.swa_lrs=0.1", "callbacks.mean must be a callback with which a run .*WeightAveraging"),
    ("logger.wandb.mode=onlin", "logger.wandb.mode must be one of auto, online, offline; got 'onlin'. Did you"),
    ("callbacks.figures.every_n_epochs=x", "callbacks.figures.every_n_epochs must be a whole number; got 'x'"),
    (f"{STOP} +callbacks.stop.monitor=val/bcp", "callbacks.stop.monitor must be one of .*Did you mean 'val/bpc'"),
]

PAIRS = [  # good alone, not together
    ("data.batch_size=100000", "data.batch_size and data.steps must be smaller, .*one batch needs at least 6400001"),
    ("data.batch_size=33 trainer=ddp trainer.accelerator=cpu", "data.batch_size must be a multiple .*2; got 33"),
    ("task=sequence_classification", "task must be one for data of kind 'text', which pydoc_data.topics"),
    ("data=smnist", "task must be one for data of kind 'labels', which SequentialMNIST is; got LanguageModel"),
    ("data=jsb_chorales", "task must be one for data of kind 'switches', which JSBChorales is"),
]

SWEEPS = [
    ("seed=0,1", "seed=0,1 asks for several jobs, which takes -m"),
    ("-m seed=0,x", "seed must be .*got 'x'. This is the job seed=x."),
    ("-m seed=0,1 model.hidden_size=8,-8", "got -8. This is the job seed=0 model.hidden_size=-8."),
    ("-m seed=0,1 model=hmlstm,nothing", "model must be one of .*got 'nothing'"),
    ("-m model=glob(*lstm) seed=0,-1", "got -1. This is the job model=hmlstm seed=-1."),
    ("-m model=glob(z*)", "model=glob.* must match one of .*clockwork, "),
    ("-m name=glob(*)", "name=glob.* must match one of the choices of a group"),
    ("-m seed=interval(0,1)", "seed=.* must list values"),
    ("--model=hmlstm", "--model=hmlstm is not an option; values have no dashes"),
]


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """Small files for every data set that reads files."""
    tiny.data_sets(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def check(words: str) -> None:
    line = read_line(words.split())
    check_jobs(compose_jobs(line.words, line.config_dir, several=line.sweeps))


@pytest.mark.parametrize(("words", "message"), [*NAMES, *REMOVED, *VALUES, *PAIRS, *SWEEPS])
def test_a_mistake_is_one_line_with_what_is_allowed(words, message):
    with pytest.raises(InvalidInput, match=message) as error:
        check(words)
    assert "\n" not in str(error.value).strip()


@NO_GPU
@pytest.mark.parametrize("words", ["trainer=gpu", "trainer.accelerator=cuda", "trainer=gpu trainer.devices=2"])
def test_a_gpu_that_is_not_there_is_said(words):
    with pytest.raises(InvalidInput, match=r"trainer\.accelerator must be cpu or auto on a machine without a GPU"):
        check(words)


@pytest.mark.parametrize(
    "words",
    [
        "model=clockwork head=concat",
        "+trainer.limit_train_batches=0.5 +trainer.val_check_interval=2 trainer.max_epochs=-1 trainer.precision=32",
        "+trainer.max_time=00:01:00:00 +trainer.deterministic=warn trainer.gradient_clip_val=null",
        "+width=64 model.hidden_size=${width}",
        "~callbacks.progress ~callbacks.boundaries",
        "optim.scheduler._target_=torch.optim.lr_scheduler.StepLR ~optim.scheduler.factor ~optim.scheduler.patience "
        "+optim.scheduler.step_size=2",
        f"{STOP} +callbacks.stop.monitor=val/bpc",
        f"{STOP} +callbacks.stop.monitor=trace/f1_1",
        "-m model=glob(*) seed=range(0,3)",
        "data=smnist data.verify=false data.held_out=8 task=sequence_classification task.bidirectional=true",
    ],
)
def test_what_is_right_passes(words, small_data):
    check(words)


LEAKY = """
from torch import nn
from multiscale.backbones.base import Backbone

class Base(Backbone):
    def __init__(self, input_size: int, hidden_size: int, leak: float | None = None) -> None:
        super().__init__(input_size, (hidden_size,))
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size, device, dtype): ...
    def step(self, x_t, state): ...

class Toy(Base):
    pass
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], ""),
        (["model.leak=null"], ""),
        (["+model.hiden_size=3"], "model.hiden_size is not an argument of mine_too.Toy; .*'hidden_size'"),
        (["model.hidden_size=abc"], "model.hidden_size must be a whole number; got 'abc'"),
        (["model.leak=much"], "model.leak must be a number or null; got 'much'"),
        (["~model.hidden_size"], "model.hidden_size must be given"),
    ],
)
def test_a_backbone_of_the_users_is_checked_as_ours(tmp_path, monkeypatch, words, message):
    (tmp_path / "mine_too.py").write_text(LEAKY)
    (tmp_path / "extra/model").mkdir(parents=True)
    (tmp_path / "extra/model/toy.yaml").write_text("_target_: mine_too.Toy\nhidden_size: 20\nleak: 0.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_too", raising=False)
    importlib.invalidate_caches()
    found = compose_jobs(["model=toy", *words], str(tmp_path / "extra"))
    with pytest.raises(InvalidInput, match=message) if message else contextlib.nullcontext():
        check_jobs(found)


def test_a_typo_in_an_experiment_of_the_users_is_found_too(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\ntrainr: {max_epochs: 3}\n")
    with pytest.raises(InvalidInput, match=r"trainr does not exist; .*Did you mean 'trainer'"):
        compose_jobs(["experiment=mine"], str(tmp_path))


def test_a_sweep_reads_its_data_and_builds_its_network_once(monkeypatch):
    from multiscale.backbones.hmlstm import HMLSTM
    from multiscale.data.python_docs import PythonDocs

    calls = {PythonDocs: 0, HMLSTM: 0}
    for kind in calls:
        original = kind.__init__

        def counted(self, *args, kind=kind, original=original, **kwargs):
            calls[kind] += 1
            original(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", counted)
    check_jobs(compose_jobs(["seed=0,1,2", "model.hidden_size=8"]))
    assert set(calls.values()) == {1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "callbacks.boundaries.reference=wordends",
            "callbacks.boundaries.reference must be .*Did you mean 'word_ends'",
        ),
        ("callbacks.boundaries.tolerance=-1", "callbacks.boundaries.tolerance must be a number at least 0; got -1"),
        (
            "callbacks.learning_rate.logging_interval=day",
            "callbacks.learning_rate.logging_interval must be one of step",
        ),
    ],
)
def test_what_only_lightning_or_the_data_can_tell_is_found_before_a_run_too(words, message):
    with pytest.raises(InvalidInput, match=message) as error:
        check(words)
    assert "\n" not in str(error.value).strip()
