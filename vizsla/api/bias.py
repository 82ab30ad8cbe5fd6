"""``vizsla.bias``: SageMaker Clarify's bias metrics of a table."""

from __future__ import annotations

import os

from vizsla.api.inputs import PathLike
from vizsla.progress.watching import watching
from vizsla.workflow.bias import BiasRequest, BiasResult, measure_bias


def bias(
    table: PathLike | None,
    config: PathLike,
    *,
    output: PathLike | None = None,
    like_clarify: bool = False,
    pdf: bool = False,
    seed: int = 0,
    name: str | None = None,
    model: PathLike | None = None,
    allow_code: bool = False,
    progress: bool = True,
) -> BiasResult:
    """Measure whether a group is treated otherwise than the rest, in labels and in predictions.

    Parameters
    ----------
    table:
        A file (.csv, .jsonl, .parquet) with labels, groups and perhaps predictions; None takes the configuration's
        ``dataset_uri``.
    config:
        Clarify's ``analysis_config.json``.
    output:
        Folder of the results; by default the job's.
    like_clarify:
        Leave labels that one group lacks out of KL, JS, LP, TVD and KS, as Clarify does.
    pdf:
        Also print the report with a browser that is there.
    model:
        Asked for predictions where the table has none, as the configuration's ``predictor`` says.
    allow_code:
        Run the own code of a model that brings some.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> result = vizsla.bias("photos.csv", "analysis_config.json")  # doctest: +SKIP
    >>> result.analysis.groups[0].pretraining[0]  # doctest: +SKIP
    Metric(name='CI', description='Class Imbalance (CI)', value=0.75, low=0.68, high=0.81, error=None)
    """
    request = BiasRequest(
        None if table is None else os.fspath(table),
        os.fspath(config),
        None if output is None else os.fspath(output),
        like_clarify,
        pdf,
        seed,
        name,
        None if model is None else os.fspath(model),
        allow_code,
    )
    with watching(progress) as observer:
        return measure_bias(request, observer)
