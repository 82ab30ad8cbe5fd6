"""Files that grow while they are read: what came after a place, and the place where the next reading begins."""

from __future__ import annotations

from pathlib import Path

from vizsla.jobs.metrics import Metric, parse_line

_TEXT_BYTES = 1 << 20
_METRICS_BYTES = 16 << 20
_FAR_BEHIND = 16 << 20
_KEPT_BYTES = 256 << 10


def read_metrics_after(path: Path, start: int) -> tuple[list[Metric], int]:
    """The values in ``metrics.jsonl`` after byte ``start``, and where the next whole line begins; at most 16 MiB."""
    data = _read_after(path, start, _METRICS_BYTES)
    end = data.rfind(b"\n") + 1
    found = [metric for line in data[:end].splitlines() if (metric := parse_line(line)) is not None]
    return found, start + end


def read_text_after(path: Path, start: int) -> tuple[str, int]:
    """The text of a log after byte ``start``, at most 1 MiB, and where it goes on."""
    data = _read_after(path, start, _TEXT_BYTES)
    cut = len(data)
    while 0 < cut > len(data) - 4 and data[cut - 1] & 0xC0 == 0x80:  # a character is not cut
        cut -= 1
    if cut > 0 and data[cut - 1] >= 0xC0:
        cut -= 1
    else:
        cut = len(data)
    return data[:cut].decode("utf-8", "replace"), start + cut


def near_the_end(path: Path, start: int) -> tuple[str, int]:
    """Where to go on with a log: at ``start``, or, when more than 16 MiB lie after it, 256 KiB before its end.

    Returns
    -------
    Words for the reader where something is left out, and the place.
    """
    behind = size(path) - start
    if behind <= _FAR_BEHIND:
        return "", start
    left_out = behind - _KEPT_BYTES
    line_end = _read_after(path, start + left_out, _KEPT_BYTES).find(b"\n")
    left_out += line_end + 1
    return f"\n[vizsla: {left_out:,} bytes of the log are not shown; they are in {path}]\n", start + left_out


def size(path: Path) -> int:
    """The bytes in a file; 0 where there is none yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_after(path: Path, start: int, count: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(count)
    except FileNotFoundError:
        return b""
