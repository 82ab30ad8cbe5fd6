"""What is explained: a saved model, looked into, or any other, asked by pictures as an endpoint is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.errors import DataError
from vizsla.evaluation.explanation.asking import Pictures, answers
from vizsla.images import DecodedImage, Limits, decode, read_file
from vizsla.settings import settings
from vizsla.workflow.predictor import AskedModel, Predictor
from vizsla.workflow.saved_model import OpenModel

_SIDE = 320
"""Pixels of the longer side of a picture that a model is asked about that says nothing of its own input."""
_BATCH = 64

Pixels = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]


class Look(NamedTuple):
    """What is said of one picture, (classes,), and what it was said by, where that can be seen."""

    probabilities: npt.NDArray[np.floating]
    features: Features | None = None
    feature_map: Features | None = None


class Subject(Protocol):
    """A model that is explained."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Its classes, in the order of the probabilities."""
        ...

    @property
    def size(self) -> int | None:
        """The side of its input, where it has one."""
        ...

    def open(self, image: str) -> DecodedImage:
        """Decode a picture."""
        ...

    def pixels(self, decoded: DecodedImage) -> Pixels:
        """A picture as it is explained, (h, w, 3)."""
        ...

    def box(self, decoded: DecodedImage) -> tuple[float, float, float, float]:
        """The part of the picture that these pixels are."""
        ...

    def look(self, pixels: Pixels) -> Look:
        """What is said of one."""
        ...

    def answers(self, pictures: Pictures | Sequence[Pixels]) -> Doubles:
        """The probabilities of each, (n, classes)."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


@dataclass(frozen=True)
class SavedSubject:
    """A model that Vizsla saved: its own preprocessing, engine and head."""

    model: OpenModel
    limits: Limits
    threads: int

    @property
    def path(self) -> Path:
        """See :class:`Subject`."""
        return self.model.path

    @property
    def classes(self) -> Sequence[str]:
        """See :class:`Subject`."""
        return self.model.classes

    @property
    def size(self) -> int:
        """See :class:`Subject`."""
        return self.model.saved.card.preprocessing.size

    def open(self, image: str) -> DecodedImage:
        """See :class:`Subject`."""
        return self.model.saved.preprocessing.open(read_file(image, self.limits), self.limits)

    def pixels(self, decoded: DecodedImage) -> Pixels:
        """See :class:`Subject`."""
        return self.model.saved.preprocessing.apply(decoded.image, decoded.full_size)

    def box(self, decoded: DecodedImage) -> tuple[float, float, float, float]:
        """See :class:`Subject`."""
        return self.model.saved.preprocessing.box(decoded.full_size)

    def look(self, pixels: Pixels) -> Look:
        """See :class:`Subject`."""
        features, feature_map = self.model.engine.features_and_map(pixels[None])
        return Look(self.model.saved.head.probabilities(features)[0], features, feature_map)

    def answers(self, pictures: Pictures | Sequence[Pixels]) -> Doubles:
        """See :class:`Subject`."""
        return answers(self.model.engine, self.model.saved.head, pictures, self.threads)

    def close(self) -> None:
        """Nothing to do."""


class AskedSubject:
    """A model of which only its answers are known: it gets pictures as files, of at most 320 pixels a side.

    Raises
    ------
    DataError
        When it gives no scores.
    """

    size: int | None = None

    def __init__(self, path: Path, predictor: Predictor, *, allow_code: bool) -> None:
        self.path = path
        self._limits = Limits.from_settings()
        self._format = "JPEG" if predictor.content_type == "image/jpeg" else "PNG"
        self._asked = AskedModel(path, predictor, allow_code=allow_code)
        try:
            count = len(self._scores([np.full((_SIDE, _SIDE, 3), 128, np.uint8)])[0])
        except BaseException:
            self._asked.close()
            raise
        names = self._asked.classes
        self.classes: Sequence[str] = names if len(names) == count else tuple(map(str, range(count)))

    def open(self, image: str) -> DecodedImage:
        """See :class:`Subject`."""
        return decode(read_file(image, self._limits), self._limits, short_side=_SIDE)

    def pixels(self, decoded: DecodedImage) -> Pixels:
        """See :class:`Subject`."""
        image = decoded.image.copy()
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        return np.asarray(image)

    def box(self, decoded: DecodedImage) -> tuple[float, float, float, float]:
        """See :class:`Subject`."""
        return 0.0, 0.0, 1.0, 1.0

    def look(self, pixels: Pixels) -> Look:
        """See :class:`Subject`."""
        return Look(self.answers([pixels])[0])

    def answers(self, pictures: Pictures | Sequence[Pixels]) -> Doubles:
        """See :class:`Subject`."""
        found: list[list[float]] = []
        for start in range(0, len(pictures), _BATCH):
            found += self._scores([pictures[at] for at in range(start, min(start + _BATCH, len(pictures)))])
        if len({len(row) for row in found}) > 1:
            raise DataError("The model's answers are not of one length.", where=self.path)
        return np.array(found, np.float64)

    def _scores(self, pictures: Sequence[Pixels]) -> list[list[float]]:
        return [self._asked.predictor.scores(answer) for answer in self._asked.ask([*map(self._file, pictures)])]

    def _file(self, pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self._format, quality=95, compress_level=1)
        return file.getvalue()

    def close(self) -> None:
        """See :class:`Subject`."""
        self._asked.close()


def saved_subject(model: str) -> SavedSubject:
    """The saved model that is meant.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    """
    return SavedSubject(OpenModel.of(model), Limits.from_settings(), settings().threads)
