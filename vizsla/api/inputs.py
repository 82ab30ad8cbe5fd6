"""What several verbs are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias

from vizsla.jobs.spec import Channel
from vizsla.jobs.spec_input import DEFAULT_CHANNEL, channel

PathLike: TypeAlias = str | os.PathLike[str]
Data: TypeAlias = Mapping[str, PathLike] | PathLike
"""Paths or addresses by channel, or one."""


def channels(data: Data | None) -> list[Channel]:
    """The channels of a script.

    Raises
    ------
    UsageError
        For a name that is not allowed, or a path where nothing is.
    """
    placed = data if isinstance(data, Mapping) else {} if data is None else {DEFAULT_CHANNEL: data}
    return [channel(called, os.fspath(place)) for called, place in placed.items()]
