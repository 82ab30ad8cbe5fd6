"""A job's log and end, as verbs show them."""

from __future__ import annotations

import sys

import typer

from vizsla.cli.console import errors, print_json
from vizsla.jobs.controller import follow
from vizsla.jobs.executors.base import Event, Executor, Handle, LogEvent, MetricEvent, Since, StatusEvent
from vizsla.jobs.pack import ARCHIVE, holds_anything
from vizsla.jobs.states import State


def follow_to_end(executor: Executor, handle: Handle, *, as_json: bool, since: Since | None = None) -> State:
    """Print the log after ``since`` to stderr, and how the job ended; the exit code is 1 unless it completed."""
    last: dict[str, float] = {}
    begun = False  # a line of the log without an end

    def show(event: Event) -> None:
        nonlocal begun
        if isinstance(event, LogEvent):
            sys.stderr.write(event.text)
            sys.stderr.flush()
            begun = not event.text.endswith("\n")
        elif isinstance(event, MetricEvent):
            last[event.metric.name] = event.metric.value
        elif isinstance(event, StatusEvent) and event.state.status == "Pending":
            errors.print(f"{handle.name} waits for room on this machine ...", markup=False)

    state = follow(executor, handle, show, since)
    if begun:
        sys.stderr.write("\n")
    archive, folder = handle.path / "output" / ARCHIVE, handle.path / "model"
    archived = archive.is_file() and state.status != "Failed"
    model = archive if archived else folder if state.status == "Completed" and holds_anything(folder) else None
    if as_json:
        print_json(
            {
                "name": handle.name,
                "job": str(handle.path),
                "status": state.status,
                "reason": state.reason,
                "exit_code": state.exit_code,
                "metrics": last,
                "archive": str(archive) if archived else None,
            }
        )
    because = f": {state.reason}" if state.reason else "."
    errors.print(f"{handle.name} is {state.status}{because}", markup=False, soft_wrap=True)
    for name, value in last.items():
        errors.print(f"  {name}  {value:g}", markup=False)
    if model:
        errors.print(f"model   {model}", markup=False, soft_wrap=True)
    if not state.ended_well:
        errors.print(
            f"next    vizsla jobs logs {handle.name}, vizsla jobs resume {handle.name}", markup=False, soft_wrap=True
        )
        raise typer.Exit(1)
    return state
