"""A trained language model writes, and cuts texts, as its checkpoint would step by step."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch

from multiscale import cli, generate, segment
from multiscale.checks import InvalidInput
from multiscale.data.facts import NumberFacts, TextFacts
from multiscale.training import language_model
from multiscale.training.build import load
from multiscale.training.checkpoint import files
from multiscale.training.language_model import load_language_model
from multiscale.training.loaders import Loaders
from tests.conftest import ROOT, network, trainer
from tests.training import test_tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture
def checkpoint(data, folder):
    """A checkpoint of a model file on the test text; the HM-LSTM's detectors fire now and then."""

    def make(model: str = "hmlstm") -> str:
        path = folder / f"{model}.ckpt"
        if not path.exists():
            module = network(data, f"model={model}", "optim.optimizer.lr=0.01")
            run = trainer(folder, max_epochs=2)
            run.fit(module, datamodule=Loaders(data))
            run.save_checkpoint(path)
        return str(path)

    return make


def test_what_is_written_is_what_the_whole_text_would_predict(checkpoint):
    module, facts = load_language_model(checkpoint())
    prompt = facts.encode("the quick ")
    symbols = [w.symbol for w in language_model.write(module, prompt, 30, temperature=0, seed=0)]
    assert symbols[: len(prompt)] == prompt
    assert len(symbols) == len(prompt) + 30
    with torch.no_grad():
        logits = module(torch.tensor([symbols]))[0][0]
    assert symbols[len(prompt) :] == logits[len(prompt) - 1 : -1].argmax(-1).tolist()


