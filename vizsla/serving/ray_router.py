"""Which replica of Ray Serve answers: of requests that name a model one that has it, of two at random the idler one.

Imports Ray: only where replicas are served.
"""

from __future__ import annotations

import pickle
import random
from typing import Any

from ray.serve.request_router import FIFOMixin, MultiplexMixin, PendingRequest, RequestRouter, RunningReplica

from vizsla.serving.named_model import named_model


class ModelRouter(FIFOMixin, MultiplexMixin, RequestRouter):  # type: ignore[misc]  # Ray has no types
    """In Ray's proxy. Replicas tell which models they have (:class:`vizsla.serving.ray_serve.HeldModels`)."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Two replicas, of which Ray takes the one with fewer requests under way."""
        candidates = list(candidate_replicas)
        name = None if pending_request is None else _name(pending_request)
        if pending_request is not None and name is not None:
            pending_request.metadata.multiplexed_model_id = name
            chosen = self.apply_multiplex_routing(pending_request)
            candidates = [replica for replica in candidates if replica.replica_id in chosen]
        return [random.sample(candidates, min(2, len(candidates)))] if candidates else []


def _name(request: Any) -> str | None:
    """The model; the proxy hands on what it makes of a request as its own pickle."""
    asked = request.args[0] if request.args else None
    asked = pickle.loads(asked) if isinstance(asked, bytes) else asked
    scope = getattr(asked, "asgi_scope", None)
    return None if scope is None else named_model(scope)
