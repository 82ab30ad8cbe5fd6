"""Small functions that AWS's example scripts import from here."""

from __future__ import annotations

from enum import Enum


class TimeUnits(Enum):
    """In which unit a moment is given."""

    SECONDS = 1
    MILLISECONDS = 2
    MICROSECONDS = 3
    NANOSECONDS = 4


_MICROSECONDS = {
    TimeUnits.SECONDS: 1e6,
    TimeUnits.MILLISECONDS: 1e3,
    TimeUnits.MICROSECONDS: 1.0,
    TimeUnits.NANOSECONDS: 1e-3,
}


def convert_utc_timestamp_to_microseconds(timestamp: float, unit: TimeUnits = TimeUnits.SECONDS) -> int:
    """A moment of Unix time in microseconds."""
    return int(timestamp * _MICROSECONDS[unit])


def str2bool(v: object) -> bool:
    """True for yes, true, t, y and 1, for ``argparse``.

    Raises
    ------
    ValueError
        For any other word.
    """
    if isinstance(v, bool):
        return v
    word = str(v).lower()
    if word in ("yes", "true", "t", "y", "1"):
        return True
    if word in ("no", "false", "f", "n", "0"):
        return False
    raise ValueError(f"{v!r} is neither true nor false")
