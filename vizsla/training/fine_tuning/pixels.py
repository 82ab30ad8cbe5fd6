"""Pictures decoded once: uint8 on disk, mapped into memory, shared by epochs, trials and later runs.

A file holds the pictures of one data set, the shorter side as long as the recipe needs, one after another, and at its
end where each begins and how large it is. It appears whole, under a name made of the pictures' contents.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.files import replacing, sha256_json, storage
from vizsla.images import Limits, Preprocessing, read_file
from vizsla.training.features import Paths, Progress

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

_VERSION = 1


class PixelStore:
    """The decoded pictures of some rows of a data set.

    Examples
    --------
    >>> store = PixelStore.open(cache, dataset, keys, rows, preprocessing, threads=2)  # doctest: +SKIP
    >>> store.picture(rows[0]).shape  # doctest: +SKIP
    (256, 341, 3)
    """

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path, self._rows = path, rows
        self._bytes: Pixels = np.memmap(path, np.uint8, "r")
        self._index = np.frombuffer(self._bytes[-24 * len(rows) :].tobytes(), np.int64).reshape(-1, 3)
        self._at = {int(row): at for at, row in enumerate(rows)}
        os.utime(path)  # used now: what bounds the cache looks at this

    def __reduce__(self) -> tuple[type[PixelStore], tuple[Path, Rows]]:
        return PixelStore, (self.path, self._rows)  # another process maps the file itself

    @classmethod
    def open(
        cls,
        cache: Path,
        paths: Paths,
        keys: Pixels,
        rows: Rows,
        preprocessing: Preprocessing,
        *,
        threads: int,
        as_model_input: bool = False,
        on_progress: Progress = lambda done, total: None,
    ) -> PixelStore:
        """The stored pictures of ``rows``, decoded now where they were not before.

        Parameters
        ----------
        keys:
            SHA-256 of each picture's bytes, uint8 (n, 32), by row of the data set.
        as_model_input:
            Whether they are cropped as the saved model sees them, (size, size, 3); else whole, for crops to be drawn.

        Raises
        ------
        StorageError
            When the disk cannot hold them.
        ImageError
            When a picture that could be read before cannot any more.
        """
        side = preprocessing.resize
        content = [_VERSION, side, preprocessing.interpolation, preprocessing.crop, keys[rows].tobytes().hex()]
        content += [preprocessing.size] if as_model_input else []
        path = cache / "pixels" / f"{sha256_json(content)[:32]}.pixels"
        if not path.exists():
            prepare = preprocessing if as_model_input else preprocessing.scaled
            _write(path, [paths[int(row)] for row in rows], prepare, threads, on_progress)
        return cls(path, rows)

    def picture(self, row: int) -> Pixels:
        """One picture, (h, w, 3) uint8 RGB; a view of the file."""
        start, height, width = self._index[self._at[row]]
        return self._bytes[start : start + height * width * 3].reshape(height, width, 3)


def _write(
    path: Path,
    pictures: Sequence[Path],
    prepare: Callable[[bytes, Limits], Pixels],
    threads: int,
    on_progress: Progress,
) -> None:
    index = np.zeros((len(pictures), 3), np.int64)
    limits, lock = Limits.from_settings(), threading.Lock()
    end = done = 0
    with replacing(path, make_folder=True) as file:
        descriptor = file.fileno()

        def store(at: int) -> None:
            nonlocal end, done
            pixels = prepare(read_file(pictures[at], limits), limits)
            with lock:
                start, end = end, end + pixels.nbytes
            index[at] = start, *pixels.shape[:2]
            with storage(path):
                os.pwrite(descriptor, pixels.tobytes(), start)
            with lock:
                done += 1
                on_progress(done, len(pictures))

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(store, range(len(pictures))):
                pass
        os.pwrite(descriptor, index.tobytes(), end)
