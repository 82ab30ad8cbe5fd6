"""95 % intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054
"""The standard normal's 97.5 % point."""

RESAMPLES = 1000


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927; Agresti and Coull 1998); (0, 1) for n = 0."""
    return (0.0, 1.0) if n == 0 else wilson_share(successes / n, n)


def wilson_share(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval for a share of ``n`` > 0 pictures, which need not be a whole number."""
    z2 = Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def class_mean_interval(
    value: float, hits: npt.NDArray[np.int64], support: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Wilson's interval for a mean over classes, such as balanced accuracy or macro-F1.

    It is that of a share of so many pictures as would give a mean over classes of the same variance (an effective
    sample size, after Kish 1965): C² / Σ 1/n_c where the classes are equally hard, fewer where the rare ones are the
    hard ones. A class's own rate is drawn by one picture towards the mean, so that classes of one picture count.

    Parameters
    ----------
    hits, support:
        Pictures that are right, and pictures, of each class, (classes,); classes without a picture are left out.
    """
    present = support > 0
    hits, support = hits[present], support[present]
    count = len(support)
    even = count**2 / float((1 / support).sum())
    prior = (value * even + 0.5) / (even + 1)
    rate = (hits + prior) / (support + 1)
    variance = float((rate * (1 - rate) / support).sum()) / count**2
    centre = float(rate.mean())
    return wilson_share(value, min(even, centre * (1 - centre) / variance))


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
