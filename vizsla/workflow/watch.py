"""The clock of a job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from vizsla.profiling.timeline import announce
from vizsla.training.callbacks import Callback
from vizsla.workflow.job_callbacks import Progress
from vizsla.workflow.observer import Observer


class Watch:
    """Times the stages and knows how long the job may take.

    ``seconds`` is the time of each stage, ``elapsed`` that of all; ``callback`` is told when a stage begins.
    """

    def __init__(self, observer: Observer, minutes: float | None) -> None:
        self.callback: Callback = Progress(observer)
        self._minutes, self._began = minutes, time.monotonic()
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.seconds: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    def before(self, reserve: float) -> float | None:
        """The deadline less what the rest needs: ``reserve`` seconds, but at most half of the whole time.

        A moment of ``time.monotonic()``; None without a deadline.
        """
        if self._deadline is None or self._minutes is None:
            return None
        return self._deadline - min(reserve, 30 * self._minutes)

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """Announce and time a stage."""
        self.callback.on_phase(name, total)
        announce(name)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
