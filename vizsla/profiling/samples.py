"""What the sampler wrote, as columns: JSON lines of the present hour, Parquet of those that are over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Series = tuple[str, str, str, str]
"""Type, name, dimension, node."""
COLUMNS = ("timestamp_us", "value", "system_metric", "dimension", "nodeID", "type")
"""Of a Parquet file: microseconds of Unix time (int64), float64, and words as dictionaries."""


@dataclass(frozen=True)
class Samples:
    """Values (n,) float64 at moments ``us`` (n,) int64, microseconds of Unix time; ``which`` (n,) int32 is the series.

    In the order of writing, which is that of time but for a clock that was set back between two attempts.
    """

    us: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    which: npt.NDArray[np.int32]
    series: tuple[Series, ...]
    damaged: int = 0
    """Lines that could not be read: the last one of a sampler that was killed, for one."""

    @classmethod
    def read(cls, folder: Path) -> Samples:
        """All below ``folder``, such as ``profiler-output/system``."""
        builder = Builder()
        hours = {path.stem for path in folder.glob("*.parquet")} | {
            p.name for p in folder.glob("incremental/*") if p.is_dir()
        }
        for hour in sorted(hours):
            builder.add_hour(folder, hour)
        return builder.samples()

    def __len__(self) -> int:
        return len(self.us)

    def find(self, kind: str, name: str | None = None, dimension: str | None = None) -> list[int]:
        """The series of a type, in the order of their names' numbers (cpu2 before cpu10)."""
        chosen = [
            i for i, s in enumerate(self.series) if s[0] == kind and name in (None, s[1]) and dimension in (None, s[2])
        ]
        return sorted(chosen, key=lambda i: (len(self.series[i][1]), self.series[i]))

    def of(
        self, kind: str, name: str | None = None, dimension: str | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Moments and values of the series that match, by time."""
        rows = np.flatnonzero(np.isin(self.which, self.find(kind, name, dimension)))
        rows = rows[np.argsort(self.us[rows], kind="stable")]
        return self.us[rows], self.values[rows]

    def table(self, kind: str, dimension: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], list[str]]:
        """A column a series (such as a core): moments (n,), values (n, series), names; the rows that all have."""
        numbers = self.find(kind, dimension=dimension)
        columns = [self.of(kind, self.series[i][1], dimension) for i in numbers]
        n = min((len(us) for us, _ in columns), default=0)
        if not n:
            return np.empty(0, np.int64), np.empty((0, len(numbers))), [self.series[i][1] for i in numbers]
        return columns[0][0][-n:], np.stack([v[-n:] for _, v in columns], 1), [self.series[i][1] for i in numbers]

    def between(self, begin_us: float, end_us: float) -> Samples:
        """Those of a span of time."""
        rows = np.flatnonzero((self.us >= begin_us) & (self.us <= end_us))
        return Samples(self.us[rows], self.values[rows], self.which[rows], self.series)

    def columns(self) -> dict[str, Any]:
        """SageMaker's columns (``PandasFrame.get_all_system_metrics``): ``timestamp_us`` counts from the minute of the
        first sample."""
        order = np.argsort(self.us, kind="stable")
        us, which = self.us[order], self.which[order]
        base = int(us[0]) // 60_000_000 * 60_000_000 if len(us) else 0
        stamps = np.datetime_as_string(us.astype("datetime64[us]"), unit="us")
        names = np.array(self.series, dtype=object).reshape(-1, 4)
        return {
            "timestamp": [f"{stamp[:19]}:{stamp[20:]}" for stamp in stamps.tolist()],
            "timestamp_us": us - base,
            "value": self.values[order],
            "system_metric": names[which, 1],
            "dimension": names[which, 2],
            "nodeID": names[which, 3],
            "type": names[which, 0],
        }


@dataclass
class Builder:
    index: dict[Series, int] = field(default_factory=dict)
    us: list[npt.NDArray[np.int64]] = field(default_factory=list)
    values: list[npt.NDArray[np.float64]] = field(default_factory=list)
    which: list[npt.NDArray[np.int32]] = field(default_factory=list)
    damaged: int = 0

    def number(self, series: Series) -> int:
        return self.index.setdefault(series, len(self.index))

    def add_hour(self, folder: Path, hour: str) -> None:
        """What was compacted, and the lines after it: of a job that was resumed within the hour."""
        last = 0
        if (path := folder / f"{hour}.parquet").exists():
            last = self.add_parquet(path)
        self.add_lines(folder / "incremental" / hour, last)

    def add_lines(self, folder: Path, after: int = 0) -> None:
        """The lines of a folder whose time is later than ``after`` (us)."""
        us: list[int] = []
        values: list[float] = []
        which: list[int] = []
        paths = [path for path in sorted(folder.glob("*.json")) if _last_us(path) > after]
        for line in _lines(paths):
            try:
                row = orjson.loads(line)
                number = self.number((row["Type"], row["Name"], row["Dimension"], row["NodeId"]))
                moment, value = int(row["Timestamp"] * 1e6 + 0.5), float(row["Value"])
            except (ValueError, KeyError, TypeError):
                self.damaged += 1
                continue
            if moment <= after:
                continue
            us.append(moment)
            values.append(value)
            which.append(number)
        self.add(np.array(us, np.int64), np.array(values, np.float64), np.array(which, np.int32))

    def add_parquet(self, path: Path) -> int:
        """All of a file; the time of its last sample."""
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
        parts = [table[name].combine_chunks() for name in COLUMNS[2:]]
        words = [part.dictionary.to_pylist() for part in parts]
        codes = np.zeros(len(table), np.int64)
        for part, known in zip(parts, words, strict=True):
            codes = codes * max(1, len(known)) + part.indices.to_numpy()
        own, inverse = np.unique(codes, return_inverse=True)
        numbers = [self.number(_words(int(code), words)) for code in own]
        us = table["timestamp_us"].to_numpy()
        self.add(us, table["value"].to_numpy(), np.array(numbers, np.int32)[inverse])
        return int(us.max(initial=0))

    def add(self, us: npt.NDArray[np.int64], values: npt.NDArray[np.float64], which: npt.NDArray[np.int32]) -> None:
        self.us.append(us)
        self.values.append(values)
        self.which.append(which)

    def samples(self) -> Samples:
        empty = not self.us
        return Samples(
            np.empty(0, np.int64) if empty else np.concatenate(self.us),
            np.empty(0) if empty else np.concatenate(self.values),
            np.empty(0, np.int32) if empty else np.concatenate(self.which),
            tuple(self.index),
            self.damaged,
        )


def _words(code: int, words: Sequence[Sequence[str]]) -> Series:
    """The words that a code of mixed base stands for."""
    result: list[str] = []
    for known in reversed(words):
        code, at = divmod(code, max(1, len(known)))
        result.append(known[at])
    name, dimension, node, kind = reversed(result)
    return kind, name, dimension, node


def _last_us(path: Path) -> int:
    """The end of the minute that a file is of."""
    name = path.name.partition(".")[0]
    return (int(name) + 60) * 1_000_000 if name.isdigit() else 0


def _lines(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # an hour that is being compacted
            yield from file


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of files that are still there."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
