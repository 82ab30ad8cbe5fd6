"""Small scripts as jobs, and what tests need to follow them."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vizsla.jobs.events import Cursor, Event, Handle, MetricEvent
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.spec import (
    AlgorithmSpecification,
    Channel,
    MetricDefinition,
    ResourceConfig,
    StoppingCondition,
    TrainingJobSpec,
    local_path,
    script_hyper_parameters,
)
from vizsla.jobs.states import State


class Scripts:
    """Makes the specs of jobs that run the Python texts it is given; the files lie below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0

    def __call__(
        self,
        text: str,
        hyper_parameters: dict[str, Any] | None = None,
        *,
        data: dict[str, Path] | None = None,
        metrics: dict[str, str] | None = None,
        name: str | None = None,
        instance: str = "local-1cpu",
        limit: int | None = None,
        program: str = "train.py",
    ) -> TrainingJobSpec:
        self._count += 1
        folder = self.folder / f"source-{self._count}"
        folder.mkdir()
        (folder / program).write_text(textwrap.dedent(text))
        return TrainingJobSpec(
            training_job_name=name,
            hyper_parameters=script_hyper_parameters(program, folder, hyper_parameters or {}),
            input_data_config=[Channel.of_path(channel, path) for channel, path in (data or {}).items()],
            algorithm_specification=AlgorithmSpecification(
                metric_definitions=[MetricDefinition(name=n, regex=r) for n, r in (metrics or {}).items()] or None
            ),
            resource_config=ResourceConfig(instance_type=instance),
            stopping_condition=None if limit is None else StoppingCondition(max_runtime_in_seconds=limit),
        )


def source_of(spec: TrainingJobSpec) -> Path:
    """The folder of the script of a spec."""
    assert spec.script is not None
    return Path(local_path(spec.script[0]) or "")


def run_to_end(
    executor: Executor, handle: Handle, seconds: float = 60, since: Cursor | None = None
) -> tuple[State, list[Event]]:
    """Poll until the job has ended; its state and all events."""
    events: list[Event] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        poll = executor.poll([handle], since)
        since = poll.since
        events += poll.events
        for event in poll.events:
            state = getattr(event, "state", None)
            if state is not None and state.has_ended:
                return state, events
        time.sleep(0.01)
    raise AssertionError(f"the job did not end within {seconds} s: {events[-5:]}")


def stop_all(executor: Executor) -> None:
    """Stop what still runs at the end of a test."""
    for path in executor.home.glob("*/state.json") if executor.home.is_dir() else []:
        handle = Handle(path.parent.name, path.parent)
        if not executor.state(handle).has_ended:
            executor.stop(handle, grace=0)
            run_to_end(executor, handle)


@contextmanager
def stopping_when(executor: Executor, handle: Handle, word: str, grace: float, reason: str) -> Iterator[None]:
    """As soon as the job's log holds ``word``, somebody who does not control the job asks it to stop."""

    def stop() -> None:
        wait_for(lambda: says(executor, handle, word))
        type(executor)(executor.home).stop(handle, grace, reason)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def says(executor: Executor, handle: Handle, word: str) -> bool:
    """Whether the job's log holds ``word``."""
    return word in executor.logs(handle)[0]


def metrics_of(events: list[Event]) -> list[tuple[str, float]]:
    """Names and values in the order told."""
    return [(event.metric.name, event.metric.value) for event in events if isinstance(event, MetricEvent)]


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer of ``condition``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"it did not happen within {seconds} s")
