"""How quickly pictures go through a backbone here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from vizsla.errors import ImageError
from vizsla.images import Limits, Preprocessing, read_file
from vizsla.models.engine import Engine
from vizsla.training.features import Paths


def images_per_second(
    paths: Paths,
    rows: npt.NDArray[np.int64],
    preprocessing: Preprocessing,
    engine: Engine,
    threads: int,
    seconds: float,
) -> float:
    """Pictures a second, on all threads, over so many seconds or all ``rows``; those that are damaged count."""
    limits = Limits.from_settings()

    def one(row: int) -> None:
        try:
            engine.features(preprocessing(read_file(paths[row], limits), limits)[None])
        except ImageError:
            return

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, [int(row) for row in rows[: 2 * threads]]))  # the engine's first calls are slow
        began, done = time.monotonic(), 0
        for start in range(0, len(rows), 8 * threads):
            part = [int(row) for row in rows[start : start + 8 * threads]]
            list(pool.map(one, part))
            done += len(part)
            if time.monotonic() - began > seconds:
                break
    return done / (time.monotonic() - began)
