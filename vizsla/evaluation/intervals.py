"""95 % intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054
"""The standard normal's 97.5 % point."""

RESAMPLES = 1000


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927; Agresti and Coull 1998); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def macro_f1_interval(confusion: npt.NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Credible interval for macro-F1, drawn from the posterior of a confusion matrix (classes, classes).

    A bootstrap of pictures that were all right says 100 % to 100 %. Here each row (what pictures of one class are
    taken for) has a Dirichlet prior with the weight of Jeffreys's: 1/2 for right and 1/2 spread over the wrong
    classes; :data:`RESAMPLES` draws. Classes without a picture are left out.
    """
    rng, c = np.random.default_rng(seed), len(confusion)
    support = confusion.sum(axis=1)
    off = confusion * (1 - np.eye(c, dtype=np.int64))
    truth, taken_for = np.nonzero(off)
    right = rng.standard_gamma(np.diagonal(confusion) + 0.5, (RESAMPLES, c))
    elsewhere = rng.standard_gamma(0.5, (RESAMPLES, c))  # wrong in ways that were not seen
    wrong = rng.standard_gamma(off[truth, taken_for].astype(float), (RESAMPLES, len(truth)))
    total = right + elsewhere
    np.add.at(total.T, truth, wrong.T)
    scale = support / total
    hits, unseen = right * scale, elsewhere * scale
    wrong *= scale[:, truth]
    predicted = hits + (unseen.sum(axis=1, keepdims=True) - unseen) / max(1, c - 1)
    np.add.at(predicted.T, taken_for, wrong.T)
    f1 = 2 * hits / np.maximum(support + predicted, 1e-12)
    low, high = np.percentile(f1[:, support > 0].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[[npt.NDArray[np.int64]], tuple[float, ...]], n: int, seed: int
) -> npt.NDArray[np.float64]:
    """Percentile bootstrap (Efron 1979) of several statistics of the same n pictures.

    ``statistic`` gets the positions of a resample, (n,) with repeats.

    Returns
    -------
    Lower and upper ends, float64 of shape (2, statistics).

    A statistic that resampling itself moves (ECE grows) is shifted back by that bias, so that the interval lies
    around the value measured.
    """
    rng = np.random.default_rng(seed)
    measured = np.array(statistic(np.arange(n)))
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(RESAMPLES)])
    bias = np.median(drawn, axis=0) - measured
    ends: npt.NDArray[np.float64] = np.percentile(drawn, [2.5, 97.5], axis=0) - bias
    return ends
