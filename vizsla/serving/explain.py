"""Which part of the picture spoke for the class: the class activation map (Zhou et al. 2016, arXiv:1512.04150)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.errors import ImageError
from vizsla.images import Decoded, Limits
from vizsla.serving.answers import Answered
from vizsla.serving.backbones import ServedModel
from vizsla.serving.bodies import Picture
from vizsla.serving.faults import RequestError


def opened(picture: Picture, model: ServedModel, limits: Limits) -> Decoded:
    """The upright RGB picture, and its full size (width, height)."""
    if isinstance(picture, bytes):
        return model.preprocessing.open(picture, limits)
    image = Image.fromarray(picture)
    return Decoded(image, image.size, b"", suspect=False)


def explained(decoded: Decoded, model: ServedModel, warning: ImageError | None) -> Answered:
    """The answer to a picture with the map of its most likely class.

    The explanation is plain JSON: ``class_activation_map``, rows of numbers in 0..1 (1 the strongest evidence in
    this picture), and ``box``, the part of the upright picture that the map covers, as fractions (left, top,
    right, bottom).

    Raises
    ------
    RequestError
        ``explanation`` when the backbone's features are no average of its last feature map.
    """
    pixels = model.preprocessing.apply(decoded.image, decoded.full_size)
    features, feature_map = model.backbone.features_and_map(pixels[None])
    if feature_map.ndim != 4 or feature_map.shape[1] != features.shape[1]:
        raise RequestError(
            "explanation",
            f"The backbone {model.backbone.name} has no feature map that its features are the average of.",
            do="ask without an explanation",
        )
    probabilities = model.head.probabilities(features)[0]
    return Answered(
        probabilities,
        {
            "class_activation_map": class_activation_map(
                feature_map[0], model.head.weight[int(probabilities.argmax())]
            ).tolist(),
            "box": model.preprocessing.box(decoded.full_size),
        },
        warning,
    )


def class_activation_map(
    feature_map: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Feature map (d, h, w) and one class's weights (d,) to (h, w) in 0..1, rounded to 4 digits."""
    evidence = np.maximum(np.einsum("dhw,d->hw", feature_map, weight, dtype=np.float64), 0)
    peak = evidence.max()
    scaled: npt.NDArray[np.float64] = np.round(evidence / peak, 4) if peak > 0 else evidence
    return scaled
