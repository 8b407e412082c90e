"""The language-model sets: their conventions, their counts, and a language whose entropy is known."""

import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.data.artificial import ALPHABET, Grammar, Kind
from multiscale.data.files import DataError, data_folder
from multiscale.training.build import build
from tests.conftest import ROOT
from tests.helpers import tiny


def data(name: str, *words: str):
    module = make(jobs([f"data={name}", *tiny.SMALL[name], *words])[0], "data")
    module.setup()
    return module


def real(name: str, *paths: str):
    """The data set from the real files, or a skip that says which are missing."""
    missing = [path for path in paths if not (data_folder() / path).exists()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} under MULTISCALE_DATA")
    module = make(jobs([f"data={name}"])[0], "data")
    module.setup()
    return module


@pytest.fixture
def files(tmp_path, monkeypatch):
    tiny.text_sets(tmp_path)
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    return tmp_path


def decoded(module, split: str) -> str:
    return module.facts.decode(module.symbols(split).tolist())


@pytest.mark.parametrize("name", ["ptb", "text8", "enwik8", "tinyshakespeare", "python_docs"])
def test_every_text_has_a_form_of_letters_and_single_spaces(name, files):
    module = data(name, "data.form=letters27")
    text = "".join(decoded(module, split) for split in ("train", "val", "test"))
    assert set(text) <= set(f" {ALPHABET}")
    assert "  " not in text
    assert sum(module.facts.characters) == len(text)


def test_a_sentence_of_ptb_is_its_words_with_spaces_between_and_one_end_of_line(files):
    module = data("ptb")
    sentence = f"{tiny.PROSE.strip()} <unk> N\n"
    assert decoded(module, "train") == sentence * 60
    assert decoded(module, "val") == decoded(module, "test") == sentence * 6
    assert "\n" in module.facts.vocabulary


def test_bytes_become_symbols_and_back(files):
    module = data("enwik8")
    content = (files / "enwik8/enwik8").read_bytes()
    assert "".join(decoded(module, split) for split in ("train", "val", "test")) == content.decode()
    assert module.facts.num_symbols == len(set(content))
    assert module.facts.decode(module.facts.encode("Größe")) == "Größe"
    assert [n / len(content) for n in module.facts.characters] == pytest.approx([0.9, 0.05, 0.05], abs=0.001)


def test_letters_beyond_ascii_belong_to_words(files):
    module = data("enwik8")
    ends = module.segmentations("val")["word_ends"]
    symbols = torch.cat([module.symbols("train")[-1:], module.symbols("val")])[:-1]
    text = bytes(ord(module.facts.vocabulary[i]) for i in symbols.tolist())
    for at in (i for i in range(len(text)) if text.startswith("Größe,".encode(), i)):
        assert ends[at : at + 8].tolist() == [False] * 6 + [True, False]
    assert "Größe,".encode() in text


def test_text8_with_another_symbol_is_refused(files):
    (files / "text8/text8").write_text("The end " * 1000)
    with pytest.raises(DataError, match="text8 must be made of a-z and space; text8/text8 has 'T'"):
        data("text8")


@pytest.mark.parametrize("name", ["ptb", "tinyshakespeare"])
def test_a_text_that_is_not_utf8_is_refused_with_the_byte(files, name):
    path = next((files / name).glob("*t*"))
    path = files / "ptb/ptb.train.txt" if name == "ptb" else path
    path.write_bytes(b"ab\xff" * 1000)
    with pytest.raises(DataError, match=r"must be a text in UTF-8; it is not, at byte 2"):
        data(name)


@pytest.mark.parametrize("name", ["ptb", "text8", "enwik8", "tinyshakespeare"])
def test_an_empty_file_is_refused(files, name):
    for path in (files / name).iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        data(name)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process alone")
