"""Downloads from a real HTTP server that breaks off, refuses, changes and disappears."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vizsla.cache import sources
from vizsla.data import open_dataset
from vizsla.data.download import download
from vizsla.errors import SourceError, UsageError


class Server:
    """Serves one file at any path, with Range and ETag; ``break_after`` bytes it closes the connection."""

    def __init__(self, data: bytes) -> None:
        self.data, self.break_after, self.status, self.requests = data, None, None, []
        self.heedless, self.with_etag = False, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append({name.lower(): value for name, value in self.headers.items()})
                etag = f'"{hashlib.md5(outer.data).hexdigest()}"'
                if outer.status:
                    self.send_error(outer.status)
                    return
                if self.headers.get("If-None-Match") == etag:
                    self.send_response(304)
                    self.end_headers()
                    return
                start = 0
                fits = outer.heedless or self.headers.get("If-Range") == etag
                if (span := self.headers.get("Range")) and fits:
                    start = int(span.removeprefix("bytes=").rstrip("-"))
                body = outer.data[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(outer.data) - 1}/{len(outer.data)}")
                if outer.with_etag:
                    self.send_header("ETag", etag)
                else:
                    self.send_header("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT")
                self.end_headers()
                self.wfile.write(body if outer.break_after is None else body[: outer.break_after])
                self.close_connection = True

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/photos.zip"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    server = Server(os.urandom(1_000_000))
    yield server
    server.close()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.break_after = 300_000
    file = download(server.url, tmp_path, wait=0)
    assert file.read_bytes() == server.data
    assert [request.get("range") for request in server.requests] == [
        None, "bytes=300000-", "bytes=600000-", "bytes=900000-",
    ]  # fmt: skip


def test_a_later_run_goes_on_as_well(server, tmp_path):
    server.break_after = 150_000
    with pytest.raises(SourceError) as caught:
        download(server.url, tmp_path, wait=0)
    assert "broke off 5 times" in caught.value.what
    assert "goes on after the 750,000 bytes" in caught.value.do
    server.break_after = None
    assert download(server.url, tmp_path, wait=0).read_bytes() == server.data
    assert server.requests[-1]["range"] == "bytes=750000-"


def test_a_file_that_changed_in_between_is_fetched_anew(server, tmp_path):
    server.break_after = 150_000
    with pytest.raises(SourceError):
        download(server.url, tmp_path, wait=0)
    server.data, server.break_after = os.urandom(500_000), None
    assert download(server.url, tmp_path, wait=0).read_bytes() == server.data


@pytest.mark.parametrize("with_etag", [True, False])
def test_a_server_that_does_not_heed_if_range_mixes_no_versions(server, tmp_path, with_etag):
    server.heedless, server.with_etag, server.break_after = True, with_etag, 150_000
    with pytest.raises(SourceError):
        download(server.url, tmp_path, wait=0)
    server.data, server.break_after = os.urandom(1_000_000 + (not with_etag)), None
    assert download(server.url, tmp_path, wait=0).read_bytes() == server.data


def test_the_second_time_nothing_is_sent(server, tmp_path):
    first = download(server.url, tmp_path)
    stamp = first.stat().st_mtime_ns
    assert download(server.url, tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert "if-none-match" in server.requests[-1]


def test_checksum(server, tmp_path):
    good = hashlib.sha256(server.data).hexdigest()
    assert download(server.url, tmp_path, sha256=good.upper()).is_file()
    with pytest.raises(SourceError, match=f"SHA-256 is {good}, not {'0' * 64}"):
        download(server.url, tmp_path, sha256="0" * 64)
    assert not list(tmp_path.rglob("photos.zip"))


@pytest.mark.parametrize(("status", "words"), [(403, "refuses access"), (404, "no such file"), (418, "answered 418")])
def test_refusals_are_told_at_once(server, tmp_path, status, words):
    server.status = status
    with pytest.raises(SourceError, match=words) as caught:
        download(server.url + "?signature=secret", tmp_path, wait=0)
    assert len(server.requests) == 1
    assert "127.0.0.1" in caught.value.where
    assert "secret" not in str(caught.value)


def test_unreachable_hosts(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for host in (f"127.0.0.1:{port}", "no-such-host.invalid"):
        with pytest.raises(SourceError) as caught:
            download(f"http://{host}/a.zip", tmp_path, wait=0)
        assert f"The host {host} cannot be reached" in caught.value.what
        assert "network" in caught.value.do


def test_an_archive_by_its_address(server, folder_of_photos, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", folder_of_photos()))
    server.data = archive.read_bytes()
    dataset = open_dataset(server.url, sha256=hashlib.sha256(server.data).hexdigest())
    assert dataset.name == "photos"
    assert len(dataset) == 40


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(UsageError, match="checksum goes with an http"):
        open_dataset(tmp_path, sha256="0" * 64)
    with pytest.raises(UsageError, match="is not a SHA-256"):
        open_dataset("http://127.0.0.1/a.zip", sha256="abc")
    with pytest.raises(SourceError, match="Only archives are fetched"):
        open_dataset("http://127.0.0.1/a.jpg")
    with pytest.raises(SourceError, match="ftp:// are not known"):
        open_dataset("ftp://127.0.0.1/a.zip")


_DOWNLOAD = """
import sys; from pathlib import Path; from vizsla.data.download import download
print(download(sys.argv[1], Path(sys.argv[2]), wait=0).stat().st_size)
"""


def test_two_processes_that_download_one_file(server, tmp_path):
    server.data, server.break_after = os.urandom(3_000_000), 900_000
    processes = [
        subprocess.Popen([sys.executable, "-c", _DOWNLOAD, server.url, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in processes] == [b"3000000"] * 3
    (entry,) = sources(tmp_path)
    assert (entry.path / "photos.zip").read_bytes() == server.data
    assert (entry.source, entry.bytes) == (server.url, 3_000_000)
    ranges = [request["range"] for request in server.requests if "range" in request]
    assert ranges == ["bytes=900000-", "bytes=1800000-", "bytes=2700000-"]
