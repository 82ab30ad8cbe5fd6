"""A look at pictures for measuring: their features, how they look, which cannot be read. Each is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.data.scan import scan
from vizsla.errors import ImageError
from vizsla.evaluation.looks import LOOK, Looks, LookStore
from vizsla.images import Limits
from vizsla.settings import settings
from vizsla.training.features import extract
from vizsla.workflow.cluster_look import ClusterLook, is_elsewhere
from vizsla.workflow.look_companion import LookCompanion
from vizsla.workflow.observer import Observer
from vizsla.workflow.saved_model import OpenModel


@dataclass(frozen=True)
class Sight:
    """The pictures that could be read, as a model sees them, in the order in which they were named.

    ``rows`` says which of those that were named each is, int64 (n,); ``files`` where they lie. ``features`` is float32
    (n, d); ``records`` are those of the scan and ``looks`` of :data:`vizsla.evaluation.looks.LOOK` (zero where not
    asked for). ``damaged`` are the errors of those that could not be read, by row. ``computed`` pictures went through
    the backbone now.
    """

    files: list[Path]
    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    records: npt.NDArray[np.void]
    looks: Looks
    damaged: dict[int, ImageError]
    computed: int

    @property
    def sha256(self) -> npt.NDArray[np.uint8]:
        """The contents, uint8 (n, 32)."""
        contents: npt.NDArray[np.uint8] = self.records["sha256"]
        return contents

    def take(self, at: npt.NDArray[np.int64]) -> Sight:
        """Some of the pictures, by their places here."""
        files = [self.files[i] for i in at.tolist()]
        parts = (self.rows[at], self.features[at], self.records[at], self.looks[at])
        return Sight(files, *parts, self.damaged, self.computed)


def see(
    root: Path,
    paths: Sequence[str],
    model: OpenModel,
    observer: Observer,
    *,
    with_looks: bool = True,
    executor: str = "local",
) -> Sight:
    """Look at pictures, ``paths`` relative to ``root``; what was seen before is not opened again. ``executor`` says
    where: on this machine, or on a cluster.

    Raises
    ------
    StorageError
        When the cache cannot be written.
    """
    place, limits = settings(), Limits.from_settings()
    elsewhere: ClusterLook | None = None
    companion: LookCompanion | ClusterLook
    if is_elsewhere(executor):
        graph = model.saved.backbone
        companion = elsewhere = ClusterLook(executor, model.backbone, graph, place.cache, with_looks=with_looks)
    else:
        companion = LookCompanion.of(place.cache, model.backbone, model.engine, with_looks=with_looks)
    seen = scan(
        root,
        paths,
        cache=place.cache,
        threads=place.threads,
        limits=limits,
        with_quality=False,
        companion=companion,
        elsewhere=elsewhere,
        on_progress=observer.progress,
    )
    companion.flush()
    rows = np.flatnonzero(seen.readable)
    found = extract(
        [root / paths[row] for row in rows.tolist()],
        model.space,
        model.saved.preprocessing,
        model.engine,
        threads=place.threads,
        keys=seen.records["sha256"][rows],
    )
    usable = np.flatnonzero(found.usable)
    damaged = seen.errors | {int(rows[at]): error for at, error in found.damaged.items()}
    rows = rows[usable]
    records = seen.records[rows]
    looks = LookStore(place.cache).find(records["sha256"])[0] if with_looks else np.zeros(len(rows), LOOK)
    files = [root / paths[row] for row in rows.tolist()]
    computed = companion.computed + found.computed
    return Sight(files, rows, found.table.take(usable), records, looks, damaged, computed)
