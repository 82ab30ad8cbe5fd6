"""JSON lines to Parquet: an hour when it is over, all that is left when the job has ended."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vizsla.files import replacing
from vizsla.profiling.samples import COLUMNS, Builder, size_of

KEPT_BYTES = 64 << 20
"""JSON lines that stay beside their Parquet, for what reads SageMaker's files. Of a longer profile they go."""
KINDS = ("system", "process")


def main(words: Sequence[str]) -> None:
    """``PROFILER-OUTPUT HOUR``."""
    folder, hour = Path(words[0]), words[1]
    for kind in KINDS:
        compact_hour(folder / kind, hour)


def compact_all(output: Path) -> None:
    """Every hour of a job that has ended."""
    for kind in KINDS:
        for path in sorted((output / kind / "incremental").glob("*")):
            if path.is_dir():
                compact_hour(output / kind, path.name)


def compact_hour(folder: Path, hour: str) -> None:
    """One hour; nothing without pyarrow, as the lines can be read as well.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return
    source = folder / "incremental" / hour
    if not source.is_dir():
        return
    builder = Builder()
    builder.add_hour(folder, hour)
    samples = builder.samples()
    if not len(samples):
        return
    words = [[series[i] for series in samples.series] for i in (1, 2, 3, 0)]
    columns = [pa.array(samples.us), pa.array(samples.values)]
    for names in words:
        known = list(dict.fromkeys(names))
        codes = np.array([known.index(name) for name in names], np.int32)[samples.which]
        columns.append(pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(known)))
    with replacing(folder / f"{hour}.parquet") as file:
        parquet.write_table(pa.table(columns, names=list(COLUMNS)), file, compression="zstd")
    if size_of(list((folder / "incremental").glob("*/*.json"))) > KEPT_BYTES:
        shutil.rmtree(source, ignore_errors=True)
