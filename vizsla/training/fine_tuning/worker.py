"""One of the processes that train a network together, and how it speaks with the one that had them started.

``python -m vizsla.training.fine_tuning.worker HOST PORT`` is what torchrun starts. Imports torch.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Client
from queue import SimpleQueue
from typing import Any

import numpy.typing as npt
import torch
from timm.layers import convert_sync_batchnorm
from torch import distributed

from vizsla.errors import VizslaError
from vizsla.models.backbone import TorchBackbone
from vizsla.models.heads.linear import LinearHead
from vizsla.models.trunk import Features, choose_cut, divide
from vizsla.parameters import DOORS, speak, spelled
from vizsla.training.callbacks import Callback, Callbacks, Elsewhere
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.fine_tuning.batch_norm import SharedStatistics
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.group import BACKEND, ProcessGroup
from vizsla.training.fine_tuning.inputs import Inputs
from vizsla.training.fine_tuning.loop import FineTuned, fine_tune, out_of_memory
from vizsla.training.fine_tuning.network import Network, tensors
from vizsla.training.head_data import HeadData
from vizsla.training.trained import EpochMetrics, Stop

KEY = "VIZSLA_TRAINING_KEY"
"""The variable that holds what a process proves itself with."""
_TOLD_SECONDS = 0.2
"""Between two steps that are told."""
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Worker:
    """Who one of the processes is, as it says first of all."""

    rank: int
    host: str
    pid: int


@dataclass(frozen=True)
class Failure:
    """Why a process could not go on. ``follows``: as another one did not; ``refused``: the same everywhere, and again
    if it is tried again."""

    what: str
    where: str | None = None
    allowed: str | None = None
    do: str | None = None
    follows: bool = False
    refused: bool = False


@dataclass(frozen=True)
class Result:
    """How a training went, and the tensors of the network by name."""

    trained: FineTuned
    arrays: Arrays


class Line:
    """The way to the process that had this one started: questions and their answers. When that process ends, this one
    does, too: nobody else would know of it.

    Raises
    ------
    OSError
        When nobody is there any more.
    """

    def __init__(self, address: tuple[str, int], key: bytes) -> None:
        self._connection = Client(address, authkey=key)
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, what: str, *values: object) -> Any:
        """The answer to a question."""
        self._connection.send_bytes(pickle.dumps((what, values)))
        return pickle.loads(self._answers.get())

    def note(self, text: str) -> None:
        """Tell a person."""
        self.ask("note", text)

    def close(self) -> None:
        """There are no more questions."""
        self._closed = True
        self._connection.close()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._connection.recv_bytes())
        except (EOFError, OSError):
            if not self._closed:
                os._exit(1)


class Relay(Callback):
    """Tells of a training through a line, and hands back who wishes to stop it."""

    def __init__(self, line: Line) -> None:
        self._line, self._total, self._told = line, 0, 0.0

    def progress(self, step: int, total: int) -> None:
        """So many steps are to come in all."""
        self._total = total

    def on_step(self, step: int) -> Stop | None:
        if time.monotonic() - self._told < _TOLD_SECONDS:
            return None
        stop: Stop | None = self._line.ask("step", step, self._total)
        self._told = time.monotonic()
        return stop

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        stop: Stop | None = self._line.ask("epoch", metrics, epochs)
        return stop


@dataclass(frozen=True)
class Task:
    """What every process is told: all that a training follows from, and who shall watch it in the first of them."""

    backbone: TorchBackbone
    head: LinearHead
    inputs: Inputs
    data: HeadData
    config: FineTuneConfig
    trains_statistics: bool
    history: tuple[EpochMetrics, ...]
    checkpoint: Checkpoint
    threads: int
    """Of each process."""
    watcher: Elsewhere | None
    door: str
    end: float | None

    def train(self, line: Line, device: torch.device) -> Result:
        """Train together with the other processes, to the same result as each of them.

        Raises
        ------
        VizslaError
            When training fails.
        """
        torch.set_num_threads(self.threads)
        config = self.config
        if config.depth == "last":
            divided = divide(self.backbone)
            _, body = divided.split(choose_cut(divided.cuts, config.cut).place)
        else:
            body = Features(self.backbone.module)
        network = Network.of(body, self.head, device)
        network.bfloat16 = config.precision == "bfloat16"
        network.trains_statistics = self.trains_statistics
        statistics: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.trains_statistics and device.type == "cuda":
            network.body = convert_sync_batchnorm(network.body)
        elif self.trains_statistics:
            statistics = SharedStatistics()
        group = ProcessGroup(device)
        watched = self._watched(line) if group.rank == 0 else {"callback": Callback()}
        with contextlib.closing(watched["callback"]), statistics:
            result = fine_tune(
                network,
                self.inputs.on(device, self.threads),
                self.data,
                config,
                history=self.history,
                group=group,
                end=self.end,
                **watched,
            )
        return Result(result, {name: tensor.detach().cpu().numpy() for name, tensor in tensors(network)})

    def _watched(self, line: Line) -> dict[str, Any]:
        relay = Relay(line)
        watcher = Callback() if self.watcher is None else self.watcher(line.note)
        self.checkpoint.note = line.note
        return {
            "callback": Callbacks([relay, watcher]),
            "checkpoint": self.checkpoint,
            "on_step": relay.progress,
            "note": line.note,
        }


def work(address: tuple[str, int], key: bytes, device: torch.device) -> None:
    """Take part in a training: as one of torch's default group, whose task is told at ``address``."""
    try:
        line = Line(address, key)
    except OSError:
        return
    try:
        task: Task = line.ask("hello", Worker(distributed.get_rank(), socket.gethostname(), os.getpid()))
        speak(DOORS[task.door])
        result = task.train(line, device)
        line.ask("done", result if distributed.get_rank() == 0 else None)
    except VizslaError as error:
        line.ask("failed", Failure(error.what, error.where, error.allowed, error.do, refused=True))
    except Exception as error:
        line.ask("failed", _failure(error))
        raise
    line.close()


def _failure(error: Exception) -> Failure:
    if out_of_memory(error):
        return Failure(
            "The memory does not hold its share of a batch.",
            do=f"raise {spelled('accumulation')}, to the same result, or lower {spelled('batch_size')}",
        )
    if isinstance(error, FileNotFoundError):
        return Failure(
            f"Node {socket.gethostname()} does not see {error.filename}.",
            do="put VIZSLA_HOME and VIZSLA_CACHE where all nodes see them at the same path",
            refused=True,
        )
    lines = str(error).strip().splitlines() or [""]
    follows = isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
    return Failure(f"{type(error).__name__}: {lines[0]}", follows=follows)


def main() -> None:
    """Take part as the process that torchrun has made this one."""
    on_gpus = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group(BACKEND if on_gpus else "gloo")
    work((sys.argv[1], int(sys.argv[2])), bytes.fromhex(os.environ[KEY]), device)
    distributed.destroy_process_group()


if __name__ == "__main__":
    from vizsla.training.fine_tuning import worker  # under this name, as what is pickled is

    worker.main()
