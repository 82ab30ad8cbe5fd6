"""``vizsla.check``: what is wrong with a data set."""

from __future__ import annotations

import os
from pathlib import Path

from vizsla.api.inputs import PathLike
from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.progress.watching import watching
from vizsla.workflow.check import CheckRequest, CheckResult
from vizsla.workflow.check import check as _check
from vizsla.workflow.gate import DataRequest


def check(
    data: PathLike,
    *,
    label_errors: bool = False,
    backbone: str | None = None,
    weights: PathLike | None = None,
    seed: int = 0,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    progress: bool = True,
) -> CheckResult:
    """Look at every picture of a source and say what is wrong with it. Nothing of the source is changed.

    Parameters
    ----------
    label_errors:
        Also look for wrong labels, by a model of ``backbone`` and ``weights`` that was trained without them.
    data, seed, source, gate, progress:
        As for :func:`fit`, which leaves out what the check leaves out.

    Raises
    ------
    VizslaError
        When the source cannot be read.

    Examples
    --------
    >>> result = vizsla.check("photos")  # doctest: +SKIP
    >>> [(finding.id, len(finding.files)) for finding in result.findings]  # doctest: +SKIP
    [('leak', 3), ('blurry', 12)]
    >>> result.dataframe()  # doctest: +SKIP
    """
    data_request = DataRequest(os.fspath(data), source or SourceOptions(), gate or GateOptions(), seed)
    request = CheckRequest.of(data_request, label_errors, backbone, None if weights is None else Path(weights))
    with watching(progress) as observer:
        return _check(request, observer)
