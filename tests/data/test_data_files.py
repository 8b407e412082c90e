"""Files are fetched once, verified, and never half written, whatever goes wrong."""

import gzip
import hashlib
import io
import multiprocessing
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multiscale.data import files
from multiscale.data.files import RECORDINGS, DataError, Remote, data_folder, fetch, recordings

CONTENT = b"all happy families are alike " * 40_000


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def zipped(name: str, content: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return whole.getvalue()


def tarred(**contents: bytes) -> bytes:
    """A packed archive of files in a folder of it, beside one that is no recording."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in {**contents, "notes.txt": b"read me"}.items():
            entry = tarfile.TarInfo(f"set-1.0/recordings/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


SOUNDS = {"b.wav": b"beep", "a.wav": b"ping"}


class Shelf:
    """What the server hands out, how often it was asked, and after how many bytes it breaks off."""

    def __init__(self):
        self.pages = {
            "/book.txt": CONTENT,
            "/book.zip": zipped("inside", CONTENT),
            "/other.zip": zipped("else", CONTENT),
            "/book.gz": gzip.compress(CONTENT),
            "/sounds.tar.gz": tarred(**SOUNDS),
        }
        self.asked: list[str] = []
        self.breaks_at: int | None = None


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            shelf.asked.append(self.path)
            page = shelf.pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page[: shelf.breaks_at])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path / "data"))
    yield shelf
    server.shutdown()


def book(shelf, page="/book.txt", name="books/book.txt", checksum=None, member=None) -> Remote:
    return Remote(name, checksum or md5(CONTENT), shelf.url + page, member)


def left(folder: Path) -> list[str]:
    """Every file that is left, but for locks."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_the_folder_is_the_named_one_or_a_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("MULTISCALE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "multiscale" in data_folder().parts


@pytest.mark.parametrize(
    ("page", "name", "member"),
    [("/book.txt", "books/book.txt", None), ("/book.zip", "book", "inside"), ("/book.gz", "book.gz", None)],
)
def test_a_file_is_fetched_once_and_whole(shelf, page, name, member):
    remote = book(shelf, page, name, member=member)
    for _ in range(3):
        path = fetch(remote)
    assert shelf.asked == [page]
    assert (gzip.decompress(path.read_bytes()) if page.endswith("gz") else path.read_bytes()) == CONTENT
    assert left(data_folder()) == [name]


def test_a_file_that_is_there_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    (tmp_path / "book.txt").write_bytes(CONTENT)
    assert fetch(Remote("book.txt", md5(CONTENT), "http://127.0.0.1:9/book.txt")).read_bytes() == CONTENT
    assert left(tmp_path) == ["book.txt"]


def test_an_archive_that_a_user_put_there_is_unpacked_without_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    (tmp_path / "book.zip").write_bytes(zipped("inside", CONTENT))
    remote = Remote("book", md5(CONTENT), "http://127.0.0.1:9/book.zip", "inside")
    assert fetch(remote).read_bytes() == CONTENT
    assert left(tmp_path) == ["book", "book.zip"]


@pytest.mark.parametrize("breaks_at", [0, 1, 100_000])
def test_a_connection_that_breaks_off_leaves_nothing_and_the_next_try_succeeds(shelf, breaks_at):
    shelf.breaks_at = breaks_at
    with pytest.raises(DataError, match=r"could not be had: .*broke off"):
        fetch(book(shelf))
    assert left(data_folder()) == []
    shelf.breaks_at = None
    assert fetch(book(shelf)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "0" * 32}, f"checksum {md5(CONTENT)}; expected {'0' * 32}"),
        ({"page": "/nowhere"}, "404"),
        ({"page": "/book.txt", "member": "inside"}, "not a zip file"),
        ({"page": "/other.zip", "member": "inside"}, "no item named 'inside'"),
        ({"page": "/book.txt", "name": "book.gz"}, "damaged"),
    ],
)
def test_what_is_not_the_file_is_not_kept(shelf, change, message):
    with pytest.raises(DataError, match=message):
        fetch(book(shelf, **change))
    assert left(data_folder()) == []


