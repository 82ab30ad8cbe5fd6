"""Tracking as a user has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from vizsla.jobs import tracking


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch, tables: Path, tmp_path: Path) -> None:
    """Tracking as a user has it, but for the time in which the ends of trials are gathered."""
    monkeypatch.delenv("VIZSLA_TRACKING")
    monkeypatch.setattr(tracking, "_GATHER_SECONDS", 0.0)
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copy(tables, tmp_path / "runs" / "mlflow.db")


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process records by itself."""
    monkeypatch.setattr(tracking, "_sync_soon", lambda home, delay: None)


def recorded(home: Path) -> None:
    """Wait until nothing is left to record."""
    wait_for(lambda: not list(tracking.due(home)), 300)
