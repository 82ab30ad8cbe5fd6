"""A training spread over processes, from the process that has them started: who starts them, and what they are told."""

from __future__ import annotations

import contextlib
import copy
import pickle
import secrets
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, wait
from typing import Any

import torch

from vizsla.errors import UsageError, VizslaError
from vizsla.models.backbone import TorchBackbone
from vizsla.models.heads.linear import LinearHead
from vizsla.parameters import door
from vizsla.training.callbacks import Callback
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.inputs import Inputs
from vizsla.training.fine_tuning.loop import FineTuned
from vizsla.training.fine_tuning.network import Network, fill
from vizsla.training.fine_tuning.worker import Failure, Result, Task, Worker
from vizsla.training.head_data import HeadData
from vizsla.training.table import FeatureTable
from vizsla.training.trained import EpochMetrics

_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0


class Workers(ABC):
    """Processes that were started."""

    @abstractmethod
    def over(self) -> bool:
        """Whether all have ended, and none is started again."""

    def wait(self) -> None:
        """Give them time to end by themselves."""
        end = time.monotonic() + _END_SECONDS
        while not self.over() and time.monotonic() < end:
            time.sleep(0.05)

    @abstractmethod
    def last_words(self) -> str:
        """What whoever started them has said, where they could not."""

    @abstractmethod
    def close(self) -> None:
        """End those that still run; nobody answers them any more."""


class Launcher(ABC):
    """Has processes started that train a network together, to the result of one.

    The life of one, in order: :meth:`processes` says how many there will be; :meth:`fine_tune`, once a depth, starts
    them, hands each the same task, answers what the first asks, and takes its result.
    """

    host = "127.0.0.1"
    """Where this process can be reached by the others."""

    @abstractmethod
    def room(self) -> tuple[int, bool, str]:
        """How many processes there can be at most, whether each has a GPU, and what there is, in words."""

    @abstractmethod
    def start(self, processes: int, threads: int, address: tuple[str, int], key: bytes) -> Workers:
        """Start so many, each of which calls :func:`vizsla.training.fine_tuning.worker.work`."""

    @abstractmethod
    def threads(self, processes: int, threads: int) -> int:
        """How many each has, where one would have ``threads``."""

    def processes(self, config: FineTuneConfig) -> int:
        """How many train: as many as are asked for; else one a GPU, or one.

        Raises
        ------
        UsageError
            When there is no room for so many.
        """
        if config.processes == 1:
            return 1
        most, on_gpus, words = self.room()
        if config.processes is None:
            return max(1, min(most, config.batch_size)) if on_gpus else 1
        if config.processes > most:
            raise UsageError(
                f"{config.processes} processes cannot train together here: {words}.",
                parameter="processes",
                allowed=f"1 to {most}" if most > 1 else "1",
            )
        return config.processes

    def fine_tune(
        self,
        backbone: TorchBackbone,
        network: Network,
        inputs: Inputs,
        data: HeadData,
        config: FineTuneConfig,
        *,
        history: Sequence[EpochMetrics],
        callback: Callback,
        checkpoint: Checkpoint,
        threads: int,
        on_step: Callable[[int, int], None],
        note: Callable[[str], None],
        end: float | None = None,
    ) -> FineTuned:
        """What :func:`vizsla.training.fine_tuning.loop.fine_tune` does, in ``config.processes`` of their own.

        Raises
        ------
        VizslaError
            When training fails, or a process is lost for good.
        """
        count, key = config.processes or 1, secrets.token_bytes(32)
        weight, bias = (tensor.detach().cpu().numpy() for tensor in network.head.parameters())
        threads = self.threads(count, threads)
        task = Task(
            backbone=replace(backbone, module=copy.deepcopy(backbone.module).to("cpu")),
            head=LinearHead(weight, bias),
            inputs=inputs.on(torch.device("cpu"), threads),
            data=replace(data, table=FeatureTable.of(data.table.take(data.train[:0]))),
            config=config,
            trains_statistics=network.trains_statistics,
            history=tuple(history),
            checkpoint=checkpoint,
            threads=threads,
            watcher=callback.elsewhere(),
            door=door().name,
            end=end,
        )
        desk = Desk(task, count, callback, on_step, note)
        lines = Lines((self.host, 0), key, count)
        workers = self.start(count, threads, lines.address, key)
        try:
            result = desk.serve(lines, workers)
            workers.wait()
        finally:
            lines.close()  # first: who is not answered any more ends
            workers.close()
        fill(network, {name: torch.from_numpy(array) for name, array in result.arrays.items()})
        return result.trained


