"""Jobs on this machine: each its own process group, CPUs and GPUs shared out, the rest waits its turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vizsla.errors import JobError, UsageError
from vizsla.jobs import attempt as attempts
from vizsla.jobs.command import command_of
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.logs import HEAD_BYTES, TAIL_BYTES
from vizsla.jobs.slots import Capacity, Ledger, Share, visible_gpus
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.parameters import spelled
from vizsla.settings import settings, usable_cores


class LocalExecutor(Executor):
    """Runs jobs as processes of this machine.

    The process that makes it controls its jobs: it writes their states, and gives waiting jobs their turn when it
    polls. When it is killed, running jobs go on; :meth:`resume` takes them over. Several processes may run jobs of one
    folder: they share the machine (:mod:`vizsla.jobs.slots`). Within a job, its own share is shared out again.

    Parameters
    ----------
    cpus, gpus:
        What may be shared out; by default all that this process may use.
    log_bytes:
        How much of the beginning and of the end of a job's log are kept.
    """

    name = "local"

    def __init__(
        self,
        home: Path | None = None,
        *,
        cpus: int | None = None,
        gpus: Sequence[int] | None = None,
        log_bytes: tuple[int, int] = (HEAD_BYTES, TAIL_BYTES),
    ) -> None:
        super().__init__(home)
        within = os.environ.get("VIZSLA_JOB_DIR")
        share = os.environ.get("SM_NUM_CPUS", "") if within else ""
        self.cpus = cpus or (int(share) if share.isdigit() else usable_cores())
        self.gpus = tuple(visible_gpus() if gpus is None else gpus)
        self._log_bytes = log_bytes
        slots = Path(within) / ".run" / "slots" if within else self.home.absolute() / ".slots"
        self._ledger = Ledger(slots, self.cpus, self.gpus)
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}

    def capacity(self) -> Capacity:
        """See :meth:`vizsla.jobs.executors.base.Executor.capacity`."""
        self._advance()
        return Capacity(self.cpus, len(self.gpus), *self._ledger.free(), self._waiting())

    def _want(self, spec: TrainingJobSpec) -> tuple[int, int]:
        return spec.resource_config.share(self.cpus, len(self.gpus))

    def _check(self, spec: TrainingJobSpec) -> None:
        if sys.platform != "linux":
            raise JobError(
                f"A job cannot be started on this system ({sys.platform}): its supervisor needs what only Linux has.",
                where="the local executor",
                allowed="Linux",
                do="use Linux, or a container of it; `vizsla check`, `fit`, `predict` and `serve` start no job, and "
                f"{spelled('executor', 'debug')} runs one within its own process",
            )
        if self.bucket is not None:  # a job goes on without its controller, and then nobody would send what it writes
            settings().home_folder("A job of the executor local")
        self._want(spec)
        if spec.resource_config.asked()[2]:
            raise UsageError(
                "Memory is not shared out on this machine.",
                where="ResourceConfig.InstanceType",
                allowed="CPUs and GPUs, such as local-2cpu-1gpu; memory, too, on a Ray cluster",
            )

    def _room(self, spec: TrainingJobSpec) -> Share | None:
        return self._ledger.take(*self._want(spec))

    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        self._supervisors[job.name] = attempts.start(
            job,
            command_of(
                job,
                spec,
                job.state.attempts + 1,
                cpus=self._want(spec)[0],
                gpus=share.gpus if self.gpus else None,
                log_bytes=self._log_bytes,
                slots=share.files,
            ),
        )

    def _conclude(self, job: JobDirectory, state: State) -> State | None:
        supervisor = self._supervisors.get(job.name)
        if supervisor is not None:
            supervisor.poll()  # takes its exit code, so that it is no zombie
        ended = super()._conclude(job, state)
        if ended is not None and supervisor is not None:
            supervisor.wait()
            del self._supervisors[job.name]
        return ended


EXECUTOR = LocalExecutor