def test_the_seed_decides_what_is_drawn(checkpoint):
    module, facts = load_language_model(checkpoint())
    runs = [[w.symbol for w in language_model.write(module, facts.encode("the"), 60, 1.0, seed)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_softmax(temperature):
    logits, generator = torch.tensor([1.0, 0.0, -1.0]), torch.Generator().manual_seed(0)
    drawn = Counter(language_model.draw(logits, temperature, generator) for _ in range(4000))
    expected = torch.softmax(logits / temperature, 0)
    for symbol, share in enumerate(expected.tolist()):
        assert drawn[symbol] / 4000 == pytest.approx(share, abs=0.03)


def test_a_tiny_temperature_is_the_likeliest_without_overflow():
    assert language_model.draw(torch.tensor([80.0, 90.0, 3.0]), 1e-300, torch.Generator()) == 1


def test_boundaries_are_marked_where_the_trace_has_them(checkpoint, capsys):
    path = checkpoint()
    words = [f"checkpoint={path}", "prompt=the ", "length=80", "seed=3"]
    generate.main(words)
    plain = capsys.readouterr().out
    generate.main([*words, "boundaries=true"])
    marked = capsys.readouterr().out
    assert marked.replace("|", "") == plain
    module = load(path)
    with torch.no_grad():
        trace = module(torch.tensor([module.facts.encode(plain[:-1])]), trace=True)[1].trace
    highest = [max(step.nonzero()[:, 0].tolist(), default=-1) + 1 for step in trace.boundary[0]]
    assert marked == "".join(c + "|" * level for c, level in zip(plain, highest, strict=False)) + "\n"
    assert sum(highest) > 0


def test_the_segments_of_every_level_are_the_text_and_end_where_the_trace_says(checkpoint, monkeypatch):
    module, facts = load_language_model(checkpoint())
    text = "the quick brown fox jumps over the lazy dog, again and again. " * 3
    with torch.no_grad():
        boundary = module(torch.tensor([facts.encode(text)]), trace=True)[1].trace.boundary[0]
    monkeypatch.setattr(language_model, "CHUNK", 50)
    levels = language_model.segment(module, facts, text)
    assert [level.name for level in levels] == ["layer 1", "layer 2"]
    for number, level in enumerate(levels):
        assert "".join(level.segments) == text
        assert level.ends == boundary[:, number].nonzero()[:, 0].tolist()
    assert levels[0].ends


@pytest.mark.parametrize("given", ["text", "file"])
def test_a_text_or_a_file_is_cut_as_text_or_json(checkpoint, capsys, tmp_path, given):
    text = "the lazy dog, again"
    (tmp_path / "a.txt").write_text(text)
    words = [f"checkpoint={checkpoint()}", f"text={text}" if given == "text" else f"file={tmp_path}/a.txt"]
    segment.main([*words, "format=json"])
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == text
    segment.main([*words, "separator=/"])
    shown = capsys.readouterr().out.splitlines()
    assert shown == [line for level in found["levels"] for line in (f"{level['name']}:", "/".join(level["segments"]))]


@pytest.mark.parametrize(("way", "read"), [("skip", "the dog"), (".", "the. d.og")])
def test_unknown_characters_are_told_in_a_line_and_skipped_or_replaced(checkpoint, capsys, way, read):
    segment.main([f"checkpoint={checkpoint()}", "text=theé dßog", "format=json", f"unknown={way}"])
    shown = capsys.readouterr()
    assert json.loads(shown.out)["text"] == read
    assert (
        shown.err == f"2 characters unknown to the model are {'left out' if way == 'skip' else 'replaced'}: 'ß', 'é'\n"
    )


@pytest.mark.parametrize(("tool", "words"), [(generate, ["prompt=the", "length=1"]), (segment, ["text=the"])])
def test_one_thread_runs_unless_more_are_asked_for(checkpoint, tool, words):
    for given, count in (["threads=2"], 2), ([], 1):
        tool.main([f"checkpoint={checkpoint()}", *words, *given])
        assert torch.get_num_threads() == count


def test_a_model_of_bytes_reads_and_writes_any_text():
    vocabulary = tuple(map(chr, range(256)))
    facts = TextFacts(source="x", sha256="0", vocabulary=vocabulary, characters=(1, 1, 1), bytewise=True)
    assert facts.decode(facts.encode("Größe 漢")) == "Größe 漢"
    assert facts.encode("ö") == [0xC3, 0xB6]
    assert facts.decode([0xC3]) == "\ufffd"


@pytest.mark.parametrize(
    ("tool", "words", "message"),
    [
        (generate, ["prompt=a"], "checkpoint must be given, as checkpoint=..."),
        (generate, ["checkpoint=CK"], "prompt must be given"),
        (generate, ["checkpoint=CK", "prompt="], "prompt must be at least one character"),
        (generate, ["checkpoint=CK", "prompt=\u00e9a"], "prompt must be made of the .* it has 'é'"),
        (generate, ["checkpoint=/no/where", "prompt=a"], "checkpoint must be a file written by a run; '/no/where'"),
        (generate, ["checkpoint=CK", "prompt=a", "length=0"], "length must be a whole number of at least 1; got 0"),
        (generate, ["checkpoint=CK", "prompt=a", "length=x"], "length must be a whole number; got 'x'"),
        (generate, ["checkpoint=CK", "prompt=a", "temperature=-1"], "temperature must be a number at least 0"),
        (generate, ["checkpoint=CK", "prompt=a", "temprature=1"], "Did you mean 'temperature'"),
        (generate, ["checkpoint=CK", "prompt=a", "boundaries=yes"], "boundaries must be true or false; got 'yes'"),
        (generate, ["checkpoint=CK", "prompt=a", "threads=0"], "threads must be a whole number of at least 1; got 0"),
        (generate, ["checkpoint=CK", "prompt"], "arguments must be of the form key=value; got 'prompt'"),
        (generate, ["checkpoint=FLAT", "prompt=a", "boundaries=true"], "boundaries must be false"),
        (segment, ["checkpoint=CK"], "exactly one of text and file"),
        (segment, ["checkpoint=CK", "text=a", "file=b"], "exactly one of text and file"),
        (segment, ["checkpoint=CK", "file=/no/such"], "file must be a readable text file; '/no/such'"),
        (segment, ["checkpoint=CK", "text=a", "format=xml"], "format must be one of text, json; got 'xml'"),
        (segment, ["checkpoint=CK", "text=a", "threads=-1"], "threads must be a whole number of at least 1; got -1"),
        (segment, ["checkpoint=CK", "text=\u00e9\u00fca"], "text must .* it has 'é', 'ü'. With unknown=skip"),
        (segment, ["checkpoint=CK", "text=a", "unknown=ä"], "unknown must be refuse, skip, or one .*got 'ä'"),
        (segment, ["checkpoint=CK", "text=\u00e9", "unknown=skip"], "text must have a character that the model knows"),
        (segment, ["checkpoint=FLAT", "text=a"], "checkpoint must be that of a backbone with boundaries"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(checkpoint, monkeypatch, capsys, tool, words, message):
    words = [w.replace("=CK", f"={checkpoint()}").replace("=FLAT", f"={checkpoint('stacked_lstm')}") for w in words]
    monkeypatch.setattr(sys, "argv", ["x", *words])
    with pytest.raises(SystemExit) as end:
        cli.command(tool.main, "")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("error: ")


def test_a_file_that_is_not_utf8_is_refused(checkpoint, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\xff")
    with pytest.raises(InvalidInput, match="at byte 1"):
        segment.main([f"checkpoint={checkpoint()}", f"file={tmp_path}/a.txt"])


def test_a_checkpoint_of_another_task_is_refused_by_its_kind(tmp_path):
    module = test_tasks.module("sequence_regression")
    assert isinstance(module.facts, NumberFacts)
    torch.save({"recipe": module.recipe, "state_dict": module.state_dict()}, tmp_path / "a.ckpt")
    again = load(tmp_path / "a.ckpt")
    assert again.facts == module.facts
    with pytest.raises(InvalidInput, match="checkpoint must be that of a language model"):
        load_language_model(str(tmp_path / "a.ckpt"))


@pytest.mark.parametrize("name", list(test_tasks.FACTS))
def test_a_checkpoint_gives_the_network_of_every_task_back(tmp_path, name):
    module = test_tasks.module(name).eval()
    torch.save({"recipe": module.recipe, "state_dict": module.state_dict()}, tmp_path / "a.ckpt")
    again = load(tmp_path / "a.ckpt")
    inputs = test_tasks.samples(name)[0][0][None]
    assert again.facts == module.facts
    assert torch.equal(module(inputs)[0], again(inputs)[0])


def test_facts_of_a_foreign_kind_are_refused(data, tmp_path):
    module = network(data)
    for target in ("os.system", "multiscale.nn.heads.Top"):
        recipe = {**module.recipe, "facts": {**module.recipe["facts"], "_target_": target}}
        torch.save({"recipe": recipe, "state_dict": module.state_dict()}, tmp_path / "a.ckpt")
        with pytest.raises(InvalidInput, match="_target_"):
            load(tmp_path / "a.ckpt")


def test_the_command_line_writes_and_stops_when_nobody_reads_on(checkpoint):
    call = f"{sys.executable} -m multiscale.generate checkpoint={checkpoint()} prompt=the length=200000 | head -c 20"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.stdout.startswith("the")
    assert len(done.stdout) == 20
    assert "Traceback" not in done.stderr


def test_a_backbone_of_ones_own_is_loaded_by_whoever_trusts_it(checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "trusted_mine.py").write_text("from multiscale import HMLSTM\nclass Mine(HMLSTM): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    stored = files.load(checkpoint())
    stored["recipe"]["config"]["model"]["_target_"] = "trusted_mine.Mine"
    path = str(tmp_path / "mine.ckpt")
    files.save(stored, path)
    for package in ((), ("trusted",), ("trusted_mine.Other",)):
        with pytest.raises(InvalidInput, match="trust="):
            load(path, package)
    assert type(load(path, ("trusted_mine",)).backbone).__name__ == "Mine"
    words = [f"checkpoint={path}", "trust=[trusted_mine.]"]
    generate.main([*words, "prompt=the", "length=3"])
    assert capsys.readouterr().out.startswith("the")
    segment.main([*words, "text=the fox"])
    assert "layer 1:" in capsys.readouterr().out
