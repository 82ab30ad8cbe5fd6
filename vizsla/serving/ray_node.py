"""The server as a node of a Ray cluster has it, and its rehearsal there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from vizsla.cluster import told
from vizsla.errors import ModelError
from vizsla.serving.endpoint import Endpoint
from vizsla.serving.offer import Offer
from vizsla.serving.server import ServeOptions
from vizsla.serving.shelves import NamedShelf
from vizsla.settings import settings

Offered = tuple[list[str], str | None]
"""The models and the folder of models, as :meth:`vizsla.serving.offer.Offer.of` takes them."""


def without_models(options: ServeOptions) -> ServeOptions:
    """What is sent to nodes: a shelf is that of a machine."""
    return replace(options, shelf=NamedShelf({}), pinned=())


def with_models(options: ServeOptions, offered: Offered) -> ServeOptions:
    """The same on a node, with the models as they lie there.

    Raises
    ------
    ModelError
        When the node does not see one.
    """
    there = Offer.of(*offered, settings().cache)
    for name in there.pinned:
        if not (place := there.shelf.locate(name)).exists():
            raise ModelError(
                f"Node {socket.gethostname()} does not see the model.",
                where=place,
                do="put it where all nodes see it at the same path, or into a bucket: s3://...",
            )
    return replace(options, shelf=there.shelf, pinned=there.pinned)


def rehearse(ray: ModuleType, offered: Offered, options: ServeOptions, cpus: int, variables: Mapping[str, str]) -> None:
    """Have each node on which replicas of so many ``cpus`` may come start the server once, and end it: what cannot be
    served is said before it takes the place of what can.

    Raises
    ------
    VizslaError
        The one of a node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, environment = ray.remote(_rehearsed), {"env_vars": dict(variables)}
    places = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= cpus]
    there = [NodeAffinitySchedulingStrategy(place, soft=False) for place in places]
    with told(ray, "The cluster cannot serve this"):
        ray.get(
            [
                task.options(num_cpus=0, max_retries=0, runtime_env=environment, scheduling_strategy=strategy).remote(
                    offered, without_models(options)
                )
                for strategy in there
            ]
        )


def _rehearsed(offered: Offered, options: ServeOptions) -> None:
    with Endpoint(replace(with_models(options, offered), host="127.0.0.1", port=0, log=False)):
        pass
