"""Mirroring buckets: against the S3 door as a real process, and a server that gives AWS's refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import free_port, start_s3
from vizsla import s3_session
from vizsla.data import open_dataset, s3
from vizsla.data.s3_journal import Object
from vizsla.errors import SourceError

pytestmark = pytest.mark.s3
obstore = pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def endpoint(s3_server: str) -> str:
    return s3_server


@pytest.fixture(autouse=True)
def _login(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


def store_of(endpoint, bucket="photos"):
    from vizsla.s3_session import connect

    return connect(bucket, endpoint)


def upload(endpoint, root: Path, prefix: str, bucket="photos") -> None:
    store = store_of(endpoint, bucket)
    for file in sorted(root.rglob("*")):
        if file.is_file():
            obstore.put(store, f"{prefix}/{file.relative_to(root).as_posix()}", file.read_bytes())


def test_a_prefix_reads_like_its_folder(endpoint, folder_of_photos):
    root = folder_of_photos(splits={"train": {"a b": 6, "ü": 6}, "val": {"a b": 2, "ü": 2}, "test": {"a b": 2, "ü": 2}})
    upload(endpoint, root, "sets/my photos")
    dataset = open_dataset("s3://photos/sets/my photos", endpoint_url=endpoint)
    assert dataset.name == "my photos"
    assert dataset.classes == ("a b", "ü")
    assert dataset.counts().tolist() == [[6, 2, 2], [6, 2, 2]]
    assert dataset.path(0).read_bytes() == (root / dataset.paths[0]).read_bytes()


def test_what_is_not_fetched_from_a_bucket_is_counted(endpoint, folder_of_photos):
    root = folder_of_photos({"red": 8, "green": 8})
    for name in ("notes.txt", "more.txt", "clip.mov", "0a1b2c"):
        (root / "red" / name).write_bytes(b"x")
    (root / "red/shot.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    upload(endpoint, root, "mixed")
    dataset = open_dataset("s3://photos/mixed", endpoint_url=endpoint)
    assert "red/shot.heic" in dataset.paths  # for the gate to tell, where it cannot be read
    (note,) = [note for note in dataset.notes if "Not fetched" in note]
    assert note == "Not fetched, as their names end like no picture's: 2 objects (1 no ending, 1 .mov)."


def test_only_what_changed_is_fetched_again(endpoint, folder_of_photos, tmp_path):
    root = folder_of_photos({"red": 8, "green": 8})
    upload(endpoint, root, "changing")
    first = s3.sync("s3://photos/changing", tmp_path, endpoint_url=endpoint)
    assert (first.fetched, first.kept, first.removed) == (16, 0, 0)
    again = s3.sync("s3://photos/changing/", tmp_path, endpoint_url=endpoint)
    assert (again.fetched, again.kept) == (0, 16)
    store = store_of(endpoint)
    obstore.put(store, "changing/red/000.jpg", b"other bytes")
    obstore.put(store, "changing/red/new.jpg", b"x")
    obstore.delete(store, "changing/green/003.jpg")
    (first.folder / "green/005.jpg").unlink()
    then = s3.sync("s3://photos/changing", tmp_path, endpoint_url=endpoint)
    assert (then.fetched, then.kept, then.removed) == (3, 13, 1)
    assert (first.folder / "red/000.jpg").read_bytes() == b"other bytes"
    assert not (first.folder / "green/003.jpg").exists()
    assert s3.sync("s3://photos/changing", tmp_path, endpoint_url=endpoint).fetched == 0


def test_a_server_that_starts_again_is_waited_for(tmp_path):
    port = free_port()
    address, servers = f"http://127.0.0.1:{port}", [start_s3(tmp_path / "s3", port)]

    def start_again() -> None:
        time.sleep(5)  # longer than the retries of a first contact
        servers.append(start_s3(tmp_path / "s3", port))

    def end_it(done: int, total: int) -> None:
        if done == 20:
            servers[0].kill()
            servers[0].wait()
            later.start()

    later = threading.Thread(target=start_again)
    try:
        store = store_of(address, "other")
        for i in range(100):
            obstore.put(store, f"again/{i:04}.jpg", bytes(5000))
        synced = s3.sync("s3://other/again", tmp_path, endpoint_url=address, on_progress=end_it, threads=4)
        assert synced.fetched == 100
    finally:
        if later.ident is not None:
            later.join()
        for server in servers:
            server.kill()
            server.wait()


def test_a_killed_sync_goes_on_where_it_stopped(endpoint, tmp_path):
    store = store_of(endpoint, "other")
    for i in range(300):
        obstore.put(store, f"many/{'ab'[i % 2]}/{i:04}.jpg", bytes(5000))
    script = (
        "import sys, time; from pathlib import Path; from vizsla.data import s3\n"
        "def seen(done, total):\n    print(done, flush=True); time.sleep(0.005)\n"
        f"s3.sync('s3://other/many', Path({str(tmp_path)!r}), endpoint_url={endpoint!r}, on_progress=seen, threads=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 80:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    synced = s3.sync("s3://other/many", tmp_path, endpoint_url=endpoint)
    assert 80 <= synced.kept < 300
    assert synced.fetched == 300 - synced.kept
    assert sum(1 for path in synced.folder.rglob("*.jpg") if path.stat().st_size == 5000) == 300


def test_more_objects_than_one_list_holds(endpoint, tmp_path):
    store = store_of(endpoint, "other")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: obstore.put(store, f"lots/{i % 3}/{i:04}.jpg", b"%d" % i), range(1100)))
    synced = s3.sync("s3://other/lots", tmp_path, endpoint_url=endpoint)
    assert synced.fetched == 1100
    assert (synced.folder / "2/1097.jpg").read_bytes() == b"1097"


def test_a_large_object_goes_on_where_it_stopped(endpoint, tmp_path):
    data = os.urandom(s3._LARGE * 2 + 12345)
    store = store_of(endpoint)
    obstore.put(store, "big/a/large.jpg", data)
    synced = s3.sync("s3://photos/big", tmp_path, endpoint_url=endpoint)
    file = synced.folder / "a/large.jpg"
    assert file.read_bytes() == data
    etag = obstore.head(store, "big/a/large.jpg")["e_tag"]
    part = s3._part(file, Object("big/a/large.jpg", len(data), etag))
    part.write_bytes(b"#" * 1000)  # what an earlier attempt left; it is not asked for again
    file.unlink()
    s3.sync("s3://photos/big", tmp_path, endpoint_url=endpoint)
    assert file.read_bytes() == b"#" * 1000 + data[1000:]


def test_two_processes_that_sync_one_prefix(endpoint, tmp_path):
    data = os.urandom(s3._LARGE * 3 + 77)
    store = store_of(endpoint)
    obstore.put(store, "shared/a/large.jpg", data)
    for i in range(20):
        obstore.put(store, f"shared/b/{i}.jpg", b"%d" % i)
    script = (
        "from pathlib import Path; from vizsla.data import s3\n"
        f"print(s3.sync('s3://photos/shared', Path({str(tmp_path)!r}), endpoint_url={endpoint!r}).fetched)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)]
    fetched = sorted(int(process.communicate()[0]) for process in processes)
    assert fetched == [0, 0, 21]
    (file,) = tmp_path.rglob("large.jpg")
    assert file.read_bytes() == data
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("size", [5000, 9_000_000])
def test_an_object_that_changes_between_listing_and_fetching(endpoint, tmp_path, size):
    store = store_of(endpoint)
    obstore.put(store, "moving/a.jpg", os.urandom(size))
    meta = obstore.head(store, "moving/a.jpg")
    obstore.put(store, "moving/a.jpg", os.urandom(size))
    file = tmp_path / "a.jpg"
    with pytest.raises(SourceError, match="has changed while it was") as caught, s3_session.in_words("here"):
        s3._fetch_one(store, file, Object("moving/a.jpg", size, meta["e_tag"]))
    assert "again" in caught.value.do
    assert not file.exists()


def test_an_archive_and_a_table_in_a_bucket(endpoint, folder_of_photos, tmp_path):
    root = folder_of_photos({"red": 8, "green": 8})
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", root))
    store = store_of(endpoint)
    obstore.put(store, "archives/set.zip", archive.read_bytes())
    dataset = open_dataset("s3://photos/archives/set.zip", endpoint_url=endpoint)
    assert (dataset.name, len(dataset)) == ("set", 16)
    upload(endpoint, root, "tabled")
    rows = [f"{p.relative_to(root).as_posix()},{p.parent.name}" for p in root.rglob("*.jpg")]
    obstore.put(store, "tabled/labels.csv", "\n".join(["path,label", *rows]).encode())
    assert len(open_dataset("s3://photos/tabled/labels.csv", endpoint_url=endpoint)) == 16


def test_labels_and_shards_in_a_bucket(endpoint, folder_of_photos):
    root = folder_of_photos({"red": 8, "green": 8})
    lines = []
    for i, path in enumerate(sorted(root.rglob("*.jpg"))):
        lines.append(json.dumps({"image": f"{i:02}.jpg", "class": path.parent.name}))
        path.rename(root / f"{i:02}.jpg")
    (root / "list.json").write_text(f"[{','.join(lines)}]")
    upload(endpoint, root, "labelled")
    for source in ("s3://photos/labelled", "s3://photos/labelled/list.json"):
        dataset = open_dataset(source, endpoint_url=endpoint)
        assert dataset.layout == "Table: list.json (image, class); 16 pictures of 2 classes"
    for i in range(16):
        (root / f"{i:02}.cls").write_text("red" if i > 7 else "green")
    for start in (0, 8):
        with tarfile.open(root / f"{start}.tar", "w") as tar:
            for i in range(start, start + 8):
                for ending in ("cls", "jpg"):
                    tar.add(root / f"{i:02}.{ending}", f"{i:02}.{ending}")
        obstore.put(store_of(endpoint), f"sharded/train-{start}.tar", (root / f"{start}.tar").read_bytes())
    dataset = open_dataset("s3://photos/sharded", endpoint_url=endpoint)
    assert (
        dataset.layout
        == "WebDataset: a .cls for each picture with pictures in train-0/, train-8/; 16 pictures of 2 classes in train"
    )


def test_missing_bucket_and_prefix_and_key(endpoint):
    with pytest.raises(SourceError, match="There is no such bucket") as caught:
        open_dataset("s3://nowhere/p", endpoint_url=endpoint)
    assert "s3://nowhere/p" in caught.value.where
    assert "endpoint_url" in caught.value.do
    with pytest.raises(SourceError, match="There are no pictures under this address"):
        open_dataset("s3://photos/no/such/prefix", endpoint_url=endpoint)
    with pytest.raises(SourceError, match="There is no such object"):
        open_dataset("s3://photos/no/such.zip", endpoint_url=endpoint)


def test_a_wrong_key(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEBODY")
    with pytest.raises(SourceError, match="access key is unknown") as caught:
        open_dataset("s3://photos/p", endpoint_url=endpoint)
    assert "AWS_ACCESS_KEY_ID" in caught.value.do


def test_credentials_of_a_profile(monkeypatch, tmp_path, endpoint):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    with pytest.raises(SourceError, match="There are no AWS credentials") as caught:
        open_dataset("s3://photos/p", endpoint_url=endpoint)
    assert "AWS_PROFILE=mine" in caught.value.where
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\n")
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-west-3\n")
    assert store_of(endpoint).config["region"] == "eu-west-3"
    with pytest.raises(SourceError, match="There are no pictures under this address"):
        open_dataset("s3://photos/p", endpoint_url=endpoint)


def test_an_unreachable_endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SourceError, match="endpoint cannot be reached") as caught:
        open_dataset("s3://photos/p", endpoint_url=endpoint)
    assert endpoint in caught.value.where


@pytest.mark.parametrize(
    ("status", "code", "words", "do"),
    [
        (403, "AccessDenied", "Access is refused", "list and read"),
        (400, "ExpiredToken", "credentials have expired", "goes on where it stopped"),
        (403, "SignatureDoesNotMatch", "secret key does not fit", "AWS_SECRET_ACCESS_KEY"),
        (301, "PermanentRedirect", "another region", "AWS_REGION"),
        (403, "Forbidden", "Access is refused", "list and read"),
        (418, "Teapot", "answered Teapot", "credentials"),
    ],
)
def test_what_aws_answers(status, code, words, do):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        with pytest.raises(SourceError, match=words) as caught:
            open_dataset("s3://photos/p", endpoint_url=f"http://127.0.0.1:{server.server_port}")
        assert do in caught.value.do
    finally:
        server.shutdown()
        server.server_close()
