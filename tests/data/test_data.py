"""Texts and their streams: every character once, in order, carried across chunks, shared between ranks."""

import pytest
import torch

from multiscale.checks import InvalidInput
from multiscale.data.batch import IGNORE
from multiscale.data.python_docs import PythonDocs
from multiscale.data.streams import Streams
from multiscale.data.text_file import TextFile


def read(streams: Streams) -> list[list[int]]:
    """The targets of each stream, chunks joined, padding left out."""
    rows = torch.cat([streams[k].targets for k in range(len(streams))], 1)
    return [[x for x in row.tolist() if x != IGNORE] for row in rows]


@pytest.mark.parametrize("start", [0, 10])
@pytest.mark.parametrize("stop", [11, 47, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_every_symbol_of_a_split_is_a_target_once_and_in_order(start, stop, batch_size, steps):
    symbols = torch.arange(100)
    joined = [x for stream in read(Streams(symbols, start, stop, batch_size, steps)) for x in stream]
    assert joined == list(range(max(start, 1), stop))


def test_the_input_is_the_symbol_before_the_target():
    streams = Streams(torch.arange(100), 20, 90, 4, 7)
    for k in range(len(streams)):
        batch = streams[k]
        valid = batch.targets != IGNORE
        assert torch.equal(batch.inputs[valid], batch.targets[valid] - 1)


def test_a_chunk_goes_on_where_the_last_one_stopped():
    streams = Streams(torch.arange(1000), 0, 900, 5, 16)
    for k in range(len(streams) - 2):
        assert torch.equal(streams[k].targets[:, -1], streams[k + 1].inputs[:, 0])


def test_ranks_share_the_streams_of_one_process():
    whole = Streams(torch.arange(1000), 0, 900, 6, 16)
    parts = [Streams(torch.arange(1000), 0, 900, 6, 16, rank, 3) for rank in range(3)]
    for k in range(len(whole)):
        assert torch.equal(whole[k].targets, torch.cat([part[k].targets for part in parts]))


@pytest.mark.parametrize("steps", [7, 16, 200])
def test_a_warmed_stream_first_reads_what_stands_before_it_and_counts_none_of_it(steps):
    cold, warm = (Streams(torch.arange(1000), 300, 400, 4, steps, warm=warm) for warm in (0, 20))
    assert len(cold) == len(warm)
    assert read(cold) == read(warm)
    first = warm[0]
    assert first.inputs.size(1) == cold[0].inputs.size(1) + 20
    assert not first.mask[:, :20].any()
    assert first.inputs[:, 0].tolist() == [begin - 21 for begin in warm.begins.tolist()]
    assert torch.equal(first.inputs[:, 20:], cold[0].inputs)


@pytest.mark.parametrize("overlap", [1, 5, 7, 20, 200])  # less than a chunk, a chunk, more than any
@pytest.mark.parametrize("start", [0, 300])
def test_chunks_that_overlap_begin_earlier_and_count_every_symbol_once(start, overlap):
    plain, overlapping = (Streams(torch.arange(1000), start, 400, 4, 7, overlap=o) for o in (0, overlap))
    assert len(plain) == len(overlapping)
    assert read(plain) == read(overlapping)
    at = 0  # of the stream, where the state is that a chunk is to begin with
    for k in range(len(plain)):
        chunk, again = overlapping[k], min(overlap, k * 7)
        assert torch.equal(chunk.inputs[:, again:], plain[k].inputs)
        assert not chunk.mask[:, :again].any()
        assert torch.equal(chunk.mask[:, again:], plain[k].mask)
        assert chunk.inputs[:, 0].tolist() == [begin - 1 + at for begin in overlapping.begins.tolist()]
        at += max(chunk.inputs.size(1) - chunk.overlap, 0)


def test_only_the_training_reads_chunks_that_overlap(data):
    overlapping = TextFile(data.paths, data.batch_size, data.steps, overlap=3)
    overlapping.setup()
    for split in ("train", "val", "test"):
        chunks = overlapping.loader(split).dataset
        last = len(chunks) - 1
        longer, plain = chunks[last], data.loader(split).dataset[last]
        assert longer.overlap == longer.inputs.size(1) - plain.inputs.size(1) == (3 if split == "train" else 0)


@pytest.mark.parametrize("overlap", [-1, 0.5, True, None])
def test_an_overlap_that_is_no_number_of_steps_is_refused(overlap):
    with pytest.raises(InvalidInput, match=f"overlap must be a whole number of at least 0; got {overlap!r}"):
        TextFile("x", 2, 16, overlap=overlap)


@pytest.mark.parametrize(("ranks", "streams"), [(1, 8), (2, 4), (3, 8), (8, 1)])
def test_processes_share_the_streams_of_an_evaluation_too(ranks, streams, tmp_path):
    (tmp_path / "text.txt").write_text("".join(chr(97 + i % 7) for i in range(70_000)))
    data = TextFile(str(tmp_path / "text.txt"), 24, 16, split=(0.8, 0.1, 0.1))
    data.setup()
    parts = [data.loader("val", rank, ranks).dataset for rank in range(ranks)]
    assert [len(part.begins) for part in parts] == [streams] * ranks
    seen = [x for part in parts for row in read(part) for x in row]
    assert seen == data.symbols("val").tolist()


def test_letters27_leaves_letters_and_single_spaces(tmp_path):
    (tmp_path / "text.txt").write_text("It's  9 o'Clock,\nÜber-all.\n" * 50)
    data = TextFile(str(tmp_path / "text.txt"), 2, 16, form="letters27")
    data.setup()
    text = "".join(data.facts.vocabulary[i] for i in data._symbols.tolist())
    assert text.startswith("it s o clock ber all it s")
    assert set(data.facts.vocabulary) <= set(" abcdefghijklmnopqrstuvwxyz")
    assert "  " not in text
    with pytest.raises(InvalidInput, match="form must be one of plain, letters27; got 'letters28'"):
        TextFile("x", 2, 16, form="letters28")


def test_the_python_manual_is_split_in_order_and_known_by_its_hash():
    data = PythonDocs(batch_size=8, steps=32)
    data.setup()
    text = data.read()[1]
    decoded = ["".join(data.facts.vocabulary[i] for i in data.symbols(s).tolist()) for s in ("train", "val", "test")]
    assert "".join(decoded) == text
    assert [round(len(part) / len(text), 3) for part in decoded] == [0.9, 0.05, 0.05]
    assert len(data.facts.sha256) == 64
    assert data.facts.num_symbols == len(set(text))


def test_any_utf8_text_keeps_all_its_characters(tmp_path):
    text = "naïve Ω 漢字 🙂\r\n" * 200
    (tmp_path / "a.txt").write_bytes(text.encode())
    data = TextFile(str(tmp_path / "a.txt"), batch_size=2, steps=8)
    data.setup()
    whole = torch.cat([data.symbols(split) for split in ("train", "val", "test")])
    assert "".join(data.facts.vocabulary[i] for i in whole.tolist()) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"ab\xff\xfe" * 999, "UTF-8; .* at byte 2"),
        (b"short", "has 5 characters.*at least 17"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        TextFile(str(path), batch_size=2, steps=8).setup()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"split": (0.5, 0.4)}, "split must be three fractions that sum to 1"),
        ({"split": (1.1, -0.05, -0.05)}, "split"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        PythonDocs(**{"batch_size": 4, "steps": 8, **arguments})


@pytest.fixture
def folder(tmp_path):
    """Three documents, in folders too, beside a file that is hidden and one that is empty."""
    for name, text in {
        "b.txt": "two " * 50,
        "a.txt": "one " * 50,
        ".no": "x",
        "c.md": "",
        "deep/d.txt": "ö" * 30,
    }.items():
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(text)
    return tmp_path / "texts"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "one " * 50 + "two " * 50),
        ("*.txt", "one " * 50 + "two " * 50),
        ("**/*.txt", "one " * 50 + "two " * 50 + "ö" * 30),
        (["deep", "b.txt"], "ö" * 30 + "two " * 50),
    ],
)
def test_several_files_are_read_in_order_as_one_text(folder, path, text):
    paths = [str(folder / one) for one in path] if isinstance(path, list) else str(folder / path)
    for units, wanted in (("characters", text), ("bytes", text.encode().decode("latin-1"))):
        data = TextFile(paths, batch_size=2, steps=8, units=units, split=(0.5, 0.3, 0.2))
        data.setup()
        assert "".join(data.facts.vocabulary[i] for i in data._symbols.tolist()) == wanted
        assert data.facts.decode(data._symbols.tolist()) == text
        assert data.facts.bytewise == (units == "bytes")
        assert data.facts.source.endswith(" files")


