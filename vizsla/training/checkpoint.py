"""The state of a training in one file, from which a killed one goes on to the same bits."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from vizsla.files import storage, write_bytes

State = dict[str, npt.NDArray[Any]]
"""What the epochs after one follow from, by name."""

_SECONDS = 1.0
_WRITES = 100
_BYTES_A_SECOND = 200e6
_DIGEST = 32


def interval(cost: float) -> float:
    """Seconds of training between two writes, when the last one took ``cost`` seconds."""
    return max(_SECONDS, _WRITES * cost)


def _untold(text: str) -> None:
    """Tells nobody: also what is pickled in place of who is told here."""


class Checkpoint:
    """The state after one epoch, in a file that is replaced in one step.

    It is written between two epochs, when a second has passed since it last was, and a hundred times what that took
    (what the first write takes is guessed: 200 MB a second). So a kill costs the epoch that it falls into and at most
    one second of finished ones, or the time of a hundred writes where one takes more than 10 ms; and writing takes at
    most 1 % of the training's time.

    The file: the identity (32 bytes), SHA-256 of the rest (32 bytes), the arrays in safetensors' format.

    Parameters
    ----------
    identity:
        SHA-256, as hexadecimal digits, of all that the state follows from: data, features, configuration. A state
        with another identity is never gone on with.
    note:
        Is told in words what was found.
    interval:
        Seconds of training between two writes, by what the last one took.
    unit:
        What is counted: ``epoch`` or ``step``.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        note: Callable[[str], None] = _untold,
        interval: Callable[[float], float] = interval,
        unit: str = "epoch",
    ) -> None:
        self.path, self._unit = path, unit
        self._identity, self.note, self._interval = bytes.fromhex(identity), note, interval
        self._since, self._cost = time.monotonic(), 0.0

    def load(self) -> tuple[int, State] | None:
        """The last epoch that was kept and the state after it; None where there is none to go on from."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            data = b""
        identity, digest, content = data[:_DIGEST], data[_DIGEST : 2 * _DIGEST], data[2 * _DIGEST :]
        whole = hashlib.sha256(content).digest() == digest
        if not whole or identity != self._identity:
            why = "is of other data, another configuration or other versions" if whole else "is damaged"
            self.note(f"The checkpoint {self.path.name} {why}: training begins with its first {self._unit}.")
            return None
        state = safetensors.numpy.load(content)
        epoch = int(state.pop("epoch")[0])
        self.note(f"Training goes on after {self._unit} {epoch:,}.")
        return epoch, state

    def offer(self, epoch: int, state: Callable[[], State]) -> None:
        """Keep the state after ``epoch``, if it is time to.

        Raises
        ------
        StorageError
            When the file system refuses.
        """
        began = time.monotonic()
        waited = began - self._since
        if waited < self._interval(self._cost):
            return
        arrays = state()
        if not self._cost:
            self._cost = sum(array.nbytes for array in arrays.values()) / _BYTES_A_SECOND
            if waited < self._interval(self._cost):
                return
        self.write(epoch, arrays)
        self._since = time.monotonic()
        self._cost = self._since - began

    def write(self, epoch: int, arrays: State) -> None:
        """Keep the state after ``epoch``.

        Raises
        ------
        StorageError
            When the file system refuses.
        """
        arrays = {"epoch": np.array([epoch]), **arrays}
        # safetensors writes the memory of an array as it lies, whatever its strides say.
        content = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        write_bytes(self.path, self._identity + hashlib.sha256(content).digest() + content)

    def __reduce__(self) -> tuple[type[Checkpoint], tuple[object, ...]]:
        return type(self), (self.path.absolute(), self._identity.hex(), _untold, self._interval, self._unit)

    def remove(self) -> None:
        """Remove the file, and what writes that were killed have left beside it."""
        with storage(self.path):
            for path in (self.path, *self.path.parent.glob(f".{self.path.name}.*.tmp")):
                path.unlink(missing_ok=True)
