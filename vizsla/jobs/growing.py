"""Files that grow while they are read: what came after a place, and the place where the next reading begins."""

from __future__ import annotations

import codecs
import contextlib
import json
from pathlib import Path
from typing import Any

from vizsla.jobs.metrics import Metric, parse_line

_TEXT_BYTES = 1 << 20
_METRICS_BYTES = 16 << 20
_LINE_BYTES = 256 << 10


def read_metrics_after(path: Path, start: int) -> tuple[list[Metric], int]:
    """The values in ``metrics.jsonl`` after byte ``start``, and where the next whole line begins; at most 16 MiB."""
    data = _read_after(path, start, _METRICS_BYTES)
    end = data.rfind(b"\n") + 1
    metrics = [metric for line in data[:end].splitlines() if (metric := parse_line(line)) is not None]
    return metrics, start + end


def read_lines_after(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects after byte ``start``, one a line, and where the next whole line begins; at most 16 MiB."""
    data = _read_after(path, start, _METRICS_BYTES)
    end = data.rfind(b"\n") + 1
    values = []
    for line in data[:end].splitlines():
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    return [value for value in values if isinstance(value, dict)], start + end


def read_text_after(path: Path, start: int) -> tuple[str, int]:
    """The text of a log after byte ``start``, at most 1 MiB, and where it goes on."""
    data = _read_after(path, start, _TEXT_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return text, start + len(data) - len(decoder.getstate()[0])  # a character is not cut


def line_after(path: Path, start: int) -> int:
    """Where the first line begins that begins after byte ``start``, at most 256 KiB on; ``start`` where none does."""
    return start + _read_after(path, start, _LINE_BYTES).find(b"\n") + 1


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
