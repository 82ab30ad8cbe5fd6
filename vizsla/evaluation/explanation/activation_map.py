"""Which places of a picture spoke for a class: the class activation map (Zhou et al. 2016, arXiv:1512.04150).

Where the features are the mean of the last feature map, and the head is linear in them, this is no estimate: the places
add up to the logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.errors import ModelError
from vizsla.models.heads import Head

_TOLERANCE = 1e-3
"""How far the features may be from the mean of the map, relative to the largest of them."""


@dataclass(frozen=True)
class ActivationMap:
    """``evidence`` float64 (h, w) is what each place adds to the logit of a class, ``bias`` what it begins with: their
    sum is ``logit``."""

    evidence: npt.NDArray[np.float64]
    bias: float
    logit: float

    def scaled(self) -> npt.NDArray[np.float64]:
        """The evidence in 0..1, rounded to 4 digits: what speaks against the class is 0."""
        positive = np.maximum(self.evidence, 0)
        peak = positive.max()
        result: npt.NDArray[np.float64] = np.round(positive / peak, 4) if peak > 0 else positive
        return result


def activation_map(
    features: npt.NDArray[np.float32], feature_map: npt.NDArray[np.float32], head: Head, label: int, backbone: str
) -> ActivationMap:
    """The map of class ``label`` for one picture.

    Parameters
    ----------
    features, feature_map:
        What the backbone says of it, (1, d) and (1, d, h, w).
    backbone:
        Its name, for words.

    Raises
    ------
    ModelError
        When the backbone has no feature map that its features are the mean of.
    """
    if not _is_mean(features, feature_map):
        raise ModelError(
            f"The backbone {backbone} has no feature map that its features are the average of: there is no exact map.",
            allowed="networks that end in a global average, such as resnet18 or mobilenetv2_100",
            do="ask for the method kernel_shap, which needs no feature map",
        )
    evidence = head.evidence(feature_map[0], label) / feature_map[0, 0].size
    return ActivationMap(evidence, float(head.bias[label]), float(head.logits(features)[0, label]))


def _is_mean(features: npt.NDArray[np.float32], feature_map: npt.NDArray[np.float32]) -> bool:
    if feature_map.ndim != 4 or feature_map.shape[1] != features.shape[1]:
        return False
    gap = np.abs(feature_map.mean(axis=(2, 3), dtype=np.float64) - features).max()
    return bool(gap <= _TOLERANCE * max(1e-6, float(np.abs(features).max())))
