"""Real saved models and real servers: every test talks to a process of its own over a socket."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from forked import Forked

from vizsla.models import artifact
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.heads import LinearHead
from vizsla.models.weights import BackboneSpec

OWN_CODE = """
import io, json, os, subprocess, sys, time
import numpy as np
from PIL import Image

def model_fn(model_dir):
    print("loading", model_dir)
    return {"scale": float(open(os.path.join(model_dir, "scale.txt")).read())}

def input_fn(body, content_type):
    if content_type == "text/plain":
        return body.decode().strip()
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))

def predict_fn(data, model, context):
    assert context.system_properties["model_dir"]
    if isinstance(data, str):
        if data == "die": os._exit(7)
        if data == "exit": sys.exit(3)
        if data == "pid": return os.getpid()
        if data == "count": model["count"] = model.get("count", 0) + 1; return model["count"]
        if data == "child": return subprocess.Popen(["sleep", "300"]).pid
        if data.startswith("until "):
            open(data[6:] + ".begun", "w").close()
            while not os.path.exists(data[6:]): time.sleep(0.01)
            return 0
        if data == "secrets": return [name for name in os.environ if name.startswith("VIZSLA_")]
        raise ValueError("no such word: " + data)
    return model["scale"] * float(data.mean())

def output_fn(prediction, accept):
    print("this goes to stderr, not to the client")
    return json.dumps({"mean": prediction}), accept
"""

CLASSES = tuple(f"{i + 1:03}.Breed_{i}" for i in range(7))


@dataclass
class Running:
    """A server process. ``log`` reads what it wrote."""

    process: Forked
    url: str
    log_file: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text("utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def log_of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of one request, which are written just after its answer."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            lines = [line for line in self.log() if line.get("request_id") == request_id]
            if lines:
                return lines
            time.sleep(0.02)
        return []

    def rss(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024

    def say(self, word: str) -> tuple[int, dict[str, Any]]:
        """Ask a model's own code; the status and the document."""
        answer = self.client.post("/invocations", content=word.encode(), headers={"content-type": "text/plain"})
        return answer.status_code, answer.json()

    def send(self, word: str, *headers: str) -> socket.socket:
        """The same, by hand: the connection, with the answer to come."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        lines = ("POST /invocations HTTP/1.1", "Host: 127.0.0.1", "Content-Type: text/plain", *headers)
        sock.sendall("\r\n".join((*lines, f"Content-Length: {len(word)}", "", word)).encode())
        return sock

    def settle(self) -> None:
        """What was sent before, or closed, has reached the server when this returns: it takes turns."""
        for _ in range(3):
            assert httpx.get(f"{self.url}/ping", timeout=60, trust_env=False).status_code == 200

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(arguments: list[str], log_file: Path, **environment: str) -> Running:
    """Start ``vizsla serve`` and wait until it answers."""
    port = free_port()
    log_file.write_bytes(b"")
    process = Forked(["serve", *arguments, "--port", str(port)], log_file, {**os.environ, **environment})
    server = Running(process, f"http://127.0.0.1:{port}", log_file)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(log_file.read_text("utf-8"))
        try:
            if server.client.get("/ping").status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.03)
    server.stop()
    raise TimeoutError(log_file.read_text("utf-8"))


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> ExportedBackbone:
    """A small backbone that is quick to export and to run."""
    request = BackboneSpec.resolve("test_resnet", None, random_init=True, seed=0)
    return ensure_exported(request, tmp_path_factory.mktemp("backbone"))


def write_model(folder: Path, backbone: ExportedBackbone, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """A saved model whose head is drawn at random."""
    rng = np.random.default_rng(seed)
    head = LinearHead(
        rng.normal(0, 0.3, (len(classes), backbone.features)).astype(np.float32),
        rng.normal(0, 0.3, len(classes)).astype(np.float32),
    )
    card = artifact.ModelCard(
        classes=list(classes),
        preprocessing=artifact.PreprocessingCard(**backbone.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=backbone.name,
            weights=backbone.weights,
            sha256=backbone.sha256,
            features=backbone.features,
            engine="onnxruntime",
            precision="fp32",
        ),
        head_sha256=hashlib.sha256(artifact.head_bytes(head)).hexdigest(),
        provenance=artifact.Provenance(
            job="test", created="2026", dataset="none", dataset_sha256="0" * 64, seed=seed, versions={}
        ),
    )
    artifact.save(folder, card, backbone.path, head)
    return folder


@pytest.fixture(scope="session", name="write_model")
def write_model_fixture() -> Callable[..., Path]:
    """Writes a saved model."""
    return write_model


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory, backbone: ExportedBackbone) -> Path:
    """A model directory."""
    return write_model(tmp_path_factory.mktemp("saved") / "breeds", backbone)


@pytest.fixture(scope="session")
def server(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server of one model, for tests that do not change it."""
    running = start([str(saved_model)], tmp_path_factory.mktemp("log") / "log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory, backbone: ExportedBackbone) -> Path:
    """Models on one backbone: directories ``m0`` to ``m5``, an archive, one that is broken."""
    root = tmp_path_factory.mktemp("models")
    for i in range(6):
        write_model(root / f"m{i}", backbone, seed=i)
    write_model(root / "work" / "m9", backbone, seed=9)
    artifact.pack(root / "work" / "m9", root / "dog-breed-classifier" / "model.tar.gz")
    broken = write_model(root / "broken", backbone, seed=10)
    (broken / "head.safetensors").write_bytes(b"no tensors")
    return root


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers that end with the test."""
    yield from _starts(tmp_path)


@pytest.fixture(scope="module")
def serving_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts servers that end with the module."""
    yield from _starts(tmp_path_factory.mktemp("serving"))


def _starts(folder: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str, **environment: str) -> Running:
        started.append(start(list(arguments), folder / f"log{len(started)}", **environment))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    """Twelve different JPEGs, some large enough to be decoded at a reduced scale."""
    from PIL import Image

    pictures = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        size = (1400, 1100) if seed % 4 == 0 else (320 + 10 * seed, 260)
        image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=88)
        pictures.append(file.getvalue())
    return pictures


@pytest.fixture
def code_model(tmp_path: Path) -> Path:
    """``own/model.tar.gz`` with code, as SageMaker's users pack it (paths that begin with ./)."""
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    (source / "code" / "inference.py").write_text(OWN_CODE)
    (source / "scale.txt").write_text("2.0")
    archive = tmp_path / "own" / "model.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, ".")
    return archive
