"""``vizsla.fit``: a folder of labelled pictures becomes a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vizsla.api.inputs import PathLike
from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.jobs.hyperparameter_input import HyperparameterInput
from vizsla.progress.watching import watching
from vizsla.tuning.request import SearchRequest
from vizsla.workflow.fit import fit as _fit
from vizsla.workflow.request import FitRequest, FitResult


def fit(
    data: PathLike,
    *,
    backbone: str | None = None,
    weights: PathLike | None = None,
    random_init: bool = False,
    size: int | None = None,
    hyperparameters: HyperparameterInput = (),
    preset: str | None = None,
    tune: int | SearchRequest | None = None,
    seed: int = 0,
    minutes: float | None = None,
    executor: str = "local",
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    progress: bool = True,
    **values: Any,
) -> FitResult:
    """Train, evaluate and save a classifier from a folder of labelled pictures.

    Parameters
    ----------
    data:
        Any source that :func:`vizsla.open_dataset` reads.
    backbone, weights, random_init, size:
        Any timm image model (several with commas, or ``auto``, are tried on a sample); local weights (a folder in the
        hub's layout, a folder of such folders, or a file); an untrained one; the pixels of a side of what it sees of a
        picture, by default as its weights were trained.
    hyperparameters, values:
        Those of a head: by name (``lr=0.01``), or as a mapping, pairs, a JSON object or a file, such as ``vizsla tune
        export`` writes; what is given by name comes first. The head is the optimum of its problem; ``lr``, ``epochs``
        and others that only steps have ask for AdamW (docs/fit.md).
    preset:
        Hyperparameters by one name, ``last-layer-sgd`` or ``last-layer-adam``; what is given comes before them
        (docs/fit.md).
    tune:
        Search for the others first: so many trials of the default search, or a :class:`vizsla.SearchRequest`.
    seed:
        Decides every draw.
    minutes:
        Most minutes that the whole job may take.
    executor:
        Where pictures are looked at: ``local``, ``ray`` or ``ray://HOST:PORT``, to the same bits.
    source, gate:
        How to read the data, and what to do about damaged pictures and leaks.
    progress:
        Whether stages, the time left and notes are shown while it runs.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> result = vizsla.fit("photos", backbone="mobilenetv2_100", balance="weights")  # doctest: +SKIP
    >>> result.evaluation.accuracy  # doctest: +SKIP
    Estimate(0.900 [0.868, 0.925])
    >>> result.load().predict("rose.jpg").label  # doctest: +SKIP
    'rose'
    >>> vizsla.fit("photos", tune=40, optimizer="sgd").search.hyperparameters()  # doctest: +SKIP
    """
    request = FitRequest.of(
        data,
        values,
        hyperparameters,
        tune=tune,
        seed=seed,
        preset=preset,
        backbone=backbone,
        weights=None if weights is None else Path(weights),
        random_init=random_init,
        size=size,
        minutes=minutes,
        executor=executor,
        name=name,
        source=source,
        gate=gate,
    )
    with watching(progress, trials=request.tune is not None) as observer:
        return _fit(request, observer)