class Lines:
    """The connections of the processes that have come so far."""

    def __init__(self, place: tuple[str, int], key: bytes, count: int) -> None:
        self._listener = Listener(place, backlog=count, authkey=key)
        self.address: tuple[str, int] = self._listener.address
        self._lines: list[Connection] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def questions(self) -> Iterator[tuple[Connection, tuple[str, tuple[Any, ...]] | None]]:
        """What is asked now, by whom; None where a line has ended. Waits for a moment where nothing is."""
        if not self._lines:
            time.sleep(_LOOK_SECONDS)
            return
        for line in wait([*self._lines], _LOOK_SECONDS):
            assert isinstance(line, Connection)
            try:
                question = pickle.loads(line.recv_bytes())
            except (EOFError, OSError):
                self._lines.remove(line)
                question = None
            yield line, question

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        socket.create_connection(self.address).close()  # nothing else wakes whoever accepts
        for line in self._lines:
            line.close()

    def _accept(self) -> None:
        while not self._closed:
            with contextlib.suppress(AuthenticationError, EOFError, ConnectionError):
                self._lines.append(self._listener.accept())
        self._listener.close()


class Desk:
    """Answers the processes of one training."""

    def __init__(
        self,
        task: Task,
        count: int,
        callback: Callback,
        on_step: Callable[[int, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._task, self._count, self._callback, self._progress, self._note = task, count, callback, on_step, note
        self._workers: dict[Connection, Worker] = {}
        self._failures: list[tuple[Worker, Failure]] = []
        self._result: Result | None = None
        self._epoch = 0
        """The last one that was told."""

    def serve(self, lines: Lines, workers: Workers) -> Result:
        """Answer until all have done their part.

        Raises
        ------
        VizslaError
            When they cannot, and nobody starts them again.
        """
        over = False
        while self._result is None or (self._workers and not over):
            over, asked = workers.over(), False
            for line, question in lines.questions():
                asked = True
                if question is not None:
                    answer = pickle.dumps(self._answer(line, *question))
                    with contextlib.suppress(OSError):  # it may be gone by now
                        line.send_bytes(answer)
                elif (worker := self._workers.pop(line, None)) is not None:
                    self._failures.append((worker, _SILENT))
            refused = any(failure.refused for _, failure in self._failures)
            if self._result is None and (refused or (over and not asked)):
                raise self._error(workers)
        return self._result

    def _answer(self, line: Connection, what: str, values: tuple[Any, ...]) -> object:
        match what:
            case "hello":
                if self._failures:
                    self._note(f"{_words(*self._cause(), self._count)} Training goes on from its checkpoint.")
                    self._failures = []
                (self._workers[line],) = values
                return self._task
            case "note":
                return self._note(*values)
            case "step":
                self._progress(*values)
                return self._callback.on_step(values[0])
            case "epoch" if values[0].epoch > self._epoch:  # started again, they come by the same ones
                self._epoch = values[0].epoch
                return self._callback.on_epoch(*values)
            case "done":
                del self._workers[line]
                self._result = self._result or values[0]
            case "failed":
                self._failures.append((self._workers.pop(line), values[0]))
        return None

    def _cause(self) -> tuple[Worker, Failure]:
        """The first failure that does not follow from another."""
        return min(self._failures, key=lambda failure: failure[1].follows)

    def _error(self, workers: Workers) -> VizslaError:
        if not self._failures:
            return VizslaError(f"The {self._count} processes that train together have ended: {workers.last_words()}")
        worker, failure = self._cause()
        if failure.refused:
            return VizslaError(failure.what, where=failure.where, allowed=failure.allowed, do=failure.do)
        do = f"{failure.do}; " if failure.do else ""
        return VizslaError(
            _words(worker, failure, self._count), do=f"{do}`vizsla jobs resume JOB` goes on from the last checkpoint"
        )


_SILENT = Failure("it ended without a word, as a process does that is killed or has no memory left.")


def _words(worker: Worker, failure: Failure, count: int) -> str:
    return (
        f"Process {worker.rank + 1} of {count} that train together (number {worker.pid} on {worker.host}) was lost: "
        f"{failure.what}"
    )
