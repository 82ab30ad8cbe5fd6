"""A job's log and end, as verbs show them."""

from __future__ import annotations

import sys

import typer

from vizsla.cli.console import errors, print_json, results
from vizsla.jobs.events import Cursor, Event, FindingEvent, Handle, LogEvent, StatusEvent
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import load
from vizsla.jobs.result import result_of


def follow_to_end(
    executor: Executor, handle: Handle, *, as_json: bool, since: Cursor | None = None, facts: str | None = None
) -> None:
    """Print the log after ``since`` to stderr, and how the job ended; the exit code is 1 unless it completed.

    ``facts`` is the file of the job with what else it came to, as a JSON object.
    """
    begun = False  # a line of the log without an end

    def show(event: Event) -> None:
        nonlocal begun
        if isinstance(event, LogEvent):
            if executor.echoes:
                return
            sys.stderr.write(event.text)
            sys.stderr.flush()
            begun = not event.text.endswith("\n")
        elif isinstance(event, FindingEvent):
            if begun:
                sys.stderr.write("\n")
            begun = False
            errors.print(event.words, soft_wrap=True, markup=False)
        elif isinstance(event, StatusEvent) and event.state.status == "Pending":
            errors.print(f"{handle.name} waits for room ...")

    result = result_of(executor, handle, show, since)
    state = result.state
    if begun:
        sys.stderr.write("\n")
    more = (load(handle.path / facts) if facts else None) or {}
    if as_json:
        print_json(result.to_dict() | more)
    because = f": {state.reason}" if state.reason else "."
    errors.print(f"{handle.name} is {state.status}{because}", soft_wrap=True)
    out = results(as_json)
    for name, value in result.metrics.items():
        out.print(f"  {name}  {value:g}", soft_wrap=True)
    if output := more.get("output"):
        out.print(f"output  {output}", soft_wrap=True)
    if model := result.archive or result.model:
        out.print(f"model   {model}", soft_wrap=True)
    if not state.ended_well:
        errors.print(f"next    vizsla jobs logs {handle.name}, vizsla jobs resume {handle.name}", soft_wrap=True)
        raise typer.Exit(1)
