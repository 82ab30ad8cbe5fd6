"""Which variant answers a request, how well each does, and when a new one gets more of the requests or none."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vizsla.serving.faults import RequestError

_REMEMBERED = 1000


@dataclass(frozen=True)
class Choice:
    """The variant that answers, and the model that it asks for it (None: the one that the request names). ``is_new``
    where it belongs to what is being deployed."""

    variant: str
    target: str | None = None
    is_new: bool = False


@dataclass
class Health:
    """How the new variants have done: requests, those that failed by no fault of the client's, the last latencies in
    seconds."""

    requests: int = 0
    errors: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def p95(self) -> float:
        """The latency that 95 of 100 requests stay below, in seconds; 0 where there were none."""
        ordered = sorted(self.latencies)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0


@dataclass(frozen=True)
class Policy:
    """How new variants take over: SageMaker's blue/green policies, with limits in place of alarms.

    ``step`` is the share of requests that they get first; ``linear`` adds as much after each ``wait`` seconds, a canary
    takes all after one. ``max_error_rate`` counts from ``least_requests`` on; ``max_latency`` is the 95th percentile in
    seconds.
    """

    step: float = 1.0
    wait: float = 60.0
    linear: bool = False
    max_error_rate: float = 0.05
    max_latency: float | None = None
    least_requests: int = 20


class Deployment:
    """A change from old variants to new ones. :meth:`look` is asked now and then."""

    def __init__(self, policy: Policy, clock: float | None = None) -> None:
        self.policy = policy
        self.share = min(1.0, policy.step)
        self.health = Health()
        self._since = time.monotonic() if clock is None else clock

    def trouble(self) -> str | None:
        """Why the new variants must go, in words; None while they do well."""
        policy, health = self.policy, self.health
        if health.requests >= policy.least_requests:
            rate = health.errors / health.requests
            if rate > policy.max_error_rate:
                return f"{rate:.1%} of {health.requests:,} requests failed (allowed: {policy.max_error_rate:.1%})"
            if policy.max_latency is not None and health.p95() > policy.max_latency:
                return (
                    f"the 95th percentile of the latency was {1000 * health.p95():.0f} ms "
                    f"(allowed: {1000 * policy.max_latency:.0f} ms)"
                )
        return None

    def look(self, now: float) -> bool:
        """Give the new variants a larger share when it is time; whether they have all of the requests by now."""
        if self.share >= 1.0:
            return True
        if now - self._since >= self.policy.wait:
            self._since = now
            self.share = min(1.0, self.share + self.policy.step) if self.policy.linear else 1.0
        return self.share >= 1.0


class Traffic:
    """The variants of an endpoint. Used in the event loop only.

    Examples
    --------
    >>> traffic = Traffic()
    >>> traffic.variants = [("A", 1.0, "model-a"), ("B", 0.0, "model-b")]
    >>> traffic.choose(None), traffic.choose("B")
    (Choice(variant='A', target='model-a', is_new=False), Choice(variant='B', target='model-b', is_new=False))
    """

    def __init__(self) -> None:
        self.variants: Sequence[tuple[str, float, str | None]] = ()
        """Name, weight, and the model of each."""
        self.new: Sequence[tuple[str, float, str | None]] = ()
        self.deployment: Deployment | None = None

    def choose(self, wanted: str | None) -> Choice:
        """The variant for a request; ``wanted`` is the one that it names.

        Raises
        ------
        RequestError
            ``variant-unknown``.
        """
        is_new = self.deployment is not None and random.random() < self.deployment.share
        variants = self.new if is_new else self.variants
        if wanted is not None:
            found = next((v for v in variants if v[0] == wanted), None)
            if found is None and self.deployment is not None:  # one that comes or goes
                variants, is_new = (self.variants if is_new else self.new), not is_new
                found = next((v for v in variants if v[0] == wanted), None)
            if found is None:
                raise RequestError(
                    "variant-unknown",
                    f"There is no variant {wanted!r}.",
                    allowed=", ".join(name for name, _, _ in variants),
                )
            return Choice(found[0], found[2], is_new)
        weights = [weight for _, weight, _ in variants]
        (name, _, target) = random.choices(variants, weights)[0] if sum(weights) > 0 else variants[0]
        return Choice(name, target, is_new)

    def note(self, choice: Choice, *, failed: bool, seconds: float) -> None:
        """A request was answered, or failed by no fault of the client's."""
        if choice.is_new and self.deployment is not None:
            health = self.deployment.health
            health.requests += 1
            health.errors += failed
            health.latencies.append(seconds)
