"""One recorded tensor over the steps."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

from smdebug.core.modes import ModeKeys
from smdebug.exceptions import TensorUnavailableForStep
from vizsla.debugging.store import Scalar


class StepState(Enum):
    """Whether a step was recorded."""

    UNAVAILABLE = 0
    AVAILABLE = 1
    NOT_YET_AVAILABLE = 2


class Tensor:
    """The values of one name."""

    def __init__(self, name: str, records: list[Scalar]) -> None:
        self.name = name
        self._records = records

    def steps(self, mode: ModeKeys = ModeKeys.GLOBAL, show_incomplete_steps: bool = False) -> list[int]:
        """The steps at which it was recorded: counted over all modes for ``GLOBAL``, else within the mode."""
        return sorted(self.values(mode))

    def values(self, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> dict[int, Any]:
        """Step to value, arrays of no dimension."""
        if mode is ModeKeys.GLOBAL:
            return {record.step: np.asarray(record.value) for record in self._records}
        return {record.mode_step: np.asarray(record.value) for record in self._records if record.mode == mode.name}

    def value(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> Any:
        """The value at a step.

        Raises
        ------
        TensorUnavailableForStep
            When it was not recorded then.
        """
        values = self.values(mode)
        if step_num not in values:
            raise TensorUnavailableForStep(self.name, step_num, mode.name)
        return values[step_num]

    def reduction_value(
        self,
        step_num: int,
        reduction_name: str,
        mode: ModeKeys = ModeKeys.GLOBAL,
        worker: str | None = None,
        abs: bool = False,
    ) -> Any:
        """A reduction of the value at a step, by numpy's name or ``l1`` and ``l2``."""
        value = np.atleast_1d(self.value(step_num, mode, worker))
        value = np.abs(value) if abs else value
        if reduction_name in ("l1", "l2"):
            return np.linalg.norm(value, ord=int(reduction_name[1]))
        return getattr(np, {"variance": "var"}.get(reduction_name, reduction_name))(value)

    def reduction_values(
        self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None
    ) -> dict[tuple[str, bool], Any]:
        """All reductions of the value at a step."""
        names = ("min", "max", "mean", "std", "variance", "sum", "l1", "l2")
        return {(name, False): self.reduction_value(step_num, name, mode) for name in names}

    def shape(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> tuple[int, ...]:
        """The value's shape."""
        return tuple(self.value(step_num, mode, worker).shape)

    def shapes(self, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> dict[int, tuple[int, ...]]:
        """Step to shape."""
        return {step: tuple(value.shape) for step, value in self.values(mode).items()}

    def workers(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[str]:
        """Who recorded it at a step."""
        self.value(step_num, mode)
        return sorted({record.worker for record in self._records})

    def prev_steps(self, step: int, n: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[int]:
        """The last ``n`` recorded steps up to ``step``."""
        return [known for known in self.steps(mode) if known <= step][-n:]
