"""``vizsla.debug``: what is wrong with a training, by what its job recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vizsla.jobs.controller import find
from vizsla.settings import settings
from vizsla.workflow.debug import DebugResult, debug_job


def debug(
    job: str | os.PathLike[str],
    *,
    rules: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    compat: Literal["vizsla", "aws"] = "vizsla",
) -> DebugResult:
    """Ask the debugger's rules about a job that has ended or runs.

    Parameters
    ----------
    job:
        Its name or folder.
    rules:
        Only these; ``"file.py:Class"`` is one of your own. By default all.
    parameters:
        Of rules, by AWS's names: ``{"vanishing_gradient": {"threshold": 1e-6}}``.
    compat:
        ``aws`` asks AWS's documented conditions to the letter.

    Raises
    ------
    VizslaError
        When there is no such job, rule or parameter, or nothing was recorded.

    Examples
    --------
    >>> vizsla.debug("train-flowers").findings  # doctest: +SKIP
    (RuleFinding(rule='exploding_tensor', ...),)
    """
    return debug_job(find(os.fspath(job), Path(settings().home)), rules, parameters, compat)
