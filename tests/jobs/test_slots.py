"""One machine, several processes that run jobs: cores and GPUs are given out once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from tests.jobs.test_local_executor import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.slots import Ledger


def test_two_processes_share_the_machine(tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec) -> None:
    go = tmp_path / "go"
    text = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    process, first = controller(executor.home, script_spec(text, instance="local-2cpu"))
    try:
        wait_for(lambda: JobDirectory(first.path).state.status == "InProgress")
        assert executor.capacity().free_cpus == 0
        second = executor.submit(script_spec("print('second')"), "second")
        for _ in range(3):
            executor.poll([second])
        assert JobDirectory(second.path).state.status == "Pending"
    finally:
        process.kill()  # its job goes on and keeps its cores
        process.wait()
    assert executor.capacity().free_cpus == 0
    go.touch()
    state, _ = run_to_end(executor, second)
    assert state.status == "Completed"
    assert (first.path / ".run" / "exit.json").exists(), "the first had ended before"
    assert executor.capacity().free_cpus == 2


def test_a_job_that_runs_jobs_shares_out_its_own_share(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = executor.submit(script_spec("import time; time.sleep(600)", instance="local"), "outer")
    with monkeypatch.context() as inside:
        inside.setenv("VIZSLA_JOB_DIR", str(outer.path))
        nested = LocalExecutor(executor.home, cpus=2)
    state, _ = run_to_end(nested, nested.submit(script_spec("print(1)"), "inner"))
    assert state.status == "Completed"


def test_all_or_nothing(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path, 4, (0, 3)), Ledger(tmp_path, 4, (0, 3))
    first = one.take(3, 1)
    assert first is not None
    assert first.gpus == (0,)
    assert other.take(2, 0) is None
    assert other.take(1, 2) is None
    assert other.free() == (1, 1)
    second = other.take(1, 1)
    assert second is not None
    assert second.gpus == (3,)
    first.close()
    assert one.free() == (3, 1)
    second.close()
