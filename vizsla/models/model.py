"""A loaded model that answers: what ``vizsla.load`` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.errors import ImageError, UsageError
from vizsla.images import Limits, read_file
from vizsla.models import artifact
from vizsla.models.engine import Engine, OnnxEngine
from vizsla.settings import settings

ImageSource = str | os.PathLike[str] | bytes
"""A picture: the path of a file, or a file's bytes."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    ``probabilities`` is float32 of shape (classes,), in the order of ``Model.classes``; ``top`` the most likely
    classes with their probabilities, most likely first.
    """

    source: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32]


class Model:
    """A classifier: preprocessing, backbone and head. Safe to use from several threads."""

    def __init__(self, saved: artifact.SavedModel, engine: Engine) -> None:
        self.card = saved.card
        self.classes: tuple[str, ...] = tuple(saved.card.classes)
        self.preprocessing = saved.preprocessing
        self.head = saved.head
        self.engine = engine

    def probabilities(self, data: bytes) -> npt.NDArray[np.float32]:
        """Class probabilities (classes,) for one picture's bytes.

        Raises
        ------
        ImageError
            When the bytes are no usable picture.
        """
        pixels = self.preprocessing(data, Limits.from_settings())
        result: npt.NDArray[np.float32] = self.head.probabilities(self.engine.features(pixels[None]))[0]
        return result

    def predict(self, image: ImageSource, *, top_k: int = 5) -> Prediction:
        """Classify one picture.

        Raises
        ------
        ImageError
            When it cannot be read.
        UsageError
            When ``top_k`` is not at least 1.
        """
        if top_k < 1:
            raise UsageError(f"top_k={top_k} asks for no class.", allowed="1 or more")
        if isinstance(image, bytes):
            source, data = f"<{len(image)} bytes>", image
        else:
            source = os.fspath(image)
            data = read_file(source, Limits.from_settings())
        try:
            probabilities = self.probabilities(data)
        except ImageError as error:
            raise ImageError(error.kind, error.what, where=source, allowed=error.allowed, do=error.do) from error
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top = tuple((self.classes[i], float(probabilities[i])) for i in order)
        return Prediction(source, top[0][0], top[0][1], top, probabilities)

    def predict_many(self, images: Iterable[ImageSource], *, top_k: int = 5) -> Iterator[Prediction | ImageError]:
        """Classify pictures on all cores, in order; one that cannot be read gives its :class:`ImageError`."""

        def one(image: ImageSource) -> Prediction | ImageError:
            try:
                return self.predict(image, top_k=top_k)
            except ImageError as error:
                return error

        with ThreadPoolExecutor(settings().threads) as pool:
            yield from pool.map(one, images)


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Load a saved model: a model directory, a job directory or a ``model.tar.gz``.

    ``threads`` is the number of cores that one prediction uses.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    """
    saved = artifact.load(path)
    return Model(saved, OnnxEngine(saved.backbone, threads=threads))
