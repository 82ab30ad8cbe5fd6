"""What the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Dataset
from vizsla.data.duplicates import Clusters
from vizsla.data.near_copies import NearCopies
from vizsla.data.scan import Scan
from vizsla.findings import Finding, FindingFile


@dataclass(frozen=True)
class Facts:
    """The data set with its splits, what the scan saw, and which pictures are copies or look alike.

    ``groups`` are those that the source or ``group_by`` names.
    """

    dataset: Dataset
    scan: Scan
    exact: Clusters
    near: NearCopies
    groups: Clusters

    def file(self, row: int, detail: str, cluster: int | None = None) -> FindingFile:
        """One picture of a finding."""
        dataset = self.dataset
        return FindingFile(
            row, dataset.paths[row], dataset.classes[dataset.labels[row]], SPLITS[dataset.splits[row]], detail, cluster
        )

    def files(self, rows: Iterable[int], detail: Callable[[int], str]) -> tuple[FindingFile, ...]:
        """Pictures of a finding, each with its own detail."""
        return tuple(self.file(int(row), detail(int(row))) for row in rows)

    def sets(self, sets: Iterable[npt.NDArray[np.int64]], detail: Callable[[int], str]) -> tuple[FindingFile, ...]:
        """Pictures of a finding, numbered by the set that they are in."""
        return tuple(self.file(row, detail(row), at) for at, rows in enumerate(sets, start=1) for row in rows.tolist())


Check = Callable[[Facts], Finding | None]
