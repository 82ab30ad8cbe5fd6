"""``vizsla.evaluate``: how good a saved model is on any labelled pictures."""

from __future__ import annotations

import os

from vizsla.api.inputs import PathLike
from vizsla.data.sources import SourceOptions
from vizsla.progress.watching import watching
from vizsla.workflow.evaluate import evaluate_model
from vizsla.workflow.evaluation_request import EvaluateRequest, EvaluateResult, Which


def evaluate(
    model: PathLike,
    data: PathLike,
    *,
    split: Which | None = None,
    against: PathLike | None = None,
    training: PathLike | None = None,
    store_temperature: bool = False,
    source: SourceOptions | None = None,
    name: str | None = None,
    seed: int = 0,
    executor: str = "local",
    progress: bool = True,
) -> EvaluateResult:
    """Measure a saved model on labelled pictures, and write a report. Classes are matched by name.

    Parameters
    ----------
    model:
        What :func:`fit` returned, a model folder, a job's folder or name, or an archive.
    data, source:
        Any source that :func:`vizsla.open_dataset` reads, and how.
    split:
        One that the data bring, or all. By default test where there is one, else valid, else all, less the pictures
        that the model was trained on.
    against:
        Another model: which of the two is better on these pictures?
    training:
        Where the training pictures lie, if the job that made the model is not there any more.
    store_temperature:
        Write a copy of the model that is calibrated on its validation pictures.
    executor:
        Where pictures are looked at: ``local``, ``ray`` or ``ray://HOST:PORT``, to the same bits.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> result = vizsla.evaluate("runs/train-photos", "new_photos")  # doctest: +SKIP
    >>> result.evaluation.accuracy  # doctest: +SKIP
    Estimate(0.900 [0.868, 0.925])
    >>> [weak.words for weak in result.insights.slices]  # doctest: +SKIP
    ['dark: brightness below 61.3 of 255 (10 %)']
    """
    request = EvaluateRequest(
        os.fspath(model),
        os.fspath(data),
        split,
        None if against is None else os.fspath(against),
        None if training is None else os.fspath(training),
        store_temperature,
        source or SourceOptions(),
        name,
        seed,
        executor,
    )
    with watching(progress) as observer:
        return evaluate_model(request, observer)
