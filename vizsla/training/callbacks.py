"""Who watches a training, and may end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

from vizsla.training.trained import Adjust, EpochMetrics, Stop

_T = TypeVar("_T")
Note = Callable[[str], None]
Elsewhere: TypeAlias = "Callable[[Note], Callback]"
"""Makes a callback in another process, where it is given what tells a note here. It is pickled on the way."""


class Callback:
    """Watches a training. What is not overridden does nothing.

    The life of one, in order: :meth:`on_phase` whenever another part of the work begins; in the phases that train,
    :meth:`on_step` after each step and :meth:`on_epoch` after each epoch. Both may answer :class:`Stop`: training ends
    there and what was best is kept. Where a network trains, :meth:`on_network` comes first, :meth:`on_loss` before
    each step and :meth:`adjustment` after it. Calls come from the thread that trains and must return quickly.

    Where the network trains in another process, this one is told of steps and epochs, not of each step; what must see
    the network is made there by :meth:`elsewhere`, and ends with :meth:`close`.

    Examples
    --------
    >>> class AtLoss(Callback):
    ...     def on_epoch(self, metrics, epochs):
    ...         return Stop("at-loss", "the loss is low enough") if metrics.valid_loss < 0.1 else None
    """

    def on_phase(self, name: str, total: int | None) -> None:
        """A part of the work begins, such as ``features`` or ``head``; ``total`` steps where they can be counted."""

    def on_network(self, network: Any, classes: int) -> None:
        """A network of torch is about to train, in this thread; a head at its optimum is none."""

    def batches(self, batches: Iterator[_T]) -> Iterator[_T]:
        """The batches of an epoch of a network, to be given on as they come."""
        return batches

    def on_loss(self, loss: float) -> None:
        """The mean loss (nats) of a batch, before its step."""

    def adjustment(self) -> Adjust | None:
        """Asked after each step of a network: whether it shall train on otherwise."""
        return None

    def on_step(self, step: int) -> Stop | None:
        """``step`` steps of the head are done: batches, or iterations towards an optimum."""
        return None

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        """An epoch of ``epochs`` is done (None: the one entry of a head at its optimum)."""
        return None

    def elsewhere(self) -> Elsewhere | None:
        """What makes, in the process that trains a network for this one, the part of it that must see the network."""
        return None

    def close(self) -> None:
        """No more networks train."""


class Callbacks(Callback):
    """Several callbacks as one: all are told, and the first that wishes to stop does."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._callbacks = tuple(callbacks)

    def on_phase(self, name: str, total: int | None) -> None:
        for callback in self._callbacks:
            callback.on_phase(name, total)

    def on_network(self, network: Any, classes: int) -> None:
        for callback in self._callbacks:
            callback.on_network(network, classes)

    def batches(self, batches: Iterator[_T]) -> Iterator[_T]:
        for callback in self._callbacks:
            batches = callback.batches(batches)
        return batches

    def on_loss(self, loss: float) -> None:
        for callback in self._callbacks:
            callback.on_loss(loss)

    def adjustment(self) -> Adjust | None:
        answers = [callback.adjustment() for callback in self._callbacks]
        return next((answer for answer in answers if answer is not None), None)

    def on_step(self, step: int) -> Stop | None:
        return _first([callback.on_step(step) for callback in self._callbacks])

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        return _first([callback.on_epoch(metrics, epochs) for callback in self._callbacks])

    def elsewhere(self) -> Elsewhere | None:
        parts = [part for callback in self._callbacks if (part := callback.elsewhere()) is not None]
        return partial(_made, parts) if parts else None

    def close(self) -> None:
        for callback in self._callbacks:
            callback.close()


def _made(parts: Iterable[Elsewhere], note: Note) -> Callbacks:
    return Callbacks([part(note) for part in parts])


class Deadline(Callback):
    """Stops at a moment of ``time.monotonic()``; None never does."""

    def __init__(self, moment: float | None) -> None:
        self._moment = moment

    def on_step(self, step: int) -> Stop | None:
        return self._over()

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        return self._over()

    def _over(self) -> Stop | None:
        if self._moment is None or time.monotonic() < self._moment:
            return None
        return Stop("minutes", "the time was over")


def _first(answers: Iterable[Stop | None]) -> Stop | None:
    return next((answer for answer in answers if answer is not None), None)
