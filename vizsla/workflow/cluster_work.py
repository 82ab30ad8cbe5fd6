"""Work on the cores of a Ray cluster by Ray Data: what it is given, who does it, and what comes back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from vizsla.cluster import ON_HEAD, is_client, told


def ray_data() -> Any:
    """Ray Data, which shows nothing by itself."""
    from ray import data

    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    return data


def actor_pool(size: int) -> Any:
    """So many actors for work of Ray Data: all are asked for at once, and it begins with the first that has room."""
    from ray import data

    return data.ActorPoolStrategy(min_size=1, initial_size=size, max_size=size)


def put(ray: ModuleType, value: object) -> Any:
    """A value in Ray's object store, for all nodes.

    Raises
    ------
    JobError
        When the store is full.
    """
    with told(ray, "The Ray cluster does not take what its nodes need"):
        return ray.put(value)


def is_seen(file: Path) -> bool:
    """Whether this machine sees the folder in which another has found a file: where it is not mounted it is empty."""
    if not file.parent.is_dir():
        return False
    with os.scandir(file.parent) as entries:
        return next(entries, None) is not None


def parts(ray: ModuleType, make: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """What ``make(*arguments)`` gives, one after another, made by a process of the cluster: this one, or, where it is
    connected through Ray's client, an actor on the head. Ray Data works in streams, which the client does not carry.

    Parameters
    ----------
    make:
        A function of a module; it gives no None.
    """
    if not is_client(ray):
        yield from make(*arguments)
        return
    relay = ray.remote(_Relay).options(**ON_HEAD).remote(make, put(ray, arguments))  # which is handed over as it is
    try:
        while (part := ray.get(relay.next.remote())) is not None:
            yield part
    finally:
        ray.kill(relay)


class _Relay:
    """In the cluster: makes parts, and hands them out as they are asked for."""

    def __init__(self, make: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> None:
        self._parts = make(*arguments)

    def next(self) -> Any:
        return next(self._parts, None)
