"""What a trunk says of several views of each picture: float16 on disk, mapped into memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.files import replacing, storage
from vizsla.models.engine import OnnxEngine

Rows = npt.NDArray[np.int64]
View = Callable[[int], npt.NDArray[np.uint8]]
"""One view of a picture by its row: (size, size, 3) uint8."""
Progress = Callable[[int], None]


class ActivationFile:
    """One view of every picture, as the trunk left it: (rows, ...) float16."""

    def __init__(self, path: Path, rows: Rows, shape: tuple[int, ...]) -> None:
        self._made_of = path, rows, shape
        self._values: npt.NDArray[np.float16] = np.memmap(path, np.float16, "r", shape=(len(rows), *shape))
        self._at = np.full(int(rows.max()) + 1, -1, np.int64)
        self._at[rows] = np.arange(len(rows))
        os.utime(path)  # used now: what bounds the cache looks at this

    def __reduce__(self) -> tuple[type[ActivationFile], tuple[Path, Rows, tuple[int, ...]]]:
        return ActivationFile, self._made_of  # another process maps the file itself

    def take(self, rows: Rows) -> npt.NDArray[np.float16]:
        """A copy of some rows."""
        taken: npt.NDArray[np.float16] = self._values[self._at[rows]]
        return taken


def ensure_activations(
    path: Path,
    rows: Rows,
    shape: tuple[int, ...],
    view: View,
    engine: OnnxEngine,
    *,
    threads: int,
    on_done: Progress = lambda count: None,
) -> ActivationFile:
    """The file, made now if it is not there; it appears whole. One call of the engine a picture, a call a core.

    Raises
    ------
    StorageError
        When the disk cannot hold it.
    """
    if not path.exists():
        size = 2 * int(np.prod(shape))
        with replacing(path, make_folder=True) as file:
            descriptor, lock = file.fileno(), threading.Lock()
            with storage(path):
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, size * len(rows))

            def run(at: int) -> None:
                values = engine.activations(view(int(rows[at]))[None])[0]
                with storage(path):
                    os.pwrite(descriptor, np.clip(values, -65504, 65504).astype(np.float16).tobytes(), at * size)
                with lock:
                    on_done(1)

            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(run, range(len(rows))):
                    pass
    else:
        on_done(len(rows))
    return ActivationFile(path, rows, shape)
