"""What a hook recorded, on disk: ``statistics/*.parquet``, ``tensors/*.safetensors`` and ``index.json``.

Every file appears whole, under a name that is never written again, so that a store may be read while it is written,
and after a kill: at most what came in the last second is lost.

- ``statistics/LEVEL-FIRST-LAST.parquet``: rows of :data:`COLUMNS`. Many small files become one of the next level; a
  reader leaves out those that lie within another one's range.
- ``tensors/STEP-WORKER.safetensors``: the tensors that were kept of a step, float32 by their names.
- ``index.json``: what was said once: the model, its parameters, the collections, the optimizers.
- ``training_job_end.ts``: nothing more will come.
- ``writer``: locked as long as somebody writes; the system lets go of it, however that process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

STATISTICS, TENSORS, INDEX, LOCK = "statistics", "tensors", "index.json", "writer"
END = "training_job_end.ts"
"""A file of this name says that nothing more will be recorded (the name that smdebug uses)."""
FORMAT = 1
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)\.parquet")


class Row(NamedTuple):
    """One tensor at one step."""

    step: int
    """Counts all modes together."""
    mode: str
    """``TRAIN``, ``EVAL``, ``PREDICT`` or ``GLOBAL``."""
    mode_step: int
    """Counts the steps of this mode."""
    worker: str
    name: str
    collection: str
    time: float
    """Seconds since 1970."""
    n: int
    """Elements."""
    min: float
    max: float
    mean: float
    """Of a scalar, as all of these, the value itself."""
    std: float
    abs_mean: float
    l2: float
    zeros: float
    """Share of elements that are 0."""
    shape: str
    """Like ``64,3,7,7``; empty for a scalar."""
    chosen: bool
    """Whether the script or its configuration asked for it; the rules' own rows are not shown by AWS's names."""
    raw: bool
    """Whether the tensor itself is kept."""
    prod: float | None = None
    """The product, where it was asked for."""
    values: tuple[float, ...] | None = None
    """Of activations the activity of each unit; of labels and predictions the classes."""


COLUMNS = Row._fields


def schema() -> Any:
    """The columns' types."""
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    types = {name: pa.float64() for name in ("time", "min", "max", "mean", "std", "abs_mean", "l2", "zeros", "prod")}
    types |= dict.fromkeys(("mode", "worker", "name", "collection", "shape"), word)
    types |= {"step": pa.int64(), "mode_step": pa.int64(), "n": pa.int64(), "chosen": pa.bool_(), "raw": pa.bool_()}
    types |= {"values": pa.list_(pa.float32())}
    return pa.schema([(name, types[name]) for name in COLUMNS])


def segments(folder: Path) -> list[Path]:
    """The files of rows in the order of writing, without those whose rows are in a later one too."""
    try:
        names = [(path, match) for path in (folder / STATISTICS).iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    ranges = sorted((int(m[2]), int(m[3]), -int(m[1]), path) for path, m in names)
    result: list[Path] = []
    end = -1
    for _first, last, _, path in sorted(ranges, key=lambda r: (r[0], -r[1], r[2])):
        if last > end:
            result.append(path)
            end = last
    return result


def read_rows(path: Path) -> list[Row]:
    """The rows of one file.

    Raises
    ------
    FileNotFoundError
        When they were just moved into a larger file.
    """
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=list(COLUMNS)).to_pydict()
    values = [None if v is None else tuple(v) for v in columns.pop("values")]
    return [Row(*fields) for fields in zip(*(columns[name] for name in COLUMNS[:-1]), values, strict=True)]


def read_index(folder: Path) -> dict[str, Any]:
    """What was said once; nothing before it was."""
    try:
        result: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return result


def read_tensor(folder: Path, step: int, worker: str, name: str) -> Any:
    """A tensor that was kept, as a numpy array.

    Raises
    ------
    KeyError
        When it was not, or was thinned out since.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TENSORS / tensor_file(step, worker), "numpy") as file:
            return file.get_tensor(name)
    except (FileNotFoundError, SafetensorError) as error:
        raise KeyError(name) from error


def tensor_file(step: int, worker: str) -> str:
    """The name of the file of a step."""
    return f"{step:012d}-{worker}.safetensors"


def last_steps(folder: Path) -> tuple[int, dict[str, int]]:
    """The last step over all modes, and of each mode; -1 and nothing of a new store."""
    import pyarrow.parquet as pq

    last, modes = -1, dict[str, int]()
    for path in segments(folder):
        columns = pq.read_table(path, columns=["step", "mode", "mode_step"]).to_pydict()
        last = max([last, *columns["step"]])
        for mode, step in zip(columns["mode"], columns["mode_step"], strict=True):
            modes[mode] = max(step, modes.get(mode, -1))
    return last, modes


def is_being_written(folder: Path) -> bool:
    """Whether some process writes there now."""
    try:
        file = open(folder / LOCK, "rb")  # noqa: SIM115 - closed below; a missing file is a usual case
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def folder_of(path: Path) -> Path:
    """The store at ``path``: the folder itself, or ``output/debug`` of a job."""
    inner = path / "output" / "debug"
    return inner if inner.is_dir() else path


class Reader:
    """Reads the rows of a store once each, as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_to = -1

    def new_rows(self) -> list[Row]:
        """What came since the last call."""
        for _ in range(20):
            with contextlib.suppress(FileNotFoundError):  # between listing and opening it became part of a larger one
                return self._new_rows()
        return []

    def _new_rows(self) -> list[Row]:
        rows: list[Row] = []
        read_to = self._read_to
        for path in segments(self.folder):
            _, first, last = (int(part) for part in path.stem.split("-"))
            if last <= read_to:
                continue
            found = read_rows(path)
            rows += found[read_to + 1 - first :] if first <= read_to else found
            read_to = last
        self._read_to = read_to
        return rows


def size_of(folder: Path) -> int:
    """Bytes of a folder's own files."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def table_of(rows: Sequence[Row]) -> Any:
    """Rows as a pyarrow table."""
    import pyarrow as pa

    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}, schema=schema())
