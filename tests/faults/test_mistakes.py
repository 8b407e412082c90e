"""A mistake on the command line is one line and exit code 2, in seconds, and leaves nothing behind."""

import resource
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.helpers import tiny

pytestmark = pytest.mark.slow

MISTAKES = [
    *("model.hidden_size=-1", "+model.depth=3", "trainer.max_epochs=abc"),
    *("optim.optimizer.lr=-1", "data.batch_size=100000", "task=sequence_classification", "~model.hidden_size"),
    *("trainer.devices=two", "data=text_file data.path=nowhere.txt", "optim.scheduler.factor=2", "-m seed=0,x"),
]
LATE = ["+trainer.max_epoch=3", "+callbacks.figures.evry=3", "trainer=ddp trainer.strategy=dpp"]  # asks Lightning


def worked() -> float:
    """Seconds that processors have worked for commands so far; on a busy machine a command takes longer than that."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def torch_seconds() -> float:
    """What importing torch takes on this machine: the measure of the others, as seconds tell how busy it is."""
    taken = []
    for _ in range(3):
        start = worked()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        taken.append(worked() - start)
    return min(taken)


@pytest.mark.parametrize("words", [*MISTAKES, *LATE])
def test_a_mistake_is_told_soon_and_leaves_nothing(cli, tmp_path, words, torch_seconds):
    allowed = (5 if words in LATE else 3) * torch_seconds
    seconds = []
    while len(seconds) < 3 and not (seconds and seconds[-1] < allowed):
        start = worked()
        done = cli(*words.split())
        seconds.append(worked() - start)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert not list(tmp_path.iterdir())
    assert min(seconds) < allowed
    if words in LATE:
        return
    program = (
        "import sys\nfrom multiscale.run import main\n"
        "try: main()\n"
        "finally: assert not {'pytorch_lightning', 'torchmetrics', 'matplotlib', 'wandb'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize(
    ("words", "path", "damage", "message"),
    [
        (["data=smnist"], "mnist/train-images-idx3-ubyte.gz", lambda c: c[: len(c) // 2], "it is damaged"),
        (["data=ptb"], "ptb/ptb.valid.txt", lambda c: c[:-9] + b"\xff" + c[-8:], "ptb.valid.txt"),
        (["data=text_file", "data.path=text8/text8"], "text8/text8", lambda c: b"", "is empty"),
        (["data=jsb_chorales"], "jsb/jsb-chorales-quarter.json", lambda c: c[:-9], "jsb-chorales-quarter.json"),
    ],
)
def test_corrupted_data_are_named_and_leave_no_run(cli, tmp_path, words, path, damage, message):
    tiny.data_sets(tmp_path)
    (tmp_path / path).write_bytes(damage((tmp_path / path).read_bytes()))
    experiment = [f"experiment={words[0].removeprefix('data=')}", *words[1:]]
    verified = [] if words[0] == "data=text_file" else ["data.verify=false"]
    done = cli(*experiment, *verified, MULTISCALE_DATA=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("runs"))
