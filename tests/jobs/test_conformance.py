"""Every executor does what all must do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vizsla.errors import JobError
from vizsla.jobs import executors
from vizsla.jobs.conformance.scripts import Scripts, run_to_end, says, wait_for
from vizsla.jobs.conformance.suite import ExecutorConformance
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.executors.debug import DebugExecutor
from vizsla.jobs.executors.local import LocalExecutor


class TestLocal(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        return LocalExecutor(tmp_path / "runs")


class TestDebug(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        return DebugExecutor(tmp_path / "runs")

    def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(
        self, executor: Executor, script_spec: Scripts
    ) -> None:
        """It is not: this process would have to be killed with it."""
        text = """
            import os, signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("up", flush=True)
            while not os.path.exists("go"): time.sleep(0.02)
            """
        handle = executor.submit(script_spec(text), "deaf")
        errors: list[JobError] = []

        def end() -> None:
            wait_for(lambda: says(executor, handle, "up"))
            with pytest.raises(JobError) as caught:
                DebugExecutor(executor.home).end(handle, grace=0)
            errors.append(caught.value)
            (handle.path / "code" / "go").touch()

        thread = threading.Thread(target=end)
        thread.start()
        state, _ = run_to_end(executor, handle)
        thread.join()
        assert state.status == "Stopped"
        assert "runs within this process, which would have to be killed with it" in errors[0].what


def test_every_executor_stands_here() -> None:
    """Ray has its own in tests/cluster. At SageMaker nothing runs on this machine: its own tests hold what can be."""
    proven = {name.removeprefix("Test").lower() for name in globals() if name.startswith("Test")}
    assert set(executors.names()) == proven | {"ray", "sagemaker"}
