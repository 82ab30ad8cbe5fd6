"""Real photos and weights, from ``../shared`` beside the checkout or from ``VIZSLA_SHARED``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings

SHARED = Path(os.environ.get("VIZSLA_SHARED") or Path(__file__).resolve().parents[2] / "shared")


# Tests run beside each other: threads that wait for one another must not keep the cores from those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every process that a test interrupts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")  # 200 ms an example are few on a machine that does other things, too

MUST_RUN = bool(os.environ.get("VIZSLA_TESTS_MUST_RUN"))
"""Set where everything that tests need is known to be there: what is missing then fails and does not skip."""


S3_LOGIN = ("S3RVER", "S3RVER")
"""Access key and secret of the server that :func:`start_s3` starts."""


MAY_SKIP = (
    *(
        "small file system",
        "its own /opt/ml",
        "which root alone can",
        "no IPv6 here",
        "without pi-heif",
        "`make test-ray`",
    ),
    *os.environ.get("VIZSLA_TESTS_MAY_SKIP", "").split(),
)
"""Parts of the reasons for which a test may skip even there: rights, and networks, that containers withhold; and what
only an environment without a package shows, where other tests need that package."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where everything must run, a skip for another reason than the allowed ones is a failure."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    refused = sorted(reason for reason in reasons if not any(part in reason for part in MAY_SKIP))
    if MUST_RUN and refused:
        terminalreporter.section("skipped although it must run", red=True)
        for reason in refused:
            terminalreporter.line(reason)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} in the folder `shared` beside the checkout (or VIZSLA_SHARED)")
    return path


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on one core, as the other test worker has the other one."""
    monkeypatch.setenv("VIZSLA_THREADS", "1")


@pytest.fixture(scope="session")
def opt_ml() -> None:
    """Skips where the system gives no process its own /opt/ml."""
    unshare = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if unshare.returncode or not (os.path.isdir("/opt/ml") or os.access("/opt", os.W_OK)):
        pytest.skip("this system does not let a process have its own /opt/ml")


@pytest.fixture(scope="session")
def flowers() -> Path:
    """3,888 photos of 5 classes of flowers, in train/valid/test."""
    return _shared("data", "flowers")


@pytest.fixture(scope="session")
def dogs() -> Path:
    """3,200 photos of dogs, in train/valid/test."""
    return _shared("data", "dogs")


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """mobilenetv2_100 with its ImageNet weights, in the hub's layout."""
    return _shared("weights", "mobilenetv2_100.tf_in1k")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests share one cache of exported backbones and features, and never touch the user's."""
    os.environ["VIZSLA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("VIZSLA_TRACKING", "off")  # tests of tracking switch it on


@pytest.fixture(scope="session")
def tiny_backbone(_own_cache: None) -> ExportedBackbone:
    """A real timm network, small and untrained: for tests of what goes around a backbone."""
    return ensure_exported(BackboneSpec.resolve("test_resnet", random_init=True), settings().cache)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's in which nothing is recorded yet; to make one takes seconds."""
    pytest.importorskip("mlflow")
    from vizsla.jobs.recorder import make_database
    from vizsla.jobs.tracking import sqlite_address

    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    make_database(sqlite_address(file))
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real headless Chromium. No longer than a module: its event loop would be in the way of other tests'."""
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def start_s3(folder: Path, port: int, keys: Sequence[str] = S3_LOGIN) -> subprocess.Popen[bytes]:
    """The S3 door as a process, with the buckets photos, other and models, and one key; it answers by now.

    VIZSLA_S3RVER names the program of s3rver (npm), another S3-compatible server, to run the same tests against.
    """
    for bucket in ("photos", "other", "models"):
        (folder / "buckets" / bucket).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("s3_process.py")), str(folder), str(port), *keys]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    if program := os.environ.get("VIZSLA_S3RVER"):
        command = [program, "-d", str(folder / "buckets"), "-a", "127.0.0.1", "-p", str(port), "--silent"]
        # Its lists of more than 1,000 objects need a cipher that OpenSSL 3 keeps for old programs.
        environment = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    return server


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3-compatible server with empty buckets."""
    port = free_port()
    server = start_s3(tmp_path_factory.mktemp("s3"), port)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    result = subprocess.run(mount, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {result.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # a traceback may still hold a mapped file


Paint = Callable[..., Image.Image]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """A picture that looks like something: smooth colours and edges, another for each seed."""

    def make(
        seed: int = 0, size: tuple[int, int] = (96, 72), colour: tuple[int, int, int] | None = None
    ) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        if colour is not None:
            coarse = (coarse // 4 + np.asarray(colour, np.uint8) // 4 * 3).astype(np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    return make


@pytest.fixture(scope="session")
def write_photos(paint: Paint) -> Callable[..., Path]:
    """Writes ``root/[split/]class/NNN.jpg``: pictures whose colour tells the class, with noise."""
    colours = [(220, 40, 40), (40, 200, 60), (50, 60, 220), (220, 210, 40), (160, 60, 200)]

    def make(root: Path, counts: dict[str, int] | None = None, splits: dict[str, dict[str, int]] | None = None) -> Path:
        layout = splits or {"": counts or {"red": 20, "green": 20}}
        labels = sorted({label for classes in layout.values() for label in classes})
        seed = 0
        for split, classes in layout.items():
            for label, count in classes.items():
                folder = root / split / label
                folder.mkdir(parents=True)
                for i in range(count):
                    seed += 1
                    paint(seed, colour=colours[labels.index(label) % len(colours)]).save(
                        folder / f"{i:03}.jpg", quality=90
                    )
        return root

    return make


@pytest.fixture
def folder_of_photos(tmp_path: Path, write_photos: Callable[..., Path]) -> Callable[..., Path]:
    """Writes ``root/[split/]class/NNN.jpg`` below the test's own folder."""

    def make(
        counts: dict[str, int] | None = None, splits: dict[str, dict[str, int]] | None = None, name: str = "photos"
    ) -> Path:
        return write_photos(tmp_path / name, counts, splits)

    return make


@pytest.fixture(scope="session")
def png_bomb() -> bytes:
    """A PNG of 50,000 x 50,000 black pixels: 300 kB that would take 7.5 GB."""
    side = 50_000
    compress = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)
    body = b"".join(compress.compress(row * 500) for _ in range(side // 500)) + compress.flush()

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