def test_a_large_text_stays_one_byte_a_symbol(tmp_path):
    (tmp_path / "text8").mkdir()
    (tmp_path / "text8/text8").write_bytes(
        b"the quick brown fox jumps over the lazy dog " * 2_272_727 + b"and dogs    "
    )
    program = (  # VmHWM is the peak of this process; rusage starts from that of its parent
        "import re; from pathlib import Path; from multiscale.data.language import Text8\n"
        "data = Text8(128, 180, verify=False); data.setup(); next(iter(data.loader('train')))\n"
        "assert sum(data.facts.characters) == 100_000_000, data.facts.characters\n"
        r"print(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"MULTISCALE_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1024 * 1024  # KiB


def test_feeding_costs_less_than_a_twentieth_of_a_step(files):
    module = data("text8", "data.batch_size=32", "data.steps=64")
    network = build(jobs(["model=stacked_lstm", "data=text8"])[0], module.facts)
    feed, step = [], []
    for _ in range(3):
        for batch in timed(module.loader("train"), feed):
            start = time.perf_counter()
            outputs, _ = network(batch.inputs, mask=batch.mask)
            network.task.measure(outputs, batch)["loss"].mean.backward()
            step.append(time.perf_counter() - start)
    assert statistics.median(feed) < 0.05 * statistics.median(step)


def timed(loader, times: list[float]):
    """The batches of a loader, and how long each took to come."""
    batches = iter(loader)
    for _ in range(len(loader)):
        start = time.perf_counter()
        batch = next(batches)
        times.append(time.perf_counter() - start)
        yield batch


TWO_WORDS = Kind(((0,), (1, 2)), np.array([0.75, 0.25]))


def test_the_entropy_of_a_small_grammar_by_hand():
    # A sentence is two words: 2 H(1/4) bits over 2 (3/4 + 2/4) letters.
    grammar = Grammar(((TWO_WORDS,), (Kind(((0, 0),), np.array([1.0])),)))
    surprise = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert grammar.entropy == pytest.approx(2 * surprise / 2.5)


def language(*words: str):
    module = make(jobs(["data=artificial_language", "data.length=200000", *words])[0], "data")
    module.setup()
    return module


@pytest.fixture(scope="module")
def fluent():
    return language()


def test_the_stream_is_read_in_one_way_and_its_ends_are_the_true_ones(fluent):
    words = {tuple(way): kind for kind, found in enumerate(fluent.grammar.levels[0]) for way in found.ways}
    phrases = {tuple(way) for found in fluent.grammar.levels[1] for way in found.ways}
    text = decoded(fluent, "train")
    assert " " not in text
    letter, word, word_ends, phrase_ends = [], [], [], []
    for i, symbol in enumerate(text[:20_000]):
        letter.append(ALPHABET.index(symbol))
        if tuple(letter) in words:
            word_ends.append(i)
            word.append(words[tuple(letter)])
            letter = []
            if tuple(word) in phrases:
                phrase_ends.append(i)
                word = []
    known = fluent.segmentations("train")
    assert known["word_ends"][:20_000].nonzero()[:, 0].tolist() == word_ends
    assert known["phrase_ends"][:20_000].nonzero()[:, 0].tolist() == phrase_ends
    assert (known["sentence_ends"] & ~known["phrase_ends"]).sum() == 0


def test_segmentations_stand_at_the_inputs_of_each_split(fluent):
    for split in ("train", "val", "test"):
        batches = list(fluent.loader(split))
        count = sum(int(batch.mask.sum()) for batch in batches)
        assert [len(marks) for marks in fluent.segmentations(split).values()] == [count] * 3


def test_the_true_entropy_is_what_an_estimate_of_the_stream_tends_to(fluent):
    # Words are read in one way only: entropy of words, given the class, and of rules, is bounded by that of words.
    known = fluent.facts.references["true entropy (bits per character)"]
    realised = fluent.facts.references["true information of the test split (bits per character)"]
    assert realised == pytest.approx(known, rel=0.05)
    text = decoded(fluent, "train")
    bounds = []
    for order in (1, 3, 5):
        counts = Counter(text[i : i + order + 1] for i in range(len(text) - order))
        contexts = Counter(text[i : i + order] for i in range(len(text) - order))
        total = sum(counts.values())
        bounds.append(-sum(n / total * math.log2(n / contexts[gram[:-1]]) for gram, n in counts.items()))
    assert all(a > b for a, b in pairwise(bounds))
    assert bounds[0] > known
    assert bounds[1] > known  # a Markov model of low order cannot know all; of high order, it has learned by heart


def test_zipf_makes_some_words_rarer_and_zero_makes_them_equal():
    assert len(set(language("data.zipf=0").grammar.levels[0][0].probabilities.tolist())) == 1
    shares = language("data.zipf=1").grammar.levels[0][0].probabilities
    assert shares[0] / shares[3] == pytest.approx(4)


def test_the_language_is_that_of_its_own_seed(fluent):
    torch.manual_seed(5)
    again, other = language(), language("data.seed=1")
    assert again.facts == fluent.facts
    assert other.facts.sha256 != fluent.facts.sha256


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.letters=27", "letters must be at most 26; got 27"),
        ("data.letters=2", "words must be few enough that none begins another"),
        ("data.word_length=[4,2]", r"word_length must be \[fewest, most\]; got \[4, 2\]"),
        ("data.zipf=-1", "zipf must be a number at least 0; got -1"),
        ("data.words=0", "words must be a whole number"),
    ],
)
def test_a_language_that_cannot_be_is_refused(word, message):
    with pytest.raises(InvalidInput, match=message):
        language(word)


@pytest.mark.real_data
def test_real_ptb_has_its_counts():
    module = real("ptb", "ptb/ptb.train.txt", "ptb/ptb.valid.txt", "ptb/ptb.test.txt")
    assert module.facts.characters == (5_017_482, 393_042, 442_423)
    assert module.facts.num_symbols == 50


@pytest.mark.real_data
def test_real_tiny_shakespeare_has_its_counts():
    module = real("tinyshakespeare", "tinyshakespeare/input.txt")
    assert sum(module.facts.characters) == 1_115_394
    assert module.facts.num_symbols == 65


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "symbols"), [("text8", 27), ("enwik8", 205)])
def test_real_wikipedia_has_its_counts(name, symbols):
    module = real(name, f"{name}/{name}")
    assert module.facts.characters == (90_000_000, 5_000_000, 5_000_000)
    assert module.facts.num_symbols == symbols
