"""The Python door: what ``import vizsla`` offers beyond single classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.errors import UsageError
from vizsla.training.heads import HeadConfig
from vizsla.workflow.fit import fit as _fit
from vizsla.workflow.request import FitRequest, FitResult


def fit(
    data: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    random_init: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    **hyperparameters: Any,
) -> FitResult:
    """Train, evaluate and save a classifier from a folder of labelled pictures.

    Parameters
    ----------
    data:
        Any source that :func:`vizsla.open_dataset` reads.
    backbone, weights, random_init:
        Any timm image model; local weights (a folder in the hub's layout or a file); an untrained one.
    seed:
        Decides every draw.
    minutes:
        Most minutes that the whole job may take.
    source, gate:
        How to read the data, and what to do about damaged pictures and leaks.
    hyperparameters:
        Fields of :class:`vizsla.training.heads.HeadConfig`, such as ``lr`` and ``epochs``.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.
    """
    unknown = sorted(set(hyperparameters) - set(HeadConfig.names()))
    if unknown:
        raise UsageError(
            f"There is no hyperparameter {unknown[0]!r}.",
            where=f"vizsla.fit({unknown[0]}=...)",
            allowed=", ".join(HeadConfig.names()),
        )
    head = HeadConfig(seed=seed, **hyperparameters)
    return _fit(
        FitRequest(
            os.fspath(data),
            backbone,
            None if weights is None else Path(weights),
            random_init,
            head,
            minutes,
            name,
            source or SourceOptions(),
            gate or GateOptions(),
        )
    )
