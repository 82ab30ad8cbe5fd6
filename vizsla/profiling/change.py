"""What may be tried on a training loop that knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vizsla.errors import UsageError

if TYPE_CHECKING:  # a training process imports this
    from vizsla.profiling.finding import ProfileFinding
    from vizsla.profiling.profile import JobProfile

LOADER = ("num_workers", "batch_size", "prefetch_factor", "pin_memory", "cached_pixels")
"""They need another loader."""
LOOP = ("threads", "precision", "channels_last", "compile")
"""They can be switched between two steps."""
HARMLESS = ("num_workers", "prefetch_factor", "pin_memory", "threads", "cached_pixels")
"""They leave the results of a training alone, but for the order of random draws within workers."""
PARAMETERS = (*LOADER, *LOOP)


@dataclass(frozen=True)
class Change:
    """A parameter and what it shall be."""

    parameter: str
    to: Any

    @classmethod
    def parse(cls, text: str) -> Change:
        """From ``num_workers=2``, or ``channels_last``.

        Raises
        ------
        UsageError
            For a change that is not known.
        """
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in (*PARAMETERS, EVALUATE):
            raise UsageError(
                f"The profiler cannot try {name!r:.60}.", parameter="change", allowed=", ".join(PARAMETERS)
            )
        if name in ("num_workers", "batch_size", "prefetch_factor", "threads", EVALUATE):
            if not value.strip().isdigit():
                raise UsageError(
                    f"{name} is a number, and {value!r:.60} is none.", parameter="change", allowed=f"{name}=2"
                )
            return cls(name, int(value))
        if name == "precision" and value not in ("", "bfloat16"):
            raise UsageError(f"There is no precision {value!r:.60}.", parameter="change", allowed="precision=bfloat16")
        return cls(name, "bfloat16" if name == "precision" else value.strip().lower() not in ("false", "0", "no"))

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.parameter}={self.to}"


EVALUATE = "evaluate_every"
"""Reckoned from the profile: a loop that knows nothing of it cannot be made to."""


def candidates(profile: JobProfile, findings: Sequence[ProfileFinding]) -> list[Change]:
    """What is worth trying on a job: what its findings advise, and what may help a loop that computes."""
    advised = {str(f.change["parameter"]): f.change["to"] for f in findings if f.change}
    result = [Change(name, to) for name, to in advised.items()]
    steps, facts = profile.train_steps, profile.facts
    waits = steps is not None and len(steps) > 0 and float(steps.wait.sum() / steps.seconds.sum()) > 0.5
    if not waits:
        more: list[Change] = [Change("channels_last", True)]
        if facts.get("device") == "cuda":
            more.append(Change("precision", "bfloat16"))
        if profile.loaders and steps is not None and steps.pictures.any():
            more.append(Change("batch_size", 2 * int(max(steps.pictures))))
        result += [change for change in more if change.parameter not in advised]
    return result
