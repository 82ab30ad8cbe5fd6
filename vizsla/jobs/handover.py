"""What controller and supervisor of a job hand each other in ``.run``: small JSON files, written in one step.

The standard library alone, as the supervisor has no more.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Why = Literal["exited", "stopped", "limit"]

GRACE_SECONDS = 30.0
"""Between the request to end (SIGTERM) and the end (SIGKILL), where nobody says otherwise."""
ENVIRONMENT = ".run/environment"
"""Where in a job's directory the environment is that its code may install packages into, while it runs."""
FETCHED = "input/fetched"
"""Where in a job's directory the channels are that were fetched from a bucket; ``input/data`` links there."""


@dataclass(frozen=True)
class Command:
    """What ``.run/command.json`` holds: one attempt."""

    attempt: int
    argv: list[str]
    shell: bool
    """Whether a shell runs the script: a signal must reach what the shell runs, too."""
    folder: str
    environment: dict[str, str]
    """Added to the controller's own."""
    metrics: list[tuple[str, str]]
    limit: float | None
    """Seconds the job may run."""
    grace: float
    """Seconds between SIGTERM and SIGKILL."""
    opt_ml: bool
    """Whether the code names ``/opt/ml``."""
    log_head: int
    log_tail: int
    pack: bool = True
    """Whether ``model/`` is to be packed."""
    slots: list[int] = field(default_factory=list)
    """Open files: the cores and GPUs that the job has for as long as this process holds them."""
    ends_with_parent: bool = False
    """Whether the job is killed with the process that started its supervisor, because another one starts it again."""
    sampled: float | None = None
    """Seconds between two samples of the profiler; None where the job is not profiled."""


@dataclass(frozen=True)
class Running:
    """What ``.run/process.json`` holds."""

    attempt: int
    supervisor: int
    supervisor_started: float | None
    group: int
    """The job's process group: the number of its first process."""
    group_started: float | None = None
    """The start of that process: without it the number may be somebody else's by now."""
    boot: str | None = None
    """The run of the system in which these numbers mean something."""
    folder: list[int] | None = None
    """Device and inode of the job's ``.run``: in a copy of the directory they mean another job's processes."""


@dataclass(frozen=True)
class Exit:
    """What ``.run/exit.json`` holds."""

    attempt: int
    code: int
    """The exit code; negative: the number of the signal."""
    why: Why
    """Whether it ended by itself, was asked to stop, or ran out of time."""
    killed: bool
    """Whether SIGTERM was not enough."""
    out_of_memory: bool
    disk_full: bool
    seconds: float
    """How long it ran."""
    limit: float | None
    """How long it was allowed to."""
    log_bytes: int
    tail: str
    """The last lines of the log."""
    packed: str | None
    """``model.tar.gz`` when it was made (``model/`` where it was not wanted), None when the job left no model."""
    pack_error: str | None
    left_out: list[str] = field(default_factory=list)
    """What could not be in the archive."""
    missing_metrics: dict[str, str | None] = field(default_factory=dict)
    """Metrics without a value: see :meth:`vizsla.jobs.scrape.Scraper.missing`. Of a job that failed none is named."""


def folder_id(run: Path) -> list[int] | None:
    """Device and inode of a folder, which it keeps when it is moved; None where there is none."""
    try:
        status = os.stat(run)
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def load(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none (yet)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
