"""One recorded tensor over the steps."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.debugging.exceptions import InvalidWorker, StepUnavailable, TensorUnavailableForStep
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.reductions import NORMS, REDUCTIONS
from vizsla.debugging.store import Row, read_tensor
from vizsla.errors import UsageError


class StepState(Enum):
    """Whether a step was recorded."""

    UNAVAILABLE = 0
    AVAILABLE = 1
    NOT_YET_AVAILABLE = 2


class Tensor:
    """The values of one name: of a scalar the number, else the tensor where it was kept, and numbers about it."""

    def __init__(self, name: str, rows: list[Row], folder: Path) -> None:
        self.name = name
        self._rows, self._folder = rows, folder

    def _by_step(self, mode: ModeKeys, worker: str | None = None) -> dict[int, Row]:
        if worker is not None and worker not in {row.worker for row in self._rows}:
            raise InvalidWorker(worker)
        rows = [row for row in self._rows if worker in (None, row.worker)]
        if mode is ModeKeys.GLOBAL:
            return {row.step: row for row in rows}
        return {row.mode_step: row for row in rows if row.mode == mode.name}

    def _row(self, step: int, mode: ModeKeys, worker: str | None = None) -> Row:
        row = self._by_step(mode, worker).get(step)
        if row is None:
            raise TensorUnavailableForStep(self.name, step, mode.name)
        return row

    def steps(self, mode: ModeKeys = ModeKeys.GLOBAL, show_incomplete_steps: bool = False) -> list[int]:
        """The steps at which it was recorded: counted over all modes for ``GLOBAL``, else within the mode."""
        return sorted(self._by_step(mode))

    step = steps

    def values(self, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> dict[int, Any]:
        """Step to value, as far as values were kept."""
        rows = sorted(self._by_step(mode, worker).items())
        return {step: self._value(row) for step, row in rows if row.raw or not row.shape or row.n == 1}

    def value(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> Any:
        """The value at a step, as an array.

        Raises
        ------
        TensorUnavailableForStep
            When it was not recorded then, or only numbers about it were.
        """
        return self._value(self._row(step_num, mode, worker))

    def _value(self, row: Row) -> Any:
        if not row.raw:
            if row.shape and row.n > 1:
                raise TensorUnavailableForStep(self.name, row.step, row.mode, has_reductions=True)
            return np.asarray(row.mean).reshape([1] * len(row.shape.split(",")) if row.shape else ())
        try:
            return read_tensor(self._folder, row.step, row.worker, row.name)
        except KeyError as error:
            raise TensorUnavailableForStep(self.name, row.step, row.mode, has_reductions=True) from error

    def reduction_value(
        self,
        step_num: int,
        reduction_name: str,
        mode: ModeKeys = ModeKeys.GLOBAL,
        worker: str | None = None,
        abs: bool = False,
    ) -> float:
        """A number about the value at a step: ``min``, ``max``, ``mean``, ``std``, ``variance``, ``sum``, ``l1``,
        ``l2`` and ``prod``, of its elements or, with ``abs``, of their sizes.

        Raises
        ------
        UsageError
            For another name.
        TensorUnavailableForStep
            When it can only be had of the tensor itself, which was not kept.
        """
        if reduction_name not in (*REDUCTIONS, *NORMS):
            raise UsageError(f"There is no reduction {reduction_name!r:.80}.", allowed=", ".join((*REDUCTIONS, *NORMS)))
        row = self._row(step_num, mode, worker)
        value = _from_row(row, reduction_name, abs)
        if value is None:
            whole = self._value(row).astype(np.float64)
            whole = np.abs(whole) if abs else whole
            value = float(getattr(np, {"variance": "var"}.get(reduction_name, reduction_name))(whole))
        return value

    def reduction_values(
        self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None
    ) -> dict[tuple[str, bool], float]:
        """All that :meth:`reduction_value` can tell without the tensor itself."""
        row = self._row(step_num, mode, worker)
        values = {(n, a): _from_row(row, n, a) for a in (False, True) for n in (*REDUCTIONS, *NORMS)}
        return {key: value for key, value in values.items() if value is not None}

    def shape(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> tuple[int, ...]:
        """The tensor's shape."""
        return _shape(self._row(step_num, mode, worker))

    def shapes(self, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> dict[int, tuple[int, ...]]:
        """Step to shape."""
        return {step: _shape(row) for step, row in sorted(self._by_step(mode, worker).items())}

    def workers(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[str]:
        """Who recorded it at a step."""
        step = self._row(step_num, mode).step
        return sorted({row.worker for row in self._rows if row.step == step})

    def prev_steps(self, step: int, n: int, mode: ModeKeys = ModeKeys.GLOBAL) -> list[int]:
        """The last ``n`` recorded steps up to ``step``.

        Raises
        ------
        StepUnavailable
            When ``n`` is negative.
        """
        if n < 0:
            raise StepUnavailable(step, mode.name)
        return [known for known in self.steps(mode) if known <= step][-n:]


def _shape(row: Row) -> tuple[int, ...]:
    return tuple(int(part) for part in row.shape.split(",")) if row.shape else ()


def _from_row(row: Row, name: str, absolute: bool) -> float | None:
    """A reduction by what a row holds; None where that does not tell."""
    n = row.n
    plain = {
        "min": row.min,
        "max": row.max,
        "mean": row.mean,
        "std": row.std,
        "variance": row.std**2,
        "sum": row.mean * n,
        "l1": row.abs_mean * n,
        "l2": row.l2,
        "prod": row.prod if n > 1 else row.mean,
    }
    if not absolute:
        return plain[name]
    same_sign = row.min >= 0 or row.max <= 0
    sizes: dict[str, float | None] = {
        "min": min(abs(row.min), abs(row.max)) if same_sign else None,
        "max": max(abs(row.min), abs(row.max)),
        "mean": row.abs_mean,
        "sum": row.abs_mean * n,
        "l1": row.abs_mean * n,
        "l2": row.l2,
        "prod": None if plain["prod"] is None else abs(plain["prod"]),
    }
    variance = max(0.0, row.l2**2 / n - row.abs_mean**2) if n and math.isfinite(row.l2) else math.nan
    return sizes.get(name, {"std": variance**0.5, "variance": variance}.get(name))
