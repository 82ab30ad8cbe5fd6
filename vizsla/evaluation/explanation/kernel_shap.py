"""What each part of an input adds to a model's answer: Kernel SHAP (Lundberg and Lee 2017, arXiv:1705.07874)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.bool_]
Value = Callable[[Masks], npt.NDArray[np.float64]]
"""Masks (n, parts), True where a part is present, to the model's answers, (n, outputs)."""


@dataclass(frozen=True)
class Attribution:
    """``values`` (parts, outputs) add up to ``full - base``: the answers with every part and with none, (outputs,).

    ``exact`` says that every coalition was asked about: these are Shapley's own values then.
    """

    values: npt.NDArray[np.float64]
    base: npt.NDArray[np.float64]
    full: npt.NDArray[np.float64]
    samples: int
    exact: bool


def kernel_shap(value: Value, parts: int, num_samples: int, seed: int = 0) -> Attribution:
    """Shapley values by the regression of Lundberg and Lee.

    Coalitions are taken by size, the smallest and the largest first, all of a size where ``num_samples`` has room for
    them; the rest is drawn in pairs of a coalition and its opposite (Covert and Lee 2021, arXiv:2012.01536). With room
    for all 2^parts - 2 of them the result is exact.
    """
    ends = value(np.array([[False] * parts, [True] * parts]))
    base, full = ends[0], ends[1]
    if parts == 1:
        return Attribution((full - base)[None], base, full, 2, exact=True)
    masks, weights, exact = _coalitions(parts, num_samples, np.random.default_rng(seed))
    answers = value(masks) - base
    # The values must add up to full - base: the last one is what the others leave (shap's own elimination).
    x = masks.astype(np.float64)
    target = answers - x[:, -1:] * (full - base)
    design = (x[:, :-1] - x[:, -1:]) * np.sqrt(weights)[:, None]
    solved = np.linalg.lstsq(design, target * np.sqrt(weights)[:, None], rcond=None)[0]
    values = np.concatenate([solved, (full - base - solved.sum(axis=0))[None]])
    return Attribution(values, base, full, len(masks) + 2, exact)


def _coalitions(parts: int, budget: int, rng: np.random.Generator) -> tuple[Masks, npt.NDArray[np.float64], bool]:
    """Masks (n, parts) without the empty and the full one, their weights (n,), and whether they are all there are."""
    half = parts // 2
    sizes = np.arange(1, half + 1)
    shares = (parts - 1) / (sizes * (parts - sizes))
    shares = np.where(sizes == parts - sizes, 1.0, 2.0) * shares
    shares /= shares.sum()
    masks, weights, left = list[Masks](), list[npt.NDArray[np.float64]](), budget
    for at, size in enumerate(sizes.tolist()):
        paired = size != parts - size
        count = comb(parts, size) * (2 if paired else 1)
        if count > left:
            drawn = _drawn(parts, sizes[at:], shares[at:], max(2, left), rng)
            masks.append(drawn)
            weights.append(np.full(len(drawn), shares[at:].sum() / len(drawn)))
            return np.concatenate(masks), np.concatenate(weights), False
        whole = _all_of_size(parts, size)
        whole = np.concatenate([whole, ~whole]) if paired else whole
        masks.append(whole)
        weights.append(np.full(count, shares[at] / count))
        left -= count
    return np.concatenate(masks), np.concatenate(weights), True


def _all_of_size(parts: int, size: int) -> Masks:
    from itertools import combinations

    chosen = np.array(list(combinations(range(parts), size)))
    masks = np.zeros((len(chosen), parts), bool)
    masks[np.arange(len(chosen))[:, None], chosen] = True
    return masks


def _drawn(
    parts: int, sizes: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], count: int, rng: np.random.Generator
) -> Masks:
    pairs = count // 2
    size = rng.choice(sizes, pairs, p=shares / shares.sum())
    masks = rng.permuted(np.arange(parts)[None] < size[:, None], axis=1)
    return np.concatenate([masks, ~masks])
