"""The suite: a class of tests with a fixture that implementers override, as Optuna ships for its storages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from vizsla.errors import JobError, UsageError
from vizsla.jobs.conformance.scripts import (
    Scripts,
    metrics_of,
    run_to_end,
    says,
    stop_all,
    stopping_when,
    wait_for,
)
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import NOW, Handle, LogEvent, StatusEvent
from vizsla.jobs.executors.base import Executor

UP = "import time; print('up', flush=True); time.sleep(600)"
COUNTS = """
    import json, os, pathlib, sys
    folder = pathlib.Path(os.environ["VIZSLA_JOB_DIR"], "checkpoints")
    done = max([int(p.stem) for p in folder.glob("*.txt")], default=0)
    print("begins after", done, flush=True)
    for epoch in range(done + 1, 6):
        print(json.dumps({"name": "epoch", "value": epoch}), flush=True)
        (folder / f"{epoch}.txt").write_text("done")
        if epoch == 2 and not done:
            sys.exit(7)
"""
CONTROLLER = """
    import json, pathlib, sys
    from vizsla.jobs.spec import TrainingJobSpec
    from {module} import {name}
    executor = {name}(pathlib.Path(sys.argv[1]))
    handle = executor.submit(TrainingJobSpec.read(json.loads(sys.argv[2])), "orphan", parent=None)
    print(handle.name, flush=True)
    sys.stdout = sys.stderr
    while True:
        executor.poll([handle])
