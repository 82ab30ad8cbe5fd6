"""A registry in the test's own folder, with small models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from tests.batch.conftest import save_model

pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def _own_registry(_own_home: None, tables: Path) -> None:
    home = Path(os.environ["VIZSLA_HOME"])
    home.mkdir(parents=True)
    shutil.copy(tables, home / "mlflow.db")


Models = Callable[..., dict[str, Any]]


@pytest.fixture
def models() -> Models:
    """Runs ``vizsla models ARGUMENTS --json``; what it prints as JSON, with its words. It must end with ``code``."""

    def run(*arguments: object, code: int = 0, **environment: str) -> dict[str, Any]:
        result = vizsla("models", *arguments, "--json", **environment)
        assert result.returncode == code, result.stderr
        lines = result.stdout.strip().splitlines()
        return (json.loads(lines[-1]) if lines else {}) | {"words": result.stderr}

    return run


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Any) -> tuple[Path, Path]:
    """Saved models with other heads."""
    folder = tmp_path_factory.mktemp("two")
    return save_model(folder / "first", tiny_backbone, 1), save_model(folder / "second", tiny_backbone, 2)


@pytest.fixture(scope="session")
def photos(write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that prove a model."""
    return write_photos(tmp_path_factory.mktemp("proof") / "photos", {"red": 3, "blue": 2})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Path:
    """A real training, as ``vizsla fit`` leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    photos = write_photos(folder / "photos", {"red": 20, "green": 20, "blue": 20})
    result = vizsla(
        "fit",
        photos,
        "--backbone",
        "test_resnet",
        "--random-init",
        "--name",
        "colours",
        VIZSLA_HOME=str(folder / "runs"),
    )
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "colours"


@pytest.fixture
def job(trained: Path) -> Path:
    """The same training in the test's own folder of jobs."""
    home = Path(os.environ["VIZSLA_HOME"])
    for name in ("colours", "datasets"):
        shutil.copytree(trained.parent / name, home / name)
    return home / "colours"
