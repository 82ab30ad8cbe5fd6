"""Scripts as jobs, on a real executor with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vizsla.jobs.conformance.scripts import Scripts, metrics_of, run_to_end, source_of, stop_all, wait_for
from vizsla.jobs.executors.local import LocalExecutor

MakeSpec = Scripts

__all__ = ["MakeSpec", "metrics_of", "run_to_end", "source_of", "wait_for"]


@pytest.fixture
def script_spec(tmp_path: Path) -> MakeSpec:
    """Makes the spec of a job that runs the given Python text."""
    return Scripts(tmp_path)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    """A local executor; what still runs at the end of the test is stopped."""
    made = LocalExecutor(tmp_path / "runs", cpus=2)
    yield made
    stop_all(made)