"""


class ExecutorConformance:
    """Derive from it, and override :meth:`executor`; and a test where an executor says that it does otherwise."""

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        """A new executor with jobs in a folder of its own and room for one job that wants the whole machine."""
        raise NotImplementedError("override the fixture `executor`")

    @pytest.fixture
    def script_spec(self, tmp_path: Path) -> Scripts:
        """Makes the spec of a job that runs a text of Python."""
        return Scripts(tmp_path)

    @pytest.fixture(autouse=True)
    def _leave_nothing(self, executor: Executor) -> Iterator[None]:
        yield
        stop_all(executor)

    def test_a_job_starts_and_completes_with_its_states_in_order(
        self, executor: Executor, script_spec: Scripts
    ) -> None:
        handle = executor.submit(script_spec("print('hello')"), "first", parent="tune-1")
        state, events = run_to_end(executor, handle)
        statuses = [event.state.status for event in events if isinstance(event, StatusEvent)]
        assert statuses[-1] == "Completed"
        assert set(statuses) <= {"Pending", "InProgress", "Completed"}
        assert state.exit_code == 0
        assert "".join(event.text for event in events if isinstance(event, LogEvent)) == "hello\n"
        assert isinstance(events[-1], StatusEvent), "the end is told last"
        job = JobDirectory.open(handle.path)
        assert (job.executor, job.parent, job.kind) == (executor.name, "tune-1", "train")

    def test_metrics_come_in_the_order_they_were_written(self, executor: Executor, script_spec: Scripts) -> None:
        text = """
            import vizsla
            for i in range(200):
                vizsla.log_metric("direct", i, step=i)
            for i in range(200):
                print(f"Testing Loss: {i}")
            """
        for turn in range(2):  # in one process, perhaps
            spec = script_spec(text, metrics={"loss": r"Testing Loss: ([0-9\.]+)"})
            state, events = run_to_end(executor, executor.submit(spec, f"metrics-{turn}"))
            assert state.status == "Completed", state.reason
            values = metrics_of(events)
            assert [value for name, value in values if name == "direct"] == list(range(200))
            assert [value for name, value in values if name == "loss"] == list(range(200))

    def test_a_metric_without_a_value_is_named(self, executor: Executor, script_spec: Scripts) -> None:
        spec = script_spec("print('accuracy: high')", metrics={"acc": "accuracy: (.+)", "loss": "loss: (.+)"})
        state, _ = run_to_end(executor, executor.submit(spec, "missing"))
        assert state.missing_metrics == {"acc": "high", "loss": None}

    def test_a_cursor_goes_on_where_it_was_given(self, executor: Executor, script_spec: Scripts) -> None:
        handle = executor.submit(script_spec("print('one')\nprint('two')"), "cursor")
        run_to_end(executor, handle)
        first = executor.poll([handle])
        assert [type(event) for event in first.events] == [LogEvent, StatusEvent]
        assert executor.poll([handle], json.loads(json.dumps(first.since))).events == ()
        text, at = executor.logs(handle)
        assert (text, executor.logs(handle, at)[0]) == ("one\ntwo\n", "")

    def test_who_asks_for_what_comes_now_is_told_nothing_old(self, executor: Executor, script_spec: Scripts) -> None:
        once = "import os; first = not os.path.exists('x'); open('x', 'w').close(); print(first); assert not first"
        handle = executor.submit(script_spec(once), "now")
        assert run_to_end(executor, handle)[0].status == "Failed"
        poll = executor.poll([handle], NOW)
        assert [type(event) for event in poll.events] == [StatusEvent]
        executor.resume(handle)
        state, events = run_to_end(executor, handle, since=poll.since)
        assert state.status == "Completed"
        assert "".join(event.text for event in events if isinstance(event, LogEvent)) == "False\n"

    def test_a_stopped_job_ends_in_good_order(self, executor: Executor, script_spec: Scripts) -> None:
        spec = script_spec(
            """
            import signal, sys, time
            def end(*_):
                print("saving", flush=True)
                sys.exit(0)
            signal.signal(signal.SIGTERM, end)
            print("up", flush=True)
            time.sleep(600)
            """
        )
        handle, before = executor.submit(spec, "stop"), signal.getsignal(signal.SIGTERM)
        with stopping_when(executor, handle, "up", 30, "no longer wanted"):
            state, _ = run_to_end(executor, handle)
        assert state.status == "Stopped"
        assert "no longer wanted" in str(state.reason)
        assert says(executor, handle, "saving")
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_job_without_a_handler_is_stopped(self, executor: Executor, script_spec: Scripts) -> None:
        handle = executor.submit(script_spec(UP), "plain")
        with stopping_when(executor, handle, "up", 30, "enough"):
            state, _ = run_to_end(executor, handle)
        assert state.status == "Stopped"
        assert str(state.reason).startswith("enough")

    def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(
        self, executor: Executor, script_spec: Scripts
    ) -> None:
        handle = executor.submit(script_spec("import signal\nsignal.signal(15, signal.SIG_IGN)\n" + UP), "deaf")
        with stopping_when(executor, handle, "up", 0.3, "enough"):
            state, _ = run_to_end(executor, handle)
        assert state.status == "Stopped"
        assert "did not end on SIGTERM and was killed" in str(state.reason)

    def test_a_waiting_job_is_stopped_without_ever_running(self, executor: Executor, script_spec: Scripts) -> None:
        first = executor.submit(script_spec(UP, instance="local"), "first")
        second = executor.submit(script_spec("print('ran')", instance="local"), "second")
        assert executor.capacity().waiting >= 1
        assert executor.state(second).status == "Pending"
        executor.stop(second, reason="not needed")
        assert executor.state(second).status == "Stopped"
        assert executor.logs(second)[0] == ""
        executor.stop(first, grace=0)

    @pytest.mark.parametrize(
        ("text", "code", "reason"),
        [
            ("import sys; sys.exit(3)", 3, "exit code 3"),
            ("1 / 0", 1, "ZeroDivisionError: division by zero (exit code 1)"),
            ("import sys; sys.exit('no data')", 1, "no data"),
        ],
    )
    def test_a_failure_is_told_in_words(
        self, executor: Executor, script_spec: Scripts, text: str, code: int, reason: str
    ) -> None:
        handle = executor.submit(script_spec(text), "fails")
        state, _ = run_to_end(executor, handle)
        assert (state.status, state.exit_code) == ("Failed", code)
        assert reason in str(state.reason)
        assert str(state.reason) in executor.fetch(handle, "output/failure").read_text()

    def test_a_restart_goes_on_from_the_checkpoints(self, executor: Executor, script_spec: Scripts) -> None:
        handle = executor.submit(script_spec(COUNTS), "restart")
        assert run_to_end(executor, handle)[0].exit_code == 7
        executor.resume(handle)
        state, events = run_to_end(executor, handle)
        assert (state.status, state.attempts) == ("Completed", 2)
        assert says(executor, handle, "begins after 2")
        assert [value for _, value in metrics_of(events)] == [1, 2, 3, 4, 5], "every epoch once"
        with pytest.raises(JobError, match="is completed: there is nothing left to do"):
            executor.resume(handle)

    def test_a_job_whose_controller_is_killed_comes_to_its_end(
        self, executor: Executor, script_spec: Scripts, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        waits = f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
        made = type(executor)
        controller = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(CONTROLLER).format(module=made.__module__, name=made.__name__)),
                *(str(executor.home), json.dumps(script_spec(waits).to_dict())),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with controller:
            assert controller.stdout is not None
            name = controller.stdout.readline().strip()
            handle = Handle(name, executor.home / name)
            wait_for(lambda: says(executor, handle, "up"))
            controller.kill()
        assert executor.state(handle).status in ("InProgress", "Failed")
        executor.resume(handle)
        go.touch()
        state, _ = run_to_end(executor, handle)
        assert state.status == "Completed"

    def test_two_controllers_are_refused(self, executor: Executor, script_spec: Scripts) -> None:
        handle, other = executor.submit(script_spec(UP), "mine"), type(executor)(executor.home)
        status = executor.state(handle).status
        with pytest.raises(JobError, match=f"{handle.name}.*is controlled by another process"):
            other.resume(handle)
        assert other.state(handle).status == status

    def test_what_a_job_left_is_fetched_and_nothing_else(self, executor: Executor, script_spec: Scripts) -> None:
        spec = script_spec("import os; open(os.environ['SM_MODEL_DIR'] + '/w.bin', 'w').write('w')")
        handle = executor.submit(spec, "fetch")
        run_to_end(executor, handle)
        assert executor.fetch(handle, "output/model.tar.gz").stat().st_size > 0
        assert (executor.fetch(handle, "model") / "w.bin").read_text() == "w"
        with pytest.raises(JobError, match="leads out of the job"):
            executor.fetch(handle, "../../etc/passwd")
        with pytest.raises(JobError, match="has no 'nothing'"):
            executor.fetch(handle, "nothing")

    def test_arguments_variables_and_folders_are_those_of_a_training_job(
        self, executor: Executor, script_spec: Scripts, tmp_path: Path
    ) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.txt").write_text("a photo")
        text = """
            import json, os, sys
            channel = os.environ["SM_CHANNEL_TRAINING"]
            print(json.dumps([sys.argv[1:], os.environ["SM_HP_LR"], os.listdir(channel), os.listdir(".")]))
            """
        spec = script_spec(text, {"lr": 0.5}, data={"training": tmp_path / "photos"})
        handle = executor.submit(spec, "arguments")
        assert run_to_end(executor, handle)[0].status == "Completed"
        printed = json.loads(executor.logs(handle)[0])
        assert printed == [["--lr", "0.5"], "0.5", ["a.txt"], ["train.py"]]

    def test_a_request_that_cannot_run_leaves_nothing(self, executor: Executor, script_spec: Scripts) -> None:
        with pytest.raises(UsageError, match="There is no instance type 'huge'"):
            executor.submit(script_spec("print(1)", instance="huge"), "x")
        handle = executor.submit(script_spec("print(1)", name="mine"), "x")
        with pytest.raises(JobError, match="There is a job named 'mine' already"):
            executor.submit(script_spec("print(1)", name="mine"), "x")
        assert [path.name for path in executor.home.iterdir() if not path.name.startswith(".")] == ["mine"]
        assert run_to_end(executor, handle)[0].status == "Completed"

    def test_only_what_has_ended_is_removed(self, executor: Executor, script_spec: Scripts) -> None:
        handle = executor.submit(script_spec(UP), "gone")
        with pytest.raises(JobError, match="it cannot be removed") as caught:
            executor.remove(handle)
        assert caught.value.do == f"stop it first: `vizsla jobs stop {handle.name}`"
        executor.stop(handle, grace=0)
        run_to_end(executor, handle)
        executor.remove(handle)
        assert not handle.path.exists()

    def test_who_gives_up_control_leaves_it_to_another(self, executor: Executor, script_spec: Scripts) -> None:
        handle = executor.submit(script_spec(COUNTS), "left")
        run_to_end(executor, handle)
        executor.close()
        other = type(executor)(executor.home)
        assert other.state(handle).status == "Failed"
        other.resume(handle)
        assert run_to_end(other, handle)[0].status == "Completed"
