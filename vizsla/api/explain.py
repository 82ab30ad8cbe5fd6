"""``vizsla.explain``: why a saved model says what it says of pictures."""

from __future__ import annotations

import os
from typing import Any

from vizsla.api.inputs import PathLike
from vizsla.progress.watching import watching
from vizsla.workflow.explain import ExplainRequest, ExplainResult, explain_model


def explain(model: PathLike, *images: PathLike, progress: bool = True, **options: Any) -> ExplainResult:
    """Show which places of pictures spoke for their class, and whether that can be believed.

    Parameters
    ----------
    model:
        What :func:`fit` returned, a model folder, a job's folder or name, or an archive.
    images:
        Picture files, and folders of them.
    options:
        The other fields of :class:`vizsla.workflow.explain.ExplainRequest`: ``method="kernel_shap"``, ``label``,
        ``num_segments``, ``output``.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> result = vizsla.explain("runs/train-photos", "rose.jpg")  # doctest: +SKIP
    >>> result.explanations[0].faithfulness.better_than_random  # doctest: +SKIP
    True
    """
    request = ExplainRequest(os.fspath(model), [os.fspath(image) for image in images], **options)
    with watching(progress) as observer:
        return explain_model(request, observer)
