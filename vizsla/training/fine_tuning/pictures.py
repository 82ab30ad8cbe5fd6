"""The pictures of a data set, as trainers of a backbone are given them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.training.features import Paths


@dataclass(frozen=True)
class Pictures:
    """Pictures by row: their files, and SHA-256 of each one's bytes, uint8 (n, 32)."""

    paths: Paths
    keys: npt.NDArray[np.uint8]
