"""Bias of a model's predictions: Clarify's post-training metrics.

Source: the SageMaker developer guide, "Measure Post-training Data and Model Bias"; smclarify,
``bias/metrics/posttraining.py``. Signs are smclarify's: SD, DCR and DRR are the facet's less the others', the rest the
others' less the facet's. Shapes as in :mod:`vizsla.evaluation.bias.pretraining`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.bias.division import Doubles, divide, subtract
from vizsla.evaluation.bias.pretraining import weighted_disparity

_NEIGHBOURS, _FEW = 5, 9
"""Rows of group a that judge one of d; of so few rows of a, one does. As in smclarify."""


@dataclass(frozen=True)
class PredictionCounts:
    """``cells`` (..., 2 groups, 2, 2) counts rows by group, by whether the label is positive and by whether the
    prediction is; ``strata`` (..., 2 groups, 2, strata) by whether the prediction is positive within each stratum."""

    cells: Doubles
    strata: Doubles | None = None

    @property
    def tp(self) -> Doubles:
        """Positive and predicted so, (..., 2 groups)."""
        return self.cells[..., 1, 1]

    @property
    def fn(self) -> Doubles:
        """Positive, and predicted not to be."""
        return self.cells[..., 1, 0]

    @property
    def fp(self) -> Doubles:
        """Negative, and predicted positive."""
        return self.cells[..., 0, 1]

    @property
    def tn(self) -> Doubles:
        """Negative and predicted so."""
        return self.cells[..., 0, 0]

    @property
    def n(self) -> Doubles:
        """Rows."""
        n: Doubles = self.cells.sum(axis=(-2, -1))
        return n


def _others_less_facet(rate: Doubles) -> Doubles:
    return subtract(rate[..., 0], rate[..., 1])


def difference_in_predicted_proportions(c: PredictionCounts) -> Doubles:
    """DPPL: q'_a - q'_d, with q' the share of positive predictions."""
    return _others_less_facet(divide(c.tp + c.fp, c.n))


def disparate_impact(c: PredictionCounts) -> Doubles:
    """DI: q'_d / q'_a."""
    q = divide(c.tp + c.fp, c.n)
    return divide(q[..., 1], q[..., 0])


def conditional_acceptance(c: PredictionCounts) -> Doubles:
    """DCA: observed over predicted positives, of a less of d."""
    return _others_less_facet(divide(c.tp + c.fn, c.tp + c.fp))


def conditional_rejection(c: PredictionCounts) -> Doubles:
    """DCR: observed over predicted negatives, of d less of a."""
    return -_others_less_facet(divide(c.tn + c.fp, c.tn + c.fn)) + 0.0


def recall_difference(c: PredictionCounts) -> Doubles:
    """RD: recall of a less of d."""
    return _others_less_facet(divide(c.tp, c.tp + c.fn))


def specificity_difference(c: PredictionCounts) -> Doubles:
    """SD: specificity of d less of a."""
    return -_others_less_facet(divide(c.tn, c.tn + c.fp)) + 0.0


def acceptance_rates(c: PredictionCounts) -> Doubles:
    """DAR: precision of a less of d."""
    return _others_less_facet(divide(c.tp, c.tp + c.fp))


def rejection_rates(c: PredictionCounts) -> Doubles:
    """DRR: the share of predicted negatives that are such, of d less of a."""
    return -_others_less_facet(divide(c.tn, c.tn + c.fn)) + 0.0


def accuracy_difference(c: PredictionCounts) -> Doubles:
    """AD: accuracy of a less of d."""
    return _others_less_facet(divide(c.tp + c.tn, c.n))


def treatment_equality(c: PredictionCounts) -> Doubles:
    """TE: false negatives over false positives, of d less of a."""
    ratio = divide(c.fn, c.fp)
    return subtract(ratio[..., 1], ratio[..., 0])


def conditional_predicted_disparity(c: PredictionCounts) -> Doubles:
    """CDDPL: as CDDL, of predictions."""
    assert c.strata is not None
    return weighted_disparity(c.strata)


def generalised_entropy(c: PredictionCounts) -> Doubles:
    """GE with alpha 2: half the mean of (b / mean b)^2 - 1, with the benefit b = prediction - label + 1."""
    benefit = np.array([[1.0, 2.0], [0.0, 1.0]])  # by label, then prediction
    cells = c.cells.sum(axis=-3)
    n = cells.sum(axis=(-2, -1))
    mean = divide((cells * benefit).sum(axis=(-2, -1)), n)
    squares = divide((cells * benefit**2).sum(axis=(-2, -1)), n)
    return np.where(mean == 0, 0.0, (divide(squares, mean**2) - 1) / 2)


def flips(
    features: npt.NDArray[np.float64], facet: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Of each row of the facet whether its nearest rows among the others have another prediction, int64 (facet rows,):
    1 where it is accepted and they are not, -1 where they are accepted and it is not, else 0.

    Their mean is Clarify's FT, (F+ - F-) / n_d. The five nearest vote, or one where there are at most nine others.
    """
    others, own = features[~facet], features[facet]
    k = 1 if len(others) <= _FEW else _NEIGHBOURS
    votes = np.empty(len(own), np.int64)
    answers = predicted[~facet]
    squares = (others**2).sum(axis=1)
    for start in range(0, len(own), 1024):
        block = own[start : start + 1024]
        distance = squares[None] - 2 * block @ others.T
        nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
        votes[start : start + 1024] = 2 * answers[nearest].sum(axis=1) > k
    return predicted[facet].astype(np.int64) - votes


POSTTRAINING: dict[str, tuple[str, Callable[[PredictionCounts], Doubles]]] = {
    "DPPL": ("Difference in Positive Proportions in Predicted Labels (DPPL)", difference_in_predicted_proportions),
    "DI": ("Disparate Impact (DI)", disparate_impact),
    "DCA": ("Difference in Conditional Acceptance (DCA)", conditional_acceptance),
    "DCR": ("Difference in Conditional Rejection (DCR)", conditional_rejection),
    "RD": ("Recall Difference (RD)", recall_difference),
    "SD": ("Specificity Difference (SD)", specificity_difference),
    "DAR": ("Difference in Acceptance Rates (DAR)", acceptance_rates),
    "DRR": ("Difference in Rejection Rates (DRR)", rejection_rates),
    "AD": ("Accuracy Difference (AD)", accuracy_difference),
    "TE": ("Treatment Equality (TE)", treatment_equality),
    "CDDPL": ("Conditional Demographic Disparity in Predicted Labels (CDDPL)", conditional_predicted_disparity),
    "GE": ("Generalized Entropy (GE)", generalised_entropy),
}
"""By Clarify's names: description and function. CDDPL needs a group variable; FT is :func:`flips`."""
FLIPTEST = ("FT", "Counterfactual Fliptest (FT)")
