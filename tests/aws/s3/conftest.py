"""The S3 door as a process, and clients of it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port, start_s3

boto3 = pytest.importorskip("boto3")


@dataclass
class Door:
    """A running server; ``home`` is its folder."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str = "S3RVER", secret: str = "S3RVER", **config: Any) -> Any:
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"max_attempts": 1, "mode": "standard"}, **config),
        )

    def bucket(self, name: str) -> Path:
        return self.home / "buckets" / name


def start(home: Path, *keys: str) -> Door:
    port = free_port()
    return Door(f"http://127.0.0.1:{port}", home, start_s3(home, port, keys))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One that looks at no signatures."""
    running = start(tmp_path_factory.mktemp("door"))
    yield running
    end(running)


@pytest.fixture(scope="module")
def locked_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One that has a key."""
    running = start(tmp_path_factory.mktemp("locked"), "S3RVER", "S3RVER")
    yield running
    end(running)


def end(running: Door) -> None:
    running.process.kill()
    running.process.wait(10)


@pytest.fixture(scope="module")
def s3(door: Door) -> Any:
    return door.client()


@pytest.fixture
def bucket(door: Door, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own."""
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    door.bucket(name).mkdir(parents=True, exist_ok=True)
    return name
