"""Downloads from a local server that can also misbehave."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ketformer.errors import KetformerError
from ketformer.tasks import downloads
from ketformer.tasks.downloads import download

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; its attributes say how it misbehaves."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.resumes = True
        self.shift = 0  # a Range is answered from somewhere else
        self.breaks_after = None  # bytes
        self.says_length = True
        self.redirect = None
        self.status = None
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.redirect or server.status:
            self.send_response(server.status or 302)
            self.send_header("Location", server.redirect or "")
            self.end_headers()
            return
        start = int(wanted[6:-1]) if wanted and server.resumes else 0
        if start and start >= len(server.content):
            self.send_response(416)
            self.end_headers()
            return
        start += server.shift if start else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            whole = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server without TLS, which is allowed during the test."""
    monkeypatch.setattr(downloads, "_SCHEME", "http://127.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    """``fetch()``: the bytes that a download of the server's file leaves."""
    return lambda: download(server.url, tmp_path / "toy.bin", SHA256, "toy").read_bytes()


@pytest.fixture
def part(tmp_path):
    """Where a download is kept before it is whole."""
    return tmp_path / ".toy.bin.part"


def complaint(fetch):
    with pytest.raises(KetformerError) as caught:
        fetch()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_comes_as_it_is(server, fetch, part, says_length):
    server.says_length = says_length
    assert fetch() == CONTENT
    assert part.read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("breaks_after", [1, 100_000, len(CONTENT) - 1])
def test_what_was_cut_off_is_resumed(server, fetch, part, breaks_after):
    server.breaks_after = breaks_after
    message = complaint(fetch)
    assert "cannot download toy" in message
    assert f"{breaks_after:,} bytes are kept" in message
    assert part.read_bytes() == CONTENT[:breaks_after]
    server.breaks_after = None
    assert fetch() == CONTENT
    assert server.asked == [None, f"bytes={breaks_after}-"]


def test_a_download_can_be_cut_off_many_times(server, fetch):
    server.breaks_after = 150_000
    for _ in range(3):
        complaint(fetch)
    assert fetch() == CONTENT
    assert server.asked == [None, "bytes=150000-", "bytes=300000-", "bytes=450000-"]


@pytest.mark.parametrize(("resumes", "shift"), [(False, 0), (True, 7)])
def test_a_server_that_does_not_resume_there_sends_all_of_it(server, fetch, part, resumes, shift):
    part.write_bytes(CONTENT[:1000])
    server.resumes, server.shift = resumes, shift
    if shift:  # it sends another part than the one requested
        assert "its SHA-256 is" in complaint(fetch)
        assert not part.exists()
        server.shift = 0
    assert fetch() == CONTENT


def test_what_is_whole_is_not_fetched_again(server, fetch, part):
    part.write_bytes(CONTENT)
    assert fetch() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("left", [CONTENT + b"more", b"x" * len(CONTENT)], ids=["longer", "other"])
def test_a_part_that_is_no_beginning_is_given_up(server, fetch, part, left):
    part.write_bytes(left)
    assert fetch() == CONTENT
    assert server.asked == [f"bytes={len(left)}-", None]


def test_a_part_of_something_else_is_found_out_by_the_hash(server, fetch, part):
    part.write_bytes(b"x" * 1000)
    assert "its SHA-256 is" in complaint(fetch)
    assert not part.exists()
    assert fetch() == CONTENT


def test_another_file_is_refused_and_not_kept(server, fetch, part):
    server.content = b"<html>sign in</html>"
    assert f"{server.url} is not toy: its SHA-256 is" in complaint(fetch)
    assert not part.exists()


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_not_kept(
    monkeypatch, server, fetch, part, says_length
):
    monkeypatch.setattr(downloads, "_LARGEST", len(CONTENT) - 1)
    server.says_length = says_length
    assert "511,999" in complaint(fetch)
    assert not part.exists()


@pytest.mark.parametrize("status", [404, 500, 416])
def test_a_server_that_refuses_is_one_line_that_says_what_to_do(server, fetch, part, status):
    server.status = status
    message = complaint(fetch)
    assert str(status) in message
    assert "set KETFORMER_DATA" in message
    assert not part.exists()


def test_offline_is_one_line_that_says_what_to_do(server, fetch, part):
    server.shutdown()
    server.server_close()
    message = complaint(fetch)
    assert "refused" in message
    assert "put toy.bin into a folder and set KETFORMER_DATA to it" in message
    assert not part.exists()


@pytest.mark.parametrize("url", ["http://x.org/a", "ftp://x.org/a", "file:///etc/passwd"])
def test_without_tls_nothing_is_asked_for(monkeypatch, tmp_path, url):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(KetformerError, match="offered without TLS"):
        download(url, tmp_path / "toy.bin", SHA256, "toy")


def test_a_redirection_away_from_tls_is_refused(monkeypatch, server, fetch, part):
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        server.redirect = other.url.replace("127.0.0.1", "localhost")
        try:
            assert "sent without TLS" in complaint(fetch)
        finally:
            other.shutdown()
            thread.join()
    assert not part.exists()
