"""Scripts as jobs, on a real executor with real processes."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vizsla.jobs.executors.base import Event, Handle, HeartbeatEvent, MetricEvent
from vizsla.jobs.executors.local import LocalExecutor
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

MakeSpec = Callable[..., TrainingJobSpec]


@pytest.fixture
def script_spec(tmp_path: Path) -> MakeSpec:
    """The spec of a job that runs the given Python text."""
    count = 0

    def make(
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
        nonlocal count
        count += 1
        folder = tmp_path / f"source-{count}"
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

    return make


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    """A local executor; what still runs at the end of the test is stopped."""
    made = LocalExecutor(tmp_path / "runs", cpus=2)
    yield made
    for handle in [Handle(active.job.name, active.job.path) for active in made._active.values()]:
        made.stop(handle, grace=0)
        run_to_end(made, handle)


def source_of(spec: TrainingJobSpec) -> Path:
    """The folder of the script that ``script_spec`` has made."""
    assert spec.script is not None
    return Path(local_path(spec.script[0]) or "")


def run_to_end(executor: LocalExecutor, handle: Handle, seconds: float = 60) -> tuple[State, list[Event]]:
    """Poll until the job has ended; its state and all events but the heartbeats."""
    since, events, end = None, [], time.monotonic() + seconds
    while time.monotonic() < end:
        poll = executor.poll([handle], since)
        since = poll.since
        events += [event for event in poll.events if not isinstance(event, HeartbeatEvent)]
        for event in poll.events:
            state = getattr(event, "state", None)
            if state is not None and state.has_ended:
                return state, events
        time.sleep(0.01)
    raise AssertionError(f"the job did not end within {seconds} s: {events[-5:]}")


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
