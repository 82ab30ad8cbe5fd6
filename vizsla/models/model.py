"""A loaded model that answers: what ``vizsla.load`` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.errors import ImageError, UsageError
from vizsla.images import Decoded, Limits, read_file
from vizsla.models import artifact
from vizsla.models.engine import Engine, OnnxEngine
from vizsla.settings import settings

ImageSource = str | os.PathLike[str] | bytes
"""A picture: the path of a file, or a file's bytes."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    ``probabilities`` is float32 of shape (classes,), in the order of ``Model.classes``; ``top`` the most likely
    classes with their probabilities, most likely first; ``warning`` says that part of the picture's data is broken.
    """

    source: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32]
    warning: ImageError | None = None


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
        return self._classify(self.preprocessing.open(data, Limits.from_settings()))

    def _classify(self, decoded: Decoded) -> npt.NDArray[np.float32]:
        pixels = self.preprocessing.apply(decoded.image, decoded.full_size)
        result: npt.NDArray[np.float32] = self.head.probabilities(self.engine.features(pixels[None]))[0]
        return result

    def predict(self, image: ImageSource, *, top_k: int = 5, strict_images: bool = False) -> Prediction:
        """Classify one picture.

        A picture part of whose data is broken is classified as its decoder shows it, with a ``warning``;
        ``strict_images`` refuses it.

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
            decoded = self.preprocessing.open(data, Limits.from_settings())
            warning = decoded.warning()
            if warning and strict_images:
                raise warning
        except ImageError as error:
            raise _of(source, error) from error
        probabilities = self._classify(decoded)
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top = tuple((self.classes[i], float(probabilities[i])) for i in order)
        return Prediction(source, top[0][0], top[0][1], top, probabilities, warning and _of(source, warning))

    def predict_many(
        self, images: Iterable[ImageSource], *, top_k: int = 5, strict_images: bool = False
    ) -> Iterator[Prediction | ImageError]:
        """Classify pictures on all cores, in order; one that cannot be read gives its :class:`ImageError`."""

        def one(image: ImageSource) -> Prediction | ImageError:
            try:
                return self.predict(image, top_k=top_k, strict_images=strict_images)
            except ImageError as error:
                return error

        with ThreadPoolExecutor(settings().threads) as pool:
            yield from pool.map(one, images)


def _of(source: str, error: ImageError) -> ImageError:
    return ImageError(error.kind, error.what, where=source, allowed=error.allowed, do=error.do)


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
