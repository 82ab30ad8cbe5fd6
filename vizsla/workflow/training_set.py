"""The pictures that a saved model was trained on, found again by the job that made it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vizsla.data import SPLITS, Dataset, Split
from vizsla.errors import DataError, VizslaError
from vizsla.training.head_data import HeadData
from vizsla.training.table import FeatureTable
from vizsla.workflow.document import from_job
from vizsla.workflow.gate import DataRequest, read_data
from vizsla.workflow.observer import Observer
from vizsla.workflow.records import SEEN, Seen
from vizsla.workflow.saved_model import OpenModel
from vizsla.workflow.sight import Sight, see


@dataclass(frozen=True)
class TrainingSet:
    """Training and validation pictures of a model, as it sees them.

    ``labels`` int32 (n,) are positions in the model's classes, ``splits`` int8 (n,) in :data:`vizsla.data.SPLITS`.
    ``seen`` are the contents of all that the model was made with, uint8 (m, 32), also of those that are gone since.
    """

    sight: Sight
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]
    paths: list[str]
    classes: int
    seen: npt.NDArray[np.uint8]

    def rows(self, split: Split) -> npt.NDArray[np.int64]:
        """The rows of one split."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    @cached_property
    def data(self) -> HeadData:
        """What heads are trained on."""
        table = FeatureTable.of(self.sight.features)
        return HeadData(table, self.labels, self.rows("train"), self.rows("valid"), self.classes)

    def holds(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which contents (n, 32) uint8 are among these pictures, bool (n,)."""
        own = {row.tobytes() for row in np.ascontiguousarray(self.seen)}
        return np.array([row.tobytes() in own for row in np.ascontiguousarray(sha256)], bool)


def find_training_set(model: OpenModel, place: str | None, observer: Observer) -> tuple[TrainingSet | None, str]:
    """The training set, or None and why there is none.

    Parameters
    ----------
    place:
        Where the pictures lie; None asks the job that made the model.

    Raises
    ------
    DataError
        When ``place`` is given and cannot be used.
    """
    try:
        dataset = _dataset(model, place)
        if dataset is None:
            return None, f"the job that made the model ({model.saved.card.provenance.job}) is not there any more"
        position = {name: i for i, name in enumerate(model.classes)}
        if not set(dataset.classes) <= set(position):
            raise DataError("These are not the pictures that the model was trained on: they have other classes.")
        rows = np.flatnonzero(dataset.splits != SPLITS.index("test"))
        sight = see(dataset.root, [dataset.paths[row] for row in rows.tolist()], model, observer, with_looks=False)
    except VizslaError as error:
        if place is not None:
            raise
        return None, error.what
    rows = rows[sight.rows]
    labels = np.array([position[name] for name in dataset.classes], np.int32)[dataset.labels[rows]]
    splits = dataset.splits[rows]
    seen = None if place is not None else _seen(model)
    contents = sight.sha256
    if seen is not None:  # the folder may have changed since
        at = seen.rows(sight.sha256)
        sight, rows = sight.take(np.flatnonzero(at >= 0)), rows[at >= 0]
        labels, splits, contents = seen.labels[at[at >= 0]], seen.splits[at[at >= 0]], seen.sha256
    paths = [dataset.paths[row] for row in rows.tolist()]
    return TrainingSet(sight, labels, splits, paths, len(position), contents), ""


def _seen(model: OpenModel) -> Seen | None:
    job = model.job()
    return None if job is None else Seen.read(job.output / SEEN)


def _dataset(model: OpenModel, place: str | None) -> Dataset | None:
    if place is not None:
        return read_data(DataRequest(place, seed=model.saved.card.provenance.seed, with_quality=False))
    job = model.job()
    return None if job is None else read_data(from_job(job.document).data_request())
