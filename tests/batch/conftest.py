"""A real saved model and real pictures; transforms run within this process where the process is not what is tested."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from tests.serving.conftest import write_model
from vizsla.models.export import ExportedBackbone

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: ExportedBackbone) -> Path:
    """A saved model whose head is drawn at random."""
    return save_model(tmp_path_factory.mktemp("saved") / "colours", tiny_backbone)


def save_model(folder: Path, backbone: ExportedBackbone, seed: int = 0) -> Path:
    return write_model(folder, backbone, seed=seed, classes=CLASSES)


Transform = Callable[..., dict[str, Any]]


def outputs(folder: Path) -> dict[str, bytes]:
    """The files ``.out`` below a folder, by their place in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.out"))}


@pytest.fixture
def transform() -> Transform:
    """Runs ``vizsla transform``, which must end well (or with ``code``); what it prints as JSON, with its words."""

    def run(*arguments: object, code: int = 0, executor: str = "debug", **environment: str) -> dict[str, Any]:
        result = vizsla("transform", *arguments, "--executor", executor, "--json", **environment)
        assert result.returncode == code, result.stderr
        lines = result.stdout.strip().splitlines()
        told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        return told | {"words": result.stderr + result.stdout}

    return run


@pytest.fixture
def records(folder_of_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """A file of five records of JSON, one a line, of which the third is broken."""
    photos = folder_of_photos({"red": 4})
    lines = [
        json.dumps(
            {"id": i, "photo": {"image": base64.b64encode((photos / "red" / f"{i:03}.jpg").read_bytes()).decode()}}
        )
        for i in range(4)
    ]
    lines.insert(2, '{"id": 9, "photo": {"image": "!"}}')
    file = tmp_path / "records" / "day-1" / "photos.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines) + "\n")
    return file
