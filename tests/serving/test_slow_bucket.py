"""A bucket that is slow keeps nobody waiting but those who ask for what it has: a real server, behind a proxy."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from patience import come

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

boto3 = pytest.importorskip("boto3")
pytest.importorskip("obstore")
pytestmark = pytest.mark.s3

LOGIN = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}


class SlowProxy(ThreadingHTTPServer):
    """Passes requests on to a store; those for a key with ``slow`` in it are held until ``opened`` is set.

    ``hold`` is the method that is held: HEAD, with which a fetch begins, or GET, which brings the bytes. ``asked`` has
    the method and path of every request, in the order of their coming.
    """

    daemon_threads = True

    def __init__(self, store: str, hold: str) -> None:
        self.store = store.removeprefix("http://")
        self.hold = hold
        self.opened = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.held = self.most_held = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def holds(self, key: str) -> bool:
        """Wait until the request for a key that is to be held has come."""
        return come(lambda: any(method == self.hold and path.endswith(key) for method, path in list(self.asked)))


class _Handler(BaseHTTPRequestHandler):
    server: SlowProxy

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path))
        if self.command == self.server.hold and "slow" in self.path:
            with self.server.lock:
                self.server.held += 1
                self.server.most_held = max(self.server.most_held, self.server.held)
            self.server.opened.wait(100)  # a fetch gives up after 120 s
            with self.server.lock:
                self.server.held -= 1
        store = http.client.HTTPConnection(self.server.store, timeout=30)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # Host too, which is signed
            store.putheader(name, value)
        store.endheaders()
        answer = store.getresponse()
        body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.wfile.write(body)
        store.close()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["HEAD", "GET"])
def proxy(request: pytest.FixtureRequest, s3_server: str) -> Iterator[SlowProxy]:
    """Holds one of the two requests that a fetch makes."""
    server = SlowProxy(s3_server, request.param)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.opened.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(
    proxy: SlowProxy, serving: Callable[..., Running], s3_server: str, models_dir: Path, tmp_path: Path
) -> Running:
    """A server of a bucket with models ``slow0`` to ``slow19`` and ``quick``."""
    login = {name.lower(): value for name, value in LOGIN.items() if "KEY" in name}
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1", **login)
    content = (models_dir / "dog-breed-classifier" / "model.tar.gz").read_bytes()
    for name in ("quick", *(f"slow{i}" for i in range(20))):
        client.put_object(Bucket="models", Key=f"{name}.tar.gz", Body=content)
    return serving("--models-dir", "s3://models", AWS_ENDPOINT_URL_S3=proxy.url, VIZSLA_CACHE=str(tmp_path), **LOGIN)


def ask(server: Running, target: str, jpeg: bytes) -> httpx.Response:
    headers = {"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": f"{target}.tar.gz"}
    return server.client.post("/invocations", content=jpeg, headers=headers)


def names(server: Running) -> list[str]:
    return [model["modelName"] for model in server.client.get("/models").json()["models"]]


def test_what_is_quick_is_loaded_while_what_is_slow_is_fetched(
    bucket: Running, proxy: SlowProxy, models_dir: Path, jpegs: list[bytes]
) -> None:
    with ThreadPoolExecutor(40) as pool:
        slow = [pool.submit(ask, bucket, f"slow{i}", jpegs[0]) for i in (0, 1, 2, 3, 4, 0, 1, 2)]
        for i in range(5):
            assert proxy.holds(f"slow{i}.tar.gz")
        quick = ask(bucket, "quick", jpegs[0])
        assert names(bucket) == ["quick.tar.gz"]
        more = [pool.submit(ask, bucket, f"slow{i}", jpegs[0]) for i in range(5, 20)]
        assert come(lambda: proxy.held == 16)
        proxy.opened.set()
        answers = [answer.result(60) for answer in (*slow, *more)]
    expected = load(models_dir / "work" / "m9").probabilities(jpegs[0])
    assert np.array_equal(np.array(quick.json(), np.float32), expected)
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, quick.text)}
    assert sorted(names(bucket)) == sorted(f"{name}.tar.gz" for name in ("quick", *(f"slow{i}" for i in range(20))))
    assert proxy.most_held == 16
    fetched = [path for method, path in proxy.asked if method == "GET"]
    assert len(fetched) == len(set(fetched)) == 21  # each once, however many ask for it


def test_what_is_being_fetched_is_unloaded_at_once(bucket: Running, proxy: SlowProxy, jpegs: list[bytes]) -> None:
    """And is fetched anew for the next who asks, once the first fetch has ended."""
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(ask, bucket, "slow0", jpegs[0])
        assert proxy.holds("slow0.tar.gz")
        assert bucket.client.delete("/models/slow0.tar.gz").status_code == 200
        answer = asking.result(60)
        assert (answer.status_code, answer.json()["ErrorCode"]) == (503, "stopping")
        assert answer.json()["Message"] == "The model was unloaded while it was loaded."
        assert bucket.client.delete("/models/slow0.tar.gz").status_code == 404
        again = pool.submit(ask, bucket, "slow0", jpegs[0])
        while bucket.client.delete("/models/slow0.tar.gz").status_code == 404:
            assert not again.done()
        assert again.result(60).status_code == 503
        third = pool.submit(ask, bucket, "slow0", jpegs[0])
        assert ask(bucket, "quick", jpegs[0]).status_code == 200
        assert not third.done()
        assert len([path for _, path in proxy.asked if "slow0" in path]) == (1 if proxy.hold == "HEAD" else 2)
        proxy.opened.set()
        assert third.result(60).status_code == 200
        assert proxy.asked.count(("HEAD", "/models/slow0.tar.gz")) == 2
    assert sorted(names(bucket)) == ["quick.tar.gz", "slow0.tar.gz"]


def test_a_server_whose_bucket_hangs_can_be_stopped(bucket: Running, proxy: SlowProxy, jpegs: list[bytes]) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, bucket, "slow0", jpegs[0])
        assert proxy.holds("slow0.tar.gz")
        assert bucket.client.delete("/models/slow0.tar.gz").status_code == 200
        assert asking.result(60).status_code == 503
    bucket.process.terminate()
    assert bucket.process.wait(60) == 0
    assert not proxy.opened.is_set()
