"""The profiler on Vizsla's own training: what the trainer announces, and how long it waits for its batches."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from vizsla.profiling import startup, timeline
from vizsla.profiling.start import new_clock
from vizsla.profiling.timeline import announce, waiting_for
from vizsla.training.callbacks import Callback, Elsewhere, Note

_T = TypeVar("_T")


class Profiler(Callback):
    """Tells the timeline of this process, where it is profiled; torch's own calls are seen without it."""

    def __init__(self, job: Path) -> None:
        self._job = job

    def on_phase(self, name: str, total: int | None) -> None:
        announce(name)

    def batches(self, batches: Iterator[_T]) -> Iterator[_T]:
        return waiting_for(batches)

    def elsewhere(self) -> Elsewhere | None:
        own = timeline.current
        return None if own is None else partial(_begin, self._job.absolute(), {socket.gethostname(): own.clock})


class _OfLoop(Callback):
    """In a process that does nothing but train a network."""

    def batches(self, batches: Iterator[_T]) -> Iterator[_T]:
        return waiting_for(batches)

    def close(self) -> None:
        startup.end_within()


def _begin(job: Path, clocks: Mapping[str, int], note: Note) -> Callback:
    startup.begin_within(job, clocks.get(socket.gethostname()) or new_clock())
    return _OfLoop()
