"""When the statistics for the rules are taken, where nobody says it."""

from __future__ import annotations

_STEPS = ((16, 1), (2_000, 10), (20_000, 50))
_LATER = 500


def is_due(step: int) -> bool:
    """Whether the statistics of this step of a mode are taken: densely at the beginning, where most faults show, and
    so rarely later that a long job's store stays small.

    Examples
    --------
    >>> [step for step in range(40) if is_due(step)][-4:]
    [14, 15, 20, 30]
    """
    every = next((every for before, every in _STEPS if step < before), _LATER)
    return step % every == 0