def sounds(shelf, checksum=None) -> Remote:
    return Remote(
        "set/recordings", checksum or md5(b"a.wav\0pingb.wav\0beep"), f"{shelf.url}/sounds.tar.gz", RECORDINGS
    )


def test_a_folder_of_recordings_is_fetched_once_and_whole(shelf):
    for _ in range(2):
        folder = fetch(sounds(shelf))
    assert shelf.asked == ["/sounds.tar.gz"]
    assert {path.name: path.read_bytes() for path in recordings(folder)} == SOUNDS
    assert left(data_folder()) == ["set/recordings/a.wav", "set/recordings/b.wav"]


@pytest.mark.parametrize(("breaks_at", "message"), [(None, "MD5 checksum .*; expected 0"), (50, "broke off")])
def test_recordings_that_are_not_those_are_not_kept(shelf, breaks_at, message):
    shelf.breaks_at = breaks_at
    with pytest.raises(DataError, match=message):
        fetch(sounds(shelf, "0"))
    assert left(data_folder()) == []


def test_a_folder_that_lacks_a_recording_is_named_with_what_it_has(shelf):
    (fetch(sounds(shelf)) / "a.wav").unlink()
    with pytest.raises(DataError, match=r"set/recordings has 1 recordings with the MD5 checksum .*Remove it"):
        fetch(sounds(shelf))
    assert len(recordings(fetch(sounds(shelf), verify=False))) == 1


def test_an_interrupted_download_leaves_nothing(shelf, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "settle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(book(shelf))
    assert left(data_folder()) == []


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b"x" + b[1:], lambda b: b"", lambda b: b[:99] + bytes(99) + b[198:]],
    ids=["cut short", "another head", "empty", "damaged inside"],
)
@pytest.mark.parametrize(("page", "name"), [("/book.txt", "book.txt"), ("/book.gz", "book.gz")])
def test_a_damaged_file_is_named_and_neither_used_nor_replaced(shelf, page, name, damage):
    path = fetch(book(shelf, page, name))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name} .*Remove it"):
        fetch(book(shelf, page, name))
    assert len(shelf.asked) == 1
    path.unlink()
    fetch(book(shelf, page, name))


def test_a_file_of_ones_own_can_be_taken_as_it_is(shelf):
    (data_folder()).mkdir()
    (data_folder() / "book.txt").write_text("mine")
    assert fetch(book(shelf, name="book.txt"), verify=False).read_text() == "mine"


def _fetch_and_report(remote: Remote, results) -> None:
    results.put(hashlib.md5(fetch(remote).read_bytes()).hexdigest())


def test_processes_that_fetch_at_once_download_once(shelf):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_fetch_and_report, args=(book(shelf), results)) for _ in range(4)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert found == [md5(CONTENT)] * 4
    assert len(shelf.asked) == 1


def test_without_a_network_the_message_says_which_file_where_and_how(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    with pytest.raises(DataError) as error:
        fetch(Remote("books/book.txt", "0", "http://127.0.0.1:9/book.txt"))
    for word in ("books/book.txt is missing", str(tmp_path / "books/book.txt"), "Download http://127.0.0.1:9/book.txt"):
        assert word in str(error.value)
    assert "MULTISCALE_DATA" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path, monkeypatch, shelf):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"book.txt is missing.*(Not a directory|File exists)"):
        fetch(book(shelf))


@pytest.mark.skipif(os.access("/", os.W_OK), reason="this user may write everywhere")
def test_a_read_only_folder_is_said_but_its_files_are_used(tmp_path, monkeypatch, shelf):
    monkeypatch.setenv("MULTISCALE_DATA", str(tmp_path))
    (tmp_path / "there.txt").write_bytes(CONTENT)
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        fetch(book(shelf))
    assert fetch(book(shelf, name="there.txt")).read_bytes() == CONTENT
    tmp_path.chmod(0o700)
