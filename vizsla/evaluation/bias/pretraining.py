"""Bias that the labels hold before any model: Clarify's pre-training metrics.

Source: the SageMaker developer guide, "Measure Pre-training Bias"; smclarify, ``bias/metrics/pretraining.py``. All are
functions of counts, so that a bootstrap is one call: arrays may have any leading axes (resamples). In the axis of
groups 0 is the favoured one, all rows but the facet's, and 1 the facet (smclarify's a and d).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vizsla.evaluation.bias.division import Doubles, divide


@dataclass(frozen=True)
class LabelCounts:
    """``binary`` (..., 2 groups, 2) counts rows by whether their label is positive; ``values`` (..., 2 groups, labels)
    by their label itself; ``strata`` (..., 2 groups, 2, strata), or None without a group variable, by whether it is
    positive within each stratum.

    ``drop_unshared`` leaves labels that one of the groups does not have out of the distances of distributions without
    making the rest add up to 1, as smclarify's ``pdfs_aligned_nonzero`` does; without it they are the textbook's.
    """

    binary: Doubles
    values: Doubles
    strata: Doubles | None = None
    drop_unshared: bool = False

    def distributions(self) -> tuple[Doubles, Doubles]:
        """The shares of the labels in each group, (..., labels)."""
        shares = divide(self.values, self.values.sum(axis=-1, keepdims=True))
        a, d = shares[..., 0, :], shares[..., 1, :]
        if self.drop_unshared:
            shared = (a > 0) & (d > 0)
            a, d = np.where(shared, a, 0.0), np.where(shared, d, 0.0)
        return a, d


def class_imbalance(c: LabelCounts) -> Doubles:
    """CI: (n_a - n_d) / (n_a + n_d)."""
    n = c.binary.sum(axis=-1)
    return divide(n[..., 0] - n[..., 1], n.sum(axis=-1))


def difference_in_proportions(c: LabelCounts) -> Doubles:
    """DPL: q_a - q_d, with q the share of positive labels."""
    q = divide(c.binary[..., 1], c.binary.sum(axis=-1))
    return q[..., 0] - q[..., 1]


def kl_divergence(c: LabelCounts) -> Doubles:
    """KL: sum of P_a ln(P_a / P_d), in nats; infinite where group d has none of a label that a has."""
    return _kl(*c.distributions())


def js_divergence(c: LabelCounts) -> Doubles:
    """JS: (KL(P_a, P) + KL(P_d, P)) / 2, with P the mean of both."""
    a, d = c.distributions()
    middle = (a + d) / 2
    result: Doubles = (_kl(a, middle) + _kl(d, middle)) / 2
    return result


def lp_norm(c: LabelCounts) -> Doubles:
    """LP: the Euclidean distance of the distributions."""
    a, d = c.distributions()
    return np.asarray(np.linalg.norm(a - d, axis=-1))


def total_variation(c: LabelCounts) -> Doubles:
    """TVD: half the sum of absolute differences."""
    a, d = c.distributions()
    result: Doubles = np.abs(a - d).sum(axis=-1) / 2
    return result


def kolmogorov_smirnov(c: LabelCounts) -> Doubles:
    """KS: the largest absolute difference, as Clarify defines it (of shares, not of cumulated ones)."""
    a, d = c.distributions()
    result: Doubles = np.abs(a - d).max(axis=-1)
    return result


def conditional_disparity(c: LabelCounts) -> Doubles:
    """CDDL: the demographic disparity within each stratum, weighted by its size.

    Of a stratum it is group d's share of the rejected less its share of the accepted.
    """
    assert c.strata is not None
    return weighted_disparity(c.strata)


def weighted_disparity(strata: Doubles) -> Doubles:
    """From counts (..., 2 groups, 2, strata)."""
    rejected, accepted = strata[..., 0, :], strata[..., 1, :]
    disparity = divide(rejected[..., 1, :], rejected.sum(axis=-2)) - divide(accepted[..., 1, :], accepted.sum(axis=-2))
    n = strata.sum(axis=(-3, -2))
    return divide((n * disparity).sum(axis=-1), n.sum(axis=-1))


def _kl(p: Doubles, q: Doubles) -> Doubles:
    ratio = divide(p, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(np.where(p > 0, ratio, 1.0)), 0.0)
    result: Doubles = terms.sum(axis=-1)
    return result


PRETRAINING: dict[str, tuple[str, Callable[[LabelCounts], Doubles]]] = {
    "CI": ("Class Imbalance (CI)", class_imbalance),
    "DPL": ("Difference in Proportions of Labels (DPL)", difference_in_proportions),
    "KL": ("Kullback-Leibler Divergence (KL)", kl_divergence),
    "JS": ("Jensen-Shannon Divergence (JS)", js_divergence),
    "LP": ("L-p Norm (LP)", lp_norm),
    "TVD": ("Total Variation Distance (TVD)", total_variation),
    "KS": ("Kolmogorov-Smirnov Distance (KS)", kolmogorov_smirnov),
    "CDDL": ("Conditional Demographic Disparity in Labels (CDDL)", conditional_disparity),
}
"""By Clarify's names: description and function. CDDL needs a group variable."""
