"""Processes of this machine that train together, by torchrun: one a GPU, or on a processor as many as are asked for."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile

import torch

from vizsla.settings import settings
from vizsla.training.fine_tuning.launcher import Launcher, Workers
from vizsla.training.fine_tuning.worker import KEY

_GRACE_SECONDS = 5


class Torchrun(Launcher):
    """Starts processes on this machine by torchrun, which ends the others where one is lost."""

    def room(self) -> tuple[int, bool, str]:
        if (gpus := torch.cuda.device_count()) > 0:
            return gpus, True, f"this machine has {gpus} GPU{'s' * (gpus != 1)}"
        cores = settings().threads
        return cores, False, f"this machine has no GPU and {cores} core{'s' * (cores != 1)} that may be used"

    def threads(self, processes: int, threads: int) -> int:
        return max(1, threads // processes)

    def start(self, processes: int, threads: int, address: tuple[str, int], key: bytes) -> Workers:
        host, port = address
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        command += [f"--nproc-per-node={processes}", "--module", "vizsla.training.fine_tuning.worker", host, str(port)]
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
        environment = {"GLOO_SOCKET_IFNAME": loopback} | os.environ
        environment |= {KEY: key.hex(), "OMP_NUM_THREADS": str(threads)}
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(_GRACE_SECONDS)
        return _Torchrun(command, environment)


class _Torchrun(Workers):
    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT
        )

    def over(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines() or ["without a word"]
        return "\n".join(lines[-20:])

    def close(self) -> None:
        if not self.over():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2 * _GRACE_SECONDS)
            self._process.kill()
        self._process.wait()
        self._said.close()
