"""Cores and GPUs as files that are locked: all processes that run jobs of one folder share one machine out.

A slot is taken by a lock on its file, which the supervisor of the job inherits and holds until it ends; the system
takes it away with the process, however that ends. Nobody has to be asked and nothing is left to clean up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vizsla.files import storage
from vizsla.jobs.lock import exclusively


@dataclass(frozen=True)
class Capacity:
    """What the executor has and what is free now."""

    cpus: int
    gpus: int
    free_cpus: int
    free_gpus: int
    waiting: int
    """Jobs that wait for room."""
    largest: tuple[int, int] | None = None
    """CPUs and GPUs of the largest machine, where there are several."""

    @property
    def machine(self) -> tuple[int, int]:
        """CPUs and GPUs that one job can have."""
        return self.largest or (self.cpus, self.gpus)


@dataclass(frozen=True)
class Share:
    """What one job was given. ``files`` are the locked slots, to be inherited by its supervisor."""

    gpus: tuple[int, ...]
    files: tuple[int, ...]

    def close(self) -> None:
        """Close them here: free again, unless a supervisor has them."""
        for file in self.files:
            os.close(file)


class Ledger:
    """The slots in ``folder``: ``cpus`` cores, and the GPUs of these numbers."""

    def __init__(self, folder: Path, cpus: int, gpus: Sequence[int]) -> None:
        self.folder = folder
        self._cores = [f"core-{number}" for number in range(cpus)]
        self._gpus = {f"gpu-{number}": number for number in gpus}

    def take(self, cpus: int, gpus: int) -> Share | None:
        """All that is wanted, or nothing when so much is not free.

        Raises
        ------
        StorageError
            When the folder cannot be written.
        """
        with self._alone():
            files: list[int] = []
            numbers: list[int] = []
            for names, count in ((self._cores, cpus), (list(self._gpus), gpus)):
                for name in names:
                    if count and (file := self._lock(name)) is not None:
                        files.append(file)
                        numbers += [self._gpus[name]] if name in self._gpus else []
                        count -= 1
                if count:
                    Share((), tuple(files)).close()
                    return None
            return Share(tuple(numbers), tuple(files))

    def free(self) -> tuple[int, int]:
        """How many cores and GPUs nobody has now."""
        with self._alone():
            return self._count(self._cores), self._count(list(self._gpus))

    def _count(self, names: list[str]) -> int:
        files = [file for name in names if (file := self._lock(name)) is not None]
        Share((), tuple(files)).close()
        return len(files)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time looks: two that want the whole machine must not each take a half."""
        with storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self._open("gate")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _lock(self, name: str) -> int | None:
        with storage(self.folder / name):
            return exclusively(self._open(name))

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def visible_gpus() -> Iterator[int]:
    """Numbers of the NVIDIA GPUs that this process may use, found without loading a driver."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        yield from (int(part) for part in allowed.split(",") if part.strip().isdigit())
        return
    yield from sorted(int(p.name[6:]) for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit())
