"""Jobs on this machine: each its own process group, CPUs and GPUs shared out, the rest waits its turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vizsla.errors import JobError
from vizsla.jobs import attempt as attempts
from vizsla.jobs import overlay, script, source_code
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import GRACE_SECONDS, Executor
from vizsla.jobs.handover import ENVIRONMENT, Command
from vizsla.jobs.logs import HEAD_BYTES, TAIL_BYTES
from vizsla.jobs.profiled import sampling_interval
from vizsla.jobs.slots import Capacity, Ledger, Share, visible_gpus
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.parameters import spelled
from vizsla.settings import usable_cores


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
        self._want(spec)

    def _room(self, spec: TrainingJobSpec) -> Share | None:
        return self._ledger.take(*self._want(spec))

    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        self._supervisors[job.name] = attempts.start(job, self._command(job, spec, self._want(spec)[0], share))

    def _conclude(self, job: JobDirectory, state: State) -> State | None:
        supervisor = self._supervisors.get(job.name)
        if supervisor is not None:
            supervisor.poll()  # takes its exit code, so that it is no zombie
        ended = super()._conclude(job, state)
        if ended is not None and supervisor is not None:
            supervisor.wait()
            del self._supervisors[job.name]
        return ended

    def _command(self, job: JobDirectory, spec: TrainingJobSpec, cpus: int, share: Share) -> Command:
        """What the supervisor gets; what is not the built-in training runs in an environment of its own."""
        user = spec.script
        program = user[1] if user else ""
        algorithm = spec.algorithm_specification
        python, environment = Path(sys.executable), None
        if not algorithm.is_builtin:
            environment = job.path.absolute() / ENVIRONMENT
            python = overlay.make(environment)
        if user:
            argv = script.command(program, spec, job.code, python)
        else:
            argv = [*(algorithm.container_entrypoint or []), *(algorithm.container_arguments or [])]
            argv[0] = str(python) if argv[0] == "python" else argv[0]
        shell = script.is_shell(argv)
        if environment is not None:
            argv = script.prepared(argv, spec, job.code, environment)
        condition = spec.stopping_condition
        return Command(
            attempt=job.state.attempts + 1,
            argv=argv,
            shell=shell,
            folder=str(job.code if user else job.path),
            environment=script.variables(
                job.path,
                spec,
                cpus=cpus,
                gpus=share.gpus if self.gpus else None,
                program=program,
                environment=environment,
            ),
            metrics=[(definition.name, definition.regex) for definition in algorithm.metric_definitions or []],
            limit=None if condition is None else condition.max_runtime_in_seconds,
            grace=GRACE_SECONDS,
            opt_ml=user is not None and (source_code.names_opt_ml(job.code) or "/opt/ml" in str(spec.to_dict())),
            log_head=self._log_bytes[0],
            log_tail=self._log_bytes[1],
            pack=spec.output_data_config is None or spec.output_data_config.compression_type != "NONE",
            slots=list(share.files),
            sampled=sampling_interval(spec),
        )


EXECUTOR = LocalExecutor
