"""The proof that a saved model answers what was evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.data import Dataset
from vizsla.errors import ModelError
from vizsla.images import Limits, read_file
from vizsla.models.model import load

_PICTURES = 16


def prove(dataset: Dataset, rows: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], written: Path) -> None:
    """Ask the written model itself about some of the test pictures: it must answer what was evaluated, to the bit.

    Parameters
    ----------
    rows, probabilities:
        The test pictures, and what was evaluated of them, (len(rows), classes).

    Raises
    ------
    ModelError
        When it does not.
    """
    model, limits = load(written), Limits.from_settings()
    for at in np.linspace(0, len(rows) - 1, min(_PICTURES, len(rows))).astype(int):
        path = dataset.path(int(rows[at]))
        if not np.array_equal(model.probabilities(read_file(path, limits)), probabilities[at]):
            raise ModelError(
                "The saved model does not answer what was evaluated.",
                where=path,
                do="the picture may have changed during the run: run again; if it persists, please report it",
            )
