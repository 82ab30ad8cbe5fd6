"""What a training job leaves besides the model: damaged pictures, predictions, where it all comes from."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from vizsla.data import SPLITS, Dataset
from vizsla.errors import ImageError
from vizsla.evaluation import Evaluation
from vizsla.evaluation.predictions import Predictions
from vizsla.files import sha256_json, write_bytes, write_json
from vizsla.version import VERSION

SEEN = "training-pictures.safetensors"
"""In a job's output: the pictures that its model was made with."""


def damaged_entries(dataset: Dataset, damaged: dict[int, ImageError]) -> list[dict[str, str]]:
    """The damaged pictures as plain JSON values."""
    return [
        {
            "path": dataset.paths[row],
            "split": SPLITS[dataset.splits[row]],
            "label": dataset.classes[dataset.labels[row]],
            "kind": error.kind,
            "what": error.what,
        }
        for row, error in damaged.items()
    ]


def write_damaged(path: Path, entries: list[dict[str, str]]) -> None:
    """One line of JSON a picture."""
    write_bytes(path, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


def write_predictions(
    path: Path, dataset: Dataset, rows: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> None:
    """A CSV of path, label, predicted and probability: one line for each of ``rows``."""
    classes, best = dataset.classes, probabilities.argmax(axis=1)
    lines = (
        (dataset.paths[row], classes[dataset.labels[row]], classes[guess], f"{p[guess]:.6f}")
        for row, guess, p in zip(rows, best, probabilities, strict=True)
    )
    write_csv(path, ("path", "label", "predicted", "probability"), lines)


def write_measured(path: Path, measured: Predictions) -> None:
    """A CSV of the pictures of an evaluation: path, label, predicted, probability, and what else is known of each."""
    classes, best = measured.classes, measured.predicted.tolist()
    lines = (
        (
            measured.paths[at],
            classes[measured.labels[at]],
            classes[guess],
            f"{measured.probabilities[at, guess]:.6f}",
            *(column[at] for column in measured.columns.values()),
        )
        for at, guess in enumerate(best)
    )
    write_csv(path, ("path", "label", "predicted", "probability", *measured.columns), lines)


def write_confusion(path: Path, evaluation: Evaluation) -> None:
    """A CSV of truth, predicted and pictures: one line for each pair of classes that occurs, right answers too."""
    names = [score.name for score in evaluation.classes]
    pairs = zip(*np.nonzero(evaluation.confusion), strict=True)
    lines = ((names[i], names[j], int(evaluation.confusion[i, j])) for i, j in pairs)
    write_csv(path, ("truth", "predicted", "pictures"), lines)


def write_csv(path: Path, columns: tuple[str, ...], lines: Iterable[tuple[object, ...]]) -> None:
    """A table with a line of names."""
    text = io.StringIO()
    csv.writer(text).writerows([columns, *lines])
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def dataset_digest(dataset: Dataset, keys: npt.NDArray[np.uint8]) -> str:
    """One digest over every picture's path, label, split and content (``keys``, SHA-256, uint8 of (n, 32))."""
    contents = keys.tobytes().hex()
    return sha256_json(
        [
            [
                dataset.paths[i],
                dataset.classes[dataset.labels[i]],
                SPLITS[dataset.splits[i]],
                contents[64 * i : 64 * i + 64],
            ]
            for i in range(len(dataset))
        ]
    )


def features_identity(digest: str, space: str, usable: npt.NDArray[np.bool_]) -> str:
    """One digest over all that the bits of a training on features follow from, on one machine, but its configuration.

    Parameters
    ----------
    digest:
        That of the data set.
    space:
        What tells the features' preprocessing, backbone and engine from others.
    usable:
        Which pictures have features, bool (n,).
    """
    parts = [digest, space, hashlib.sha256(usable.tobytes()).hexdigest(), versions()]
    return sha256_json(parts)


def other_data(path: Path, dataset: Dataset, looked_at: npt.NDArray[np.uint8]) -> str | None:
    """Words for a job that is started again on other data than it began with; ``path`` keeps what it began with.

    Parameters
    ----------
    looked_at:
        SHA-256 of each picture of the source, uint8 (n, 32).
    """
    parts = (looked_at, dataset.labels, dataset.splits)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    now = {"pictures": len(dataset), "sha256": digest}
    before = json.loads(path.read_bytes()) if path.exists() else now
    if not path.exists():
        write_json(path, now)
    if before["sha256"] == digest:
        return None
    return (
        f"The data are not those that this job began with ({before['pictures']:,} pictures then, {len(dataset):,} "
        "now): its result is that of the data as they are now."
    )


@dataclass(frozen=True)
class Seen:
    """What a model was made with: the contents of the pictures, uint8 (n, 32), their labels, int32 (n,), and their
    splits, int8 (n,)."""

    sha256: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]

    def write(self, path: Path) -> None:
        """Keep it.

        Raises
        ------
        StorageError
            When the file system refuses.
        """
        write_bytes(path, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in vars(self).items()}))

    @classmethod
    def read(cls, path: Path) -> Seen | None:
        """What was kept; None where there is nothing that can be read."""
        try:
            return cls(**safetensors.numpy.load_file(path))
        except (OSError, TypeError, safetensors.SafetensorError):
            return None

    def rows(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """The row of each of some contents (n, 32), -1 for one that is not among these."""
        known = {row.tobytes(): at for at, row in enumerate(np.ascontiguousarray(self.sha256))}
        return np.array([known.get(row.tobytes(), -1) for row in np.ascontiguousarray(sha256)], np.int64)


def versions() -> dict[str, str]:
    """The versions of everything that has a say in a model's numbers."""
    numbers = {"vizsla": VERSION, "python": platform.python_version()}
    for package in ("numpy", "pillow", "onnxruntime", "torch", "timm"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            numbers[package] = importlib.metadata.version(package)
    return numbers
