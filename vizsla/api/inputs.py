"""What several verbs are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.spec_input import DEFAULT_CHANNEL, channel, metric_definition, script_spec

PathLike: TypeAlias = str | os.PathLike[str]
Data: TypeAlias = Mapping[str, PathLike] | PathLike
"""Paths or addresses by channel, or one."""


def script_job(
    script: PathLike, source_dir: PathLike | None, data: Data | None, metrics: Mapping[str, str] | None, **others: Any
) -> TrainingJobSpec:
    """The job that runs a script; ``others`` are those of :func:`vizsla.jobs.spec_input.script_spec`.

    Raises
    ------
    VizslaError
        For anything that cannot be meant.
    """
    places = data if isinstance(data, Mapping) else {} if data is None else {DEFAULT_CHANNEL: data}
    return script_spec(
        os.fspath(script),
        source_dir=None if source_dir is None else Path(source_dir),
        data=[channel(name, os.fspath(place)) for name, place in places.items()],
        metrics=[metric_definition(name, regex) for name, regex in (metrics or {}).items()],
        **others,
    )
