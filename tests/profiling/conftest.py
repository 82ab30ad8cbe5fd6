"""A job's folder, and real training loops in it that are watched as a script's is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import executor, script_spec
from vizsla.jobs.directory import JobDirectory
from vizsla.profiling import startup
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.start import end_sampler, new_clock, start_sampler

__all__ = ["executor", "script_spec"]

Watch = Callable[[Callable[[], object]], JobProfile]


@pytest.fixture
def job(tmp_path: Path) -> JobDirectory:
    """A job that nobody runs."""
    return JobDirectory.create("train", "profiled", {}, tmp_path / "runs", "profiled")


@pytest.fixture
def watch(job: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Runs a loop in this process, watched; its profile. With ``sampled`` set, the machine is sampled beside it."""
    monkeypatch.setenv("VIZSLA_JOB_DIR", str(job.path))

    def run(loop: Callable[[], object], *, sampled: bool = False) -> JobProfile:
        import os

        clock = new_clock()
        sampler = start_sampler(job.path, 0.1, clock, os.getpid()) if sampled else None
        startup.begin_within(job.path, clock)
        try:
            loop()
        finally:
            startup.end_within()
            end_sampler(sampler)
        return JobProfile(job.path)

    assert threading.current_thread() is threading.main_thread()
    yield run
    startup.end_within()
