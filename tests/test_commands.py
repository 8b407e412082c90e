"""Every command that the README and the documentation tell to type is run, small, or is named here with the reason."""

import re
import shlex
from importlib import import_module

import pytest

from multiscale import compare, doctor, generate, segment
from multiscale.benchmark import benchmark
from multiscale.comparison import page
from multiscale.config.compose import jobs
from multiscale.data.text_file import TextFile
from multiscale.jobs.plan import read
from multiscale.jobs.prepare import prepare
from multiscale.training.loaders import Loaders
from tests.conftest import ROOT, network, trainer
from tests.helpers.page_runs import made

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(path.read_text() for path in PAGES).replace("\\\n", " ")
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
INLINE = re.compile(r"`(python\s+-m\s+multiscale\.\w+\s[^`]*)`")  # in a sentence; of a name alone it speaks

ELSEWHERE = {  # what stands here is not run: the reason, by what is found in it
    r"<(?!/)": "the reader's own words",
    r"\.\.\.": "the reader's own words",
    r"^git clone": "a network",
    r"^wandb ": "a key of W&B's; every run of its files is composed in tests/training/test_wandb.py",
    r"^make ": "sets up an environment; that the target exists is tested below",
    r"resume=": "needs that run's folder; tests/faults/test_resume.py, and of a sweep tests/jobs/test_sweeps.py",
    r"model=toy": "the backbone of the tutorial; tests/test_own_backbone.py",
}
COMPOSED = {"submitit_slurm": "a cluster", "trainer=gpu": "a GPU", "rendezvous=": "two nodes", "devices=4": "4 devices"}


def commands() -> list[str]:
    """The lines of blocks of shell, fenced or indented, and what a sentence says of the package, without comments."""
    fenced = [line for kind, block in FENCED.findall(TEXT) if kind in ("", "bash", "sh") for line in block.split("\n")]
    indented = re.findall(r"^ {4}(?! *[-*] )(.+)$", FENCED.sub("", TEXT), re.M)
    lines = [re.sub(r"(^|\s)#.*", "", " ".join(line.split())) for line in [*fenced, *indented, *INLINE.findall(TEXT)]]
    return sorted({line for line in lines if line})


COMMANDS = commands()
RUN = [line for line in COMMANDS if not any(re.search(found, line) for found in ELSEWHERE)]


def words_of(door: str) -> list[str]:
    """What is said to a door of the package, of all commands that are run."""
    start = f"python -m multiscale.{door}"
    return [line.removeprefix(start).strip() for line in RUN if line == start or line.startswith(f"{start} ")]


def test_every_command_is_run_by_a_test_of_this_file_or_named_with_its_reason():
    here = ("run", "compare", "search", "benchmark", "doctor", "generate", "segment")
    found = [re.match(r"python -m multiscale\.(\w+)( |$)", line) for line in RUN]
    assert [line for line, door in zip(RUN, found, strict=True) if door is None or door[1] not in here] == []
    assert len(RUN) >= 40


@pytest.mark.parametrize("reason", [*ELSEWHERE, *COMPOSED])
def test_no_reason_is_left_over(reason):
    assert any(re.search(reason, line) for line in COMMANDS)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with the texts and series that the pages speak of."""
    for name in ("book.txt", "one.txt", "two.txt", "other.txt", "letters/one.txt", "src/one/two.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("It was a dark and stormy night. The quick brown fox jumps over it. " * 150)
    rows = [f"{hour},{hour % 24},{hour % 168}" for hour in range(4000)]
    (tmp_path / "load.csv").write_text("\n".join(["hour,load,heat", *rows]))
    rows = [f"{trial},{'ab'[trial % 2]},{step}" for trial in range(100) for step in range(9)]
    (tmp_path / "trials.csv").write_text("\n".join(["trial,kind,reading", *rows]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKS = [words for words in words_of("run") if re.search(r"--(help|cfg)", words)]


@pytest.mark.parametrize("command", [words for words in words_of("run") if words not in ASKS])
def test_every_run_composes_and_is_prepared(command, files):
    configs = jobs([word for word in shlex.split(command) if word != "-m"])
    assert configs
    if not any(lacking in command for lacking in COMPOSED):
        prepare(configs[0])


@pytest.mark.parametrize("command", ASKS)
def test_what_asks_for_a_config_is_answered(command, here):
    done = here(*shlex.split(command))
    assert done.returncode == 0
    assert "model" in done.stdout


@pytest.mark.slow  # each end of each range is composed
@pytest.mark.parametrize("command", words_of("search"))
def test_every_search_is_planned_and_the_ends_of_its_space_compose(command, files):
    assert read(shlex.split(command)).space


@pytest.mark.parametrize("command", words_of("compare"))
def test_every_comparison_is_made(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "write", lambda table, folder: folder / "index.html")  # seconds; in tests/comparison
    words = [str(tmp_path / word.lstrip("/")) if "=" not in word else word for word in shlex.split(command)]
    for folder in (word for word in words if "=" not in word):
        for model in ("stacked_lstm", "hmlstm"):
            made(tmp_path / folder, 2.0, model)
    compare.main(words)
    assert "index.html" in capsys.readouterr().out


@pytest.mark.parametrize("command", words_of("benchmark"))
def test_every_benchmark_comes_to_its_report(command, monkeypatch):
    """What it measures takes minutes; tests/benchmarks measures small."""
    reports = []
    for name in ("backbones", "hmlstm", "clockwork", "streaming", "resting"):
        module = import_module(f"multiscale.benchmarks.{name}")
        monkeypatch.setattr(module, "report", lambda *given, name=name: reports.append(name))
    benchmark(shlex.split(command))
    assert reports


@pytest.mark.parametrize("command", words_of("doctor"))
def test_the_doctor_looks(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    doctor.main([*shlex.split(command), "training=false"])
    assert "torch" in capsys.readouterr().out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of an HM-LSTM after one step on a text that has every character of the pages' own."""
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "text.txt").write_text("".join(map(chr, range(32, 127))) * 20)
    data = TextFile(str(folder / "text.txt"), batch_size=4, steps=16)
    data.setup()
    module, run = network(data, "model=hmlstm"), trainer(folder, max_steps=1)
    run.fit(module, datamodule=Loaders(data))
    run.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


@pytest.mark.parametrize("door", [generate, segment])
def test_what_a_checkpoint_is_asked_is_answered(door, checkpoint, files, capsys):
    told = [words for words in words_of(door.__name__.rpartition(".")[2]) if words]
    assert told
    for words in told:
        door.main(shlex.split(re.sub(r"checkpoint=\S+", f"checkpoint={checkpoint}", words)))
        assert len(capsys.readouterr().out) > 20


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    named = {word for line in COMMANDS if line.startswith("make ") for word in line.split()[1:2]}
    named |= set(re.findall(r"`make\s+([a-z-]+)", TEXT))
    assert {"run", "test", "setup", "docs"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), target
