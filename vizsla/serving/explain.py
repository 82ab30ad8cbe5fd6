"""Which part of the picture spoke for the class: the class activation map (Zhou et al. 2016, arXiv:1512.04150)."""

from __future__ import annotations

from PIL import Image

from vizsla.errors import ImageError, ModelError
from vizsla.evaluation.explanation.activation_map import activation_map
from vizsla.images import DecodedImage, Limits
from vizsla.serving.answers import Answer
from vizsla.serving.backbones import ServedModel
from vizsla.serving.bodies import Picture
from vizsla.serving.faults import RequestError


def open_picture(picture: Picture, model: ServedModel, limits: Limits) -> DecodedImage:
    """The upright RGB picture, and its full size (width, height)."""
    if isinstance(picture, bytes):
        return model.preprocessing.open(picture, limits)
    image = Image.fromarray(picture)
    return DecodedImage(image, image.size, b"", suspect=False)


def explain(decoded: DecodedImage, model: ServedModel, warning: ImageError | None) -> Answer:
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
    probabilities = model.head.probabilities(features)[0]
    try:
        found = activation_map(features, feature_map, model.head, int(probabilities.argmax()), model.backbone.name)
    except ModelError as error:
        raise RequestError("explanation", error.what, do="ask without an explanation") from error
    return Answer(
        probabilities,
        {"class_activation_map": found.scaled().tolist(), "box": model.preprocessing.box(decoded.full_size)},
        warning,
    )
