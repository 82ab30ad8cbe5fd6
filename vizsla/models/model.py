"""A loaded model that answers: what ``vizsla.load`` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.errors import ImageError, UsageError
from vizsla.images import DecodedImage, Limits, decode, from_memory, read_file
from vizsla.models import artifact
from vizsla.models.engine import Engine, OnnxEngine
from vizsla.notebook import Shown
from vizsla.settings import settings

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
"""A picture: the path of a file, a file's bytes, an image of Pillow's, or an array (height, width[, 3 or 4]), RGB."""


@dataclass(frozen=True)
class Prediction(Shown):
    """What the model says of one picture.

    ``source`` is the path, or says what was given. ``probabilities`` is float32 of shape (classes,), in the order of
    ``Model.classes``; ``top`` the most likely classes with their probabilities, most likely first; ``warning`` says
    that part of the picture's data is broken.

    Examples
    --------
    >>> prediction = model.predict("rose.jpg")  # doctest: +SKIP
    >>> prediction.label, prediction.top[1]  # doctest: +SKIP
    ('rose', ('tulip', 0.0213))
    """

    source: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: npt.NDArray[np.float32] = field(repr=False)
    warning: ImageError | None = None
    image: ImageSource | None = field(default=None, repr=False, compare=False)
    """What was given, where one picture alone was asked about."""

    def __repr__(self) -> str:
        others = ", ".join(f"{label} {share:.3f}" for label, share in self.top[1:3])
        warning = f", {self.warning.what}" if self.warning else ""
        return f"Prediction({self.label!r} {self.probability:.3f}{f', then {others}' if others else ''}{warning})"

    def open(self) -> Image.Image:
        """The picture, upright and RGB.

        Raises
        ------
        ImageError
            When it cannot be read any more, or was one of many that were not files.
        """
        limits = Limits.from_settings()
        return _opened(self.source if self.image is None else self.image, lambda data: decode(data, limits))[1].image

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla predict --json`` prints: a row of a data frame, too."""
        top = [{"label": label, "probability": round(share, 6)} for label, share in self.top]
        document = {"image": self.source, "label": self.label, "probability": self.probability, "top": top}
        return document | ({"warnings": [self.warning.to_dict()]} if self.warning else {})


class Model:
    """A classifier: preprocessing, backbone and head. Safe to use from several threads.

    Examples
    --------
    >>> model = vizsla.load("runs/train-photos")  # doctest: +SKIP
    >>> model.predict("rose.jpg").label  # doctest: +SKIP
    'rose'
    """

    def __init__(self, saved: artifact.SavedModel, engine: Engine) -> None:
        self.card = saved.card
        self.classes: tuple[str, ...] = tuple(saved.card.classes)
        self.preprocessing = saved.preprocessing
        self.head = saved.head
        self.engine = engine

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return f"Model({self.card.backbone.name}, {len(self.classes)} classes: {names})"

    def probabilities(self, data: bytes) -> npt.NDArray[np.float32]:
        """Class probabilities (classes,) for one picture's bytes.

        Raises
        ------
        ImageError
            When the bytes are no usable picture.
        """
        return self._classify(self.preprocessing.open(data, Limits.from_settings()))

    def _classify(self, decoded: DecodedImage) -> npt.NDArray[np.float32]:
        pixels = self.preprocessing.apply(decoded.image, decoded.full_size)
        result: npt.NDArray[np.float32] = self.head.probabilities(self.engine.features(pixels[None]))[0]
        return result

    def predict(self, image: ImageSource, *, top_k: int = 5, strict_images: bool = False) -> Prediction:
        """Classify one picture: a path, a file's bytes, an image of Pillow's, or an array of uint8, RGB.

        A picture part of whose data is broken is classified as its decoder shows it, with a ``warning``;
        ``strict_images`` refuses it.

        Raises
        ------
        ImageError
            When it cannot be read.
        UsageError
            When ``top_k`` is not at least 1, or ``image`` is something else.

        Examples
        --------
        >>> model.predict("rose.jpg").top  # doctest: +SKIP
        (('rose', 0.9713), ('tulip', 0.0213), ...)
        >>> model.predict(numpy.asarray(photo)).label  # doctest: +SKIP
        'rose'
        """
        return replace(self._answer(image, top_k, strict_images), image=image)

    def _answer(self, image: ImageSource, top_k: int, strict_images: bool) -> Prediction:
        if top_k < 1:
            raise UsageError(f"top_k={top_k} asks for no class.", allowed="1 or more")
        limits = Limits.from_settings()
        source, decoded = _opened(image, lambda data: self.preprocessing.open(data, limits))
        warning = decoded.warning()
        if warning and strict_images:
            raise _of(source, warning)
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
                return self._answer(image, top_k, strict_images)
            except ImageError as error:
                return error

        with ThreadPoolExecutor(settings().threads) as pool:
            yield from pool.map(one, images)


def _opened(image: ImageSource, decoder: Callable[[bytes], DecodedImage]) -> tuple[str, DecodedImage]:
    """The picture, and what to call it."""
    limits = Limits.from_settings()
    data: bytes | None = None
    if isinstance(image, bytes | bytearray | memoryview):
        source, data = f"<{len(image)} bytes>", bytes(image)
    elif isinstance(image, Image.Image):
        source = f"<a picture of {image.width} x {image.height}>"
    elif isinstance(image, np.ndarray):
        source = f"<an array of {' x '.join(map(str, image.shape))}>"
    elif isinstance(image, str | os.PathLike):
        source = os.fspath(image)
        data = read_file(source, limits)
    else:
        raise UsageError(
            f"{type(image).__name__} is no picture.",
            where="parameter image",
            allowed="a path, the bytes of a file, an image of Pillow's, or an array of uint8",
        )
    try:
        return source, from_memory(image, limits) if data is None else decoder(data)  # type: ignore[arg-type]
    except ImageError as error:
        raise _of(source, error) from error


def _of(source: str, error: ImageError) -> ImageError:
    return ImageError(error.kind, error.what, where=source, allowed=error.allowed, do=error.do)


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Load a saved model: a model directory, a job directory or a ``model.tar.gz``.

    ``threads`` is the number of cores that one prediction uses.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.

    Examples
    --------
    >>> vizsla.load("runs/train-photos").predict("rose.jpg").label  # doctest: +SKIP
    'rose'
    """
    saved = artifact.load(path)
    return Model(saved, OnnxEngine(saved.backbone, threads=threads))
