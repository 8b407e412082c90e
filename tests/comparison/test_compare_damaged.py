"""Whatever has happened to a run folder, comparing it takes seconds and ends in a table."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from multiscale import compare
from multiscale.comparison import draw_matplotlib
from multiscale.comparison.runs import read
from tests.helpers.run_folders import finished, unfinished

PICTURES = 8  # every so many tries the pictures are drawn too, which takes most of the time
T = 40
EXCERPT = {
    "symbols": list("the quick brown fox jumps over the lazy "),
    "levels": ["layer 1", "layer 2"],
    "update": [[1.0] * T, [0.5] * T],
    "boundary": [[0, 1] * (T // 2), [0] * T],
    "probability": [[0.2, 0.9] * (T // 2), [0.1] * T],
    "truth": {"word_ends": [2, 8], "spaces": [3, 9]},
    "periods": [[1.0, 6.0], [1.0, 7.0]],
    "true_periods": [2, 8],
    "start": 3,
}
DEEP = "[" * 5000 + "]" * 5000
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
WHOLE = [  # (a file, what stands in it, what is said of it; nothing where it is no more than left out)
    ("summary.json", DEEP, "nested too deep"),
    ("summary.json", '{"val": ' * 2000, "summary.json is damaged"),
    ("summary.json", '{"val": {"a": ' + "9" * 400 + "}}", "a number of 400 digits"),
    ("summary.json", '{"val": {"a": 1e999}}', "a number that is not finite"),
    ("summary.json", '{"val": {"a": Infinity}}', "a number that is not finite"),
    ("summary.json", '{"name": "\\ud800"}', "summary.json is damaged"),
    ("status.json", DEEP, "nested too deep"),
    ("status.json", '{"state": "failed", "error": "\\udfff"}', "status.json is damaged"),
    ("config.yaml", "a: &a [*a]", "refers to parts of itself"),
    ("config.yaml", BOMB, "refers to parts of itself"),
    ("config.yaml", "[" * 10**6, "levels deep"),
    ("config.yaml", "\0", "config.yaml is damaged"),
    ("metrics.csv", 'epoch,step,"x\n0,10,1.5\n', ""),
    ("metrics.csv", "epoch,step,x\0\n0,10,1.5\n", ""),
    ("metrics.csv", "epoch,step,x\n0,99999999999999999999999,1.5\n0,10,1e999\n0,11,-inf\n", ""),
    ("metrics.csv", "step,step,\n1,2,3\n", ""),
    ("excerpt.json", DEEP, ""),
    ("excerpt.json", '{"symbols": "abc"}', ""),
]


def whole(folder: Path, **settings) -> Path:
    finished(folder, 1.5, **settings)
    (folder / "excerpt.json").write_text(json.dumps(EXCERPT))
    return folder


def compare_within(seconds: int, folder: Path) -> None:
    """Compare what is in a folder; fails if that takes longer."""

    def late(*_):
        raise AssertionError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        compare.main([str(folder), f"to={folder.parent}/comparison"])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_pictures(monkeypatch):
    """The page alone, for its pictures take most of the time."""
    monkeypatch.setattr(draw_matplotlib, "draw", lambda *_: None)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("file", "text", "said"), WHOLE)
def test_a_damaged_file_is_a_row_that_says_so_at_once(tmp_path, capsys, file, text, said):
    whole(tmp_path / "runs/good")
    (whole(tmp_path / "runs/bad", seed=1) / file).write_text(text)
    compare_within(20, tmp_path / "runs")
    assert said in read(tmp_path / "runs/bad").reason
    assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "file", ["summary.json", "status.json", "config.yaml", "metrics.csv", "excerpt.json", "error.txt"]
)
@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "sparse"])
def test_what_is_no_file_is_not_waited_for(tmp_path, file, kind):
    whole(tmp_path / "runs/good")
    bad = whole(tmp_path / "runs/bad", seed=1) if file != "error.txt" else unfinished(tmp_path / "runs/bad", "failed")
    path = bad / file
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.touch()
        os.truncate(path, 2**40)
    compare_within(20, tmp_path / "runs")


VALUES = [
    None,
    True,
    [],
    {},
    "",
    "x",
    "$\\frac{",
    "[/x]",
    "<script>",
    "\u202e\ufffe",
    "a\nb\tc\x1b[31m",
    -1,
    0,
    1e308,
    -1e308,
    2**60,
]
VALUES += [[[]], {"a": {"b": 1}}, [None], "long " * 2000, ["x"] * 3, {"1": 2}]


def damage(folder: Path, chance: random.Random) -> str:
    """Break one or two things in a run folder; says what."""
    told = []
    for _ in range(chance.randint(1, 2)):
        file = chance.choice(["summary.json", "status.json", "config.yaml", "metrics.csv", "excerpt.json"])
        path = folder / file
        if not path.is_file():
            continue
        content = path.read_bytes()
        how = chance.choice(["value", "value", "value", "value", "gone", "cut", "flip", "junk"])
        if how == "value" and file != "metrics.csv":
            how = _change(path, chance)
        elif how == "value":
            rows = content.decode().split("\n")
            row = chance.randrange(len(rows))
            cells = rows[row].split(",")
            cells[chance.randrange(len(cells))] = chance.choice(
                ["", "x", '"', "1e999", "nan", "-5", "9" * 30, "\0", "\u2028"]
            )
            rows[row] = ",".join(cells)
            path.write_text("\n".join(rows))
        elif how == "gone":
            path.unlink()
        elif how == "cut":
            path.write_bytes(content[: chance.randrange(len(content) + 1)])
        elif how == "flip":
            damaged = bytearray(content)
            for _ in range(chance.randint(1, 5)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
        else:
            path.write_bytes(chance.randbytes(chance.randint(0, 300)))
        told.append(f"{file}: {how}")
    return ", ".join(told)


def _change(path: Path, chance: random.Random) -> str:
    """Put something else in the place of a random value, key or item."""
    from omegaconf import OmegaConf

    try:
        content = (
            json.loads(path.read_text()) if path.suffix == ".json" else OmegaConf.to_container(OmegaConf.load(path))
        )
    except Exception:  # it was damaged before
        return "nothing"
    where, node = [], content
    while isinstance(node, (dict, list)) and node and (not where or chance.random() < 0.8):
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        holder, node = node, node[key]
        where.append(key)
    if not where:
        return "nothing"
    value = chance.choice(VALUES)
    if chance.random() < 0.2:
        del holder[where[-1]]
        value = "gone"
    else:
        holder[where[-1]] = value
    path.write_text(json.dumps(content))  # which YAML is too
    return f"{'.'.join(map(str, where))} = {value!r:.40}"


@pytest.mark.slow
def test_two_hundred_damaged_run_folders_are_compared(tmp_path, monkeypatch):
    draw = draw_matplotlib.draw
    for name, settings in {"good": {}, "more": {"seed": 1}, "lstm": {"model": "stacked_lstm"}}.items():
        whole(tmp_path / "made" / name, **settings)
    for seed in range(int(os.environ.get("MULTISCALE_DAMAGES", "200"))):
        chance = random.Random(seed)
        runs = tmp_path / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(tmp_path / "made", runs)
        told = [damage(runs / name, chance) for name in chance.sample(["good", "more", "lstm"], chance.randint(1, 3))]
        monkeypatch.setattr(draw_matplotlib, "draw", draw if seed % PICTURES == 0 else lambda *_: None)
        try:
            compare_within(30, runs)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {'; '.join(told)}") from error
