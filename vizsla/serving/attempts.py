"""What was begun and never ended: a load that ends the whole server leaves its mark for the next one."""

from __future__ import annotations

from pathlib import Path

from vizsla.files import write_json
from vizsla.jobs.handover import load

MOST = 2
"""So often something is begun anew that never came to an end."""


class Attempts:
    """Counts what was begun; kept in ``file``, or (None) nowhere, where no other server comes after this one.

    Examples
    --------
    >>> attempts = Attempts(None)
    >>> attempts.begin("dogs/2"), attempts.begin("dogs/2"), attempts.begin("dogs/2")
    (True, True, False)
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._counts: dict[str, int] = {} if file is None else load(file) or {}

    def begin(self, what: str) -> bool:
        """Begin something; whether that should be tried at all."""
        if self.unfinished(what) >= MOST:
            return False
        self._counts[what] = self.unfinished(what) + 1
        self._write()
        return True

    def end(self, what: str) -> None:
        """It came to an end, good or bad."""
        if self._counts.pop(what, None) is not None:
            self._write()

    def unfinished(self, what: str) -> int:
        """How often it was begun and did not end."""
        return self._counts.get(what, 0)

    def _write(self) -> None:
        if self._file is not None:
            write_json(self._file, self._counts)
