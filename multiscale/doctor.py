"""What this machine has for a run, and how to mend what is missing: ``python -m multiscale.doctor``.

folder=.         where runs would go
training=true    train a small network for some steps; the rest is looked up

Each line is ok, a note (runs work, but could do better) or to mend (runs would fail). Nothing is asked of the network.
The exit code is 1 if something is to be mended, else 0.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from math import isfinite
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape

from multiscale.checks import InvalidInput, expand
from multiscale.cli import arguments, command
from multiscale.runs.metrics import read_column
from multiscale.training.logging.wandb_mode import has_key, mode_of

OK, NOTE, MEND = "ok", "note", "mend"
COLOURS = {OK: "green", NOTE: "yellow", MEND: "bold red"}
SHOWN = ("torch", "pytorch-lightning", "hydra-core", "omegaconf", "wandb")
BAD = {"pytorch-lightning": ("2.6.2", "2.6.3")}  # known to be bad
GB = 1e9
LEAST, ENOUGH = 1.0, 5.0  # GB free where runs go: checkpoints of many runs add up
TRIAL = (
    *("experiment=quick_look", "model=hmlstm", "logger=csv", "data=python_docs", "data.steps=32", "trainer=cpu"),
    *("trainer.log_every_n_steps=5", "+trainer.enable_progress_bar=false", "~callbacks.progress", "~callbacks.figures"),
    *("+trainer.limit_train_batches=40", "+trainer.limit_val_batches=2", "+trainer.limit_test_batches=2"),
)
PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Finding:
    """One line of the report, and how to mend it if it is not ok."""

    state: str
    subject: str
    text: str
    how: str = ""


def versions() -> Iterator[Finding]:
    """Python, the packages that this one needs, and the optional ones."""
    yield Finding(OK, "python", platform.python_version())
    try:
        needs = [Requirement(text) for text in requires("multiscale-rnn") or ()]
    except PackageNotFoundError:  # a copy of the source that is not installed
        needs = [Requirement(name) for name in SHOWN]
        yield Finding(NOTE, "multiscale", "is not installed, so that its needs are not known", "pip install -e .")
    optional = []
    for need in needs:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            optional.append(need.name)
            continue
        finding = package(need)
        if need.name in SHOWN or finding.state != OK:
            yield finding
    missing = sorted({name for name in optional if not _version(name)})  # an extra may hold another
    if missing:
        yield Finding(OK, "optional", f"not installed, and not needed to train: {', '.join(missing)}")


def package(need: Requirement) -> Finding:
    """Whether a package is there, in a version that is asked for and not known to be bad."""
    installed, install = _version(need.name), f"pip install '{need}'"
    if not installed:
        return Finding(MEND, need.name, "is not installed", install)
    if installed in BAD.get(need.name, ()):
        return Finding(MEND, need.name, f"{installed} is known to be bad", f"install another: {install}")
    if installed not in need.specifier:
        return Finding(MEND, need.name, f"{installed} is not one of {need.specifier}", install)
    return Finding(OK, need.name, installed)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def compiled() -> list[Finding]:
    """Whether the native kernel compiles and loads."""
    from multiscale.kernels import compiler
    from multiscale.kernels.hmlstm.native import SOURCE

    slower = "the HM-LSTM then uses a slower kernel, with the same results"
    try:
        path = compiler.compiler()
    except compiler.CannotCompile as error:
        how = "install g++ or clang++, or name a compiler in CXX"
        return [Finding(NOTE, "compiler", f"{error}; {slower}", how)]
    try:
        compiler.load(SOURCE)
    except compiler.CannotCompile as error:
        how = f"mend {path}, name another compiler in CXX, or make {compiler.cache_folder()} writable"
        return [Finding(MEND, "compiler", f"{error}; {slower}", how)]
    return [Finding(OK, "compiler", f"{path}; the native kernel compiles and loads")]


def usable_cores() -> int:
    """CPU cores that this process may use, by its affinity and its control group."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def devices() -> Iterator[Finding]:
    """CPU cores and GPUs."""
    import torch

    yield Finding(OK, "cpu", f"{os.cpu_count()} cores, of which this process may use {usable_cores()}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i in range(count):
        card = torch.cuda.get_device_properties(i)
        bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
        yield Finding(OK, f"gpu {i}", f"{card.name}, {card.total_memory / GB:.0f} GB, {bf16} bf16; for trainer=gpu")
    if count:
        yield launched()
    if not count and shutil.which("nvidia-smi"):
        how = "install the build of torch for this driver: https://pytorch.org/get-started/locally"
        yield Finding(NOTE, "gpu", "torch sees none, though nvidia-smi is installed", how)
    elif not count:
        yield Finding(OK, "gpu", "none; runs use the CPU")


def launched() -> Finding:
    """Whether the HM-LSTM's kernel in Triton can run."""
    from multiscale.kernels.hmlstm.operations import Options
    from multiscale.kernels.hmlstm.triton_loop import unavailable

    if (why := unavailable(Options(), (1,))) is None:
        return Finding(OK, "triton", f"{_version('triton')}; the HM-LSTM's kernel=triton can run, without layer norm")
    how = "pip install 'multiscale-rnn[triton]', beside gcc and Python's headers"
    return Finding(NOTE, "triton", f"{why}; the HM-LSTM's kernel=triton cannot run", how)


def threads() -> Iterator[Finding]:
    """Whether more threads are asked for than there are cores."""
    import torch

    cores, asked = usable_cores(), os.environ.get("OMP_NUM_THREADS")
    used = torch.get_num_threads()
    setting = f"OMP_NUM_THREADS={asked}" if asked else "OMP_NUM_THREADS is not set"
    text = f"{setting}, torch would use {used}; a run uses what its config's threads say, 1 by default"
    if asked and not asked.isdigit():
        yield Finding(MEND, "threads", f"OMP_NUM_THREADS={asked} is no number", f"export OMP_NUM_THREADS={cores}")
    elif max(used, int(asked or 0)) > cores:
        how = f"export OMP_NUM_THREADS={cores}"
        yield Finding(MEND, "threads", f"{text}: more than the {cores} cores slow each other down", how)
    else:
        yield Finding(OK, "threads", text)


def disk(folder: Path) -> Iterator[Finding]:
    """Room and permission where runs and data go."""
    from multiscale.data.files import VARIABLE, data_folder

    yield _place("runs", folder, "folder=... checks another; hydra.run.dir=... writes there")
    yield _place("data", data_folder(), f"name another folder in {VARIABLE}")


def _place(subject: str, folder: Path, other: str) -> Finding:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        return Finding(MEND, subject, f"{existing} cannot be written: {error.strerror}", other)
    free = shutil.disk_usage(existing).free / GB
    text = f"{folder.absolute()}, {free:.1f} GB free"
    if free < LEAST:
        return Finding(MEND, subject, f"{text}: not enough", f"make room, or {other}")
    return Finding(OK if free >= ENOUGH else NOTE, subject, text, "" if free >= ENOUGH else "checkpoints add up")


def tracking() -> Iterator[Finding]:
    """Where Weights & Biases would send a run; a key is looked for and not shown."""
    key_there, mode = has_key(), mode_of("auto")
    if not _version("wandb"):
        yield Finding(MEND, "w&b", "is not installed", "pip install wandb, or run with logger=csv")
    elif mode not in ("online", "offline", "disabled", "shared", "dryrun", "run"):
        yield Finding(MEND, "w&b", f"WANDB_MODE={mode} is no mode of it", "unset WANDB_MODE, or say online or offline")
    elif mode == "online" and not key_there:
        yield Finding(MEND, "w&b", "is to be online, without a key", "wandb login, or unset WANDB_MODE")
    else:
        key = "a key is found" if key_there else "no key is found"
        yield Finding(OK, "w&b", f"{mode}; {key}", "" if key_there else "for online runs: wandb login")


def training() -> list[Finding]:
    """Whether a small HM-LSTM trains: a run like any other, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "multiscale.run", *TRIAL, f"hydra.run.dir={folder}/run"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            text = f"40 steps of a small network took over {PATIENCE:.0f} s"
            return [Finding(MEND, "training", text, "see what else runs on this machine")]
        if done.returncode:
            last = next(iter(done.stderr.strip().splitlines()[-1:]), "no message")
            text = f"a run ends with exit code {done.returncode}: {last}"
            return [Finding(MEND, "training", text, " ".join(words[1:-1]))]
        return [judge(read_column(Path(folder) / "run/metrics.csv", "train/bpc"))]


def judge(losses: list[float]) -> Finding:
    """Whether a training loss is finite and falls."""
    text = f"bits per character of a small HM-LSTM: {losses[0]:.2f} at first, {losses[-1]:.2f} after 40 steps"
    if all(map(isfinite, losses)) and losses[-1] < losses[0]:
        return Finding(OK, "training", text)
    fault = "does not fall" if all(map(isfinite, losses)) else "is not finite"
    return Finding(MEND, "training", f"{text}, which {fault}", "reinstall torch; try model.kernel=reference")


def examine(folder: Path, train: bool) -> Iterator[Finding]:
    """All findings, one after the other; a check that fails is one too."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "versions": versions,
        "compiler": compiled,
        "devices": devices,
        "threads": threads,
        "disk": partial(disk, folder),
        "w&b": tracking,
    }
    for name, check in (checks | ({"training": training} if train else {})).items():
        try:
            yield from check()
        except Exception as error:  # such as an import that fails; the rest is still worth knowing
            reason = re.sub(r"\s+", " ", str(error)).strip()
            yield Finding(MEND, name, f"cannot be checked: {type(error).__name__}: {reason}", "reinstall: make setup")


def main(words: list[str]) -> None:
    """Print the findings as they come; exit code 1 if something is to be mended."""
    given = arguments(words, {"folder": ".", "training": True})
    folder = expand(given["folder"])
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"folder must be a folder; got {given['folder']!r}.")
    console = Console(highlight=False, soft_wrap=True)
    broken = 0
    for finding in examine(folder, given["training"]):
        colour = COLOURS[finding.state]
        subject = f"[bold]{escape(finding.subject):<18}[/bold]"
        console.print(f"[{colour}]{finding.state:<5}[/{colour}] {subject} {escape(finding.text)}")
        if finding.how:
            console.print(f"{'':<24} [dim]-> {escape(finding.how)}[/dim]")
        broken += finding.state == MEND
    console.print(f"\n{broken} to mend." if broken else "\nReady to run.")
    sys.stdout.flush()
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    command(main, __doc__)