@pytest.mark.parametrize(("split", "overlap"), [("train", 0), ("train", 5), ("val", 0)])
def test_a_document_begins_with_a_reset_at_its_first_symbol_and_nowhere_else(folder, split, overlap):
    data = TextFile(str(folder / "**/*.txt"), 2, 8, split=(0.6, 0.37, 0.03), overlap=overlap, reset=True)
    data.setup()
    begins, streams = data.documents.tolist(), data.loader(split).dataset
    assert begins == [0, 200, 400]
    for k in range(len(streams)):
        batch, first = streams[k], k * 8 - (data.warm(split) if k == 0 else min(overlap, k * 8))
        at = streams.begins[:, None] - 1 + torch.arange(first, first + batch.inputs.size(1))
        wanted = (at[..., None] == data.documents).any(-1) & (at + 1 < streams.stop)
        assert torch.equal(batch.reset, wanted)
    seen = torch.cat([streams[k].mask.sum()[None] for k in range(len(streams))]).sum()
    assert int(seen) == len(data.symbols(split)) - (split == "train")  # what begins a document is a target too
    assert data.passage(1000).reset.nonzero().tolist() == [[0, 400 - data.bounds["val"][0]]]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("deeper", "'.*deeper': No such file"),
        ("none", "data.path must be a file, or a folder or pattern with files; '.*none' has none"),
        ("*.rst", r"data.path must be .*; '.*\*.rst' has none"),
        (["a.txt", ""], "data.path must name each file once; '.*a.txt' is there twice"),
        ("c.md", "must be a text with characters in it; it is empty"),
        ("bad", r"data.path '.*bad/1.bin' must be a text in UTF-8; it is not, at byte 2. data.units=bytes reads"),
        ("deep", r"data.steps must be smaller, .* has 30 characters, 27 of them"),
    ],
)
def test_files_that_make_no_text_are_named_in_a_line(folder, path, message):
    (folder / "none").mkdir()
    (folder / "bad").mkdir()
    (folder / "bad/1.bin").write_bytes(b"ab\xff" * 99)
    paths = [str(folder / one) for one in path] if isinstance(path, list) else str(folder / path)
    with pytest.raises(InvalidInput, match=message) as error:
        TextFile(paths, batch_size=4, steps=8).setup()
    assert "\n" not in str(error.value)
    TextFile(str(folder / "bad"), batch_size=4, steps=8, units="bytes").setup()
