"""Which controller looks after the jobs of a home, and what clients asked for."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vizsla.aws.context import REQUEST

if TYPE_CHECKING:
    from vizsla.aws.runner import Runner
    from vizsla.jobs.directory import JobDirectory

_RUNNERS: dict[Path, Runner] = {}
_CHANGE = threading.Lock()


def runner_of(home: Path) -> Runner:
    """The controller of this process over a folder of jobs; the first call brings all that runs them."""
    from vizsla.aws.runner import Runner

    with _CHANGE:
        if home not in _RUNNERS:
            _RUNNERS[home] = Runner(home)
        return _RUNNERS[home]


def request_of(job: JobDirectory) -> dict[str, Any] | None:
    """What a client asked for; None of a job that another door started."""
    try:
        request: dict[str, Any] = json.loads((job.path / REQUEST).read_bytes())
    except (OSError, ValueError):
        return None
    return request


def take_over(home: Path) -> None:
    """Go on with what an earlier server has started, where there is anything of it."""
    if any(home.glob(f"*/{REQUEST}")):
        runner_of(home).take_over()


def close(home: Path) -> None:
    """Give up control, where a controller was needed; what runs goes on."""
    if (runner := _RUNNERS.pop(home, None)) is not None:
        runner.close()
