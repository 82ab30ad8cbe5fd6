"""The profiler on Vizsla's own training: what the trainer announces, and how long it waits for its batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from vizsla.profiling.timeline import announce, waiting_for
from vizsla.training.callbacks import Callback

_T = TypeVar("_T")


class Profiler(Callback):
    """Tells the timeline of this process, where it is profiled; torch's own calls are seen without it."""

    def on_phase(self, name: str, total: int | None) -> None:
        announce(name)

    def batches(self, batches: Iterator[_T]) -> Iterator[_T]:
        return waiting_for(batches)
