"""Jobs on this machine: each its own process group, CPUs and GPUs shared out, the rest waits its turn."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, VizslaError
from vizsla.jobs import attempt as attempts
from vizsla.jobs import overlay, script, source_code, tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import (
    GRACE_SECONDS,
    Capacity,
    Event,
    Handle,
    HeartbeatEvent,
    LogEvent,
    MetricEvent,
    Poll,
    Position,
    Since,
    StatusEvent,
)
from vizsla.jobs.growing import read_metrics_after
from vizsla.jobs.handover import ENVIRONMENT, Command
from vizsla.jobs.lock import ControllerLock
from vizsla.jobs.log_reader import near_the_end, read_log_after
from vizsla.jobs.logs import HEAD_BYTES, TAIL_BYTES
from vizsla.jobs.slots import Ledger, Share
from vizsla.jobs.spec import TrainingJobSpec, local_path
from vizsla.jobs.states import State
from vizsla.settings import settings, usable_cores


@dataclass
class _Active:
    """A job that this executor controls: waiting (no process, no share) or running."""

    job: JobDirectory
    lock: ControllerLock
    spec: TrainingJobSpec
    want: tuple[int, int]
    running: bool = False
    process: subprocess.Popen[bytes] | None = None


class LocalExecutor:
    """Runs jobs as processes of this machine.

    The process that makes it controls its jobs: it writes their states, and gives waiting jobs their turn when it
    polls. When it is killed, running jobs go on; :meth:`resume` takes them over. Several processes may run jobs of one
    folder: they share the machine (:mod:`vizsla.jobs.slots`). Within a job, its own share is shared out again.

    Parameters
    ----------
    home:
        The folder of the jobs; by default what the settings say.
    cpus, gpus:
        What may be shared out; by default all that this process may use.
    log_bytes:
        How much of the beginning and of the end of a job's log are kept.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        cpus: int | None = None,
        gpus: Sequence[int] | None = None,
        log_bytes: tuple[int, int] = (HEAD_BYTES, TAIL_BYTES),
    ) -> None:
        self.home = settings().home if home is None else home
        within = os.environ.get("VIZSLA_JOB_DIR")
        share = os.environ.get("SM_NUM_CPUS", "") if within else ""
        self.cpus = cpus or (int(share) if share.isdigit() else usable_cores())
        self.gpus = tuple(visible_gpus() if gpus is None else gpus)
        self._log_bytes = log_bytes
        slots = Path(within) / ".run" / "slots" if within else self.home.absolute() / ".slots"
        self._ledger = Ledger(slots, self.cpus, self.gpus)
        self._active: dict[str, _Active] = {}  # in the order of submission
        self._ended: dict[str, State] = {}

    def submit(
        self, spec: TrainingJobSpec, base_name: str, *, kind: str = "train", about: Mapping[str, Any] | None = None
    ) -> Handle:
        """See :meth:`vizsla.jobs.executors.base.Executor.submit`."""
        want = spec.resource_config.share(self.cpus, len(self.gpus))
        user = spec.script
        if user is not None:
            with source_code.opened(user[0]) as folder:
                source_code.check_script(folder, user[1])
                return self._submit(spec, base_name, kind, about, want, folder)
        if not spec.algorithm_specification.container_entrypoint:
            raise JobError(
                "The job says nothing that could be run.",
                where="AlgorithmSpecification",
                allowed="a ContainerEntrypoint, or the hyperparameters sagemaker_program and "
                "sagemaker_submit_directory",
            )
        return self._submit(spec, base_name, kind, about, want, None)

    def _submit(
        self,
        spec: TrainingJobSpec,
        base_name: str,
        kind: str,
        about: Mapping[str, Any] | None,
        want: tuple[int, int],
        code: Path | None,
    ) -> Handle:
        locks: list[ControllerLock] = []

        def prepare(staging: Path) -> None:
            locks.append(ControllerLock(staging))
            script.write_input(staging, spec)
            if code is not None:
                lasting = spec.script is not None and code == local_path(spec.script[0])
                source_code.copy_code(code, staging / "code", may_link=lasting)

        request: dict[str, Any] = {"about": dict(about)} if about else {}
        try:
            job = JobDirectory.create(
                kind, base_name, request | spec.to_dict(), self.home, spec.training_job_name, prepare
            )
        except BaseException:
            for lock in locks:
                lock.release()
            raise
        for lock in locks[:-1]:  # of names that were taken
            lock.release()
        self._active[job.name] = _Active(job, locks[-1], spec, want)
        try:
            self._advance()
        except VizslaError:
            if (active := self._active.get(job.name)) is not None and not active.running:
                self._release(active)
                shutil.rmtree(job.path, ignore_errors=True)
            raise
        return Handle(job.name, job.path)

    def resume(self, handle: Handle) -> Handle:
        """Go on with a job that failed, was stopped, or lost its controller; one that still runs is taken over.

        Raises
        ------
        JobError
            When the job is completed, or another process controls it.
        """
        job = JobDirectory.open(handle.path)
        if job.name in self._active:
            return handle
        attempts.settle(job)
        lock = ControllerLock(job.path)
        try:
            state = job.state  # not before the lock is held: who held it may have ended the job meanwhile
            if state.status == "Completed":
                raise JobError(f"Job {job.name!r} is completed: there is nothing left to do.", where=job.path)
            if job.kind == "tune" and (job.request.get("about") or {}).get("script"):
                raise JobError(
                    f"Job {job.name!r} is a search, which is no single process.",
                    where=job.path,
                    do=f"`{job.resume_command}`",
                )
            spec = TrainingJobSpec.read(job.request)
            active = _Active(job, lock, spec, spec.resource_config.share(self.cpus, len(self.gpus)))
            if state.has_ended:
                (job.run / "stop.json").unlink(missing_ok=True)
                job.set_state("Pending")
            else:
                active.running = True  # another controller started it; its supervisor holds the share it was given
        except BaseException:
            lock.release()
            raise
        self._ended.pop(job.name, None)
        self._active[job.name] = active
        self._advance()
        return Handle(job.name, job.path)

    def poll(self, handles: Sequence[Handle], since: Since | None = None) -> Poll:
        """See :meth:`vizsla.jobs.executors.base.Executor.poll`."""
        self._advance()
        positions = dict(since or {})
        events: list[Event] = []
        for handle in handles:
            before = positions.get(handle.name, Position())
            state = self._ended.get(handle.name) or JobDirectory(handle.path).state  # before the files: an end is last
            active = self._active.get(handle.name)
            if active is not None and active.running:
                events.append(HeartbeatEvent(handle.name, time.time()))
            metrics_at, log_at = before.metrics, before.log
            reading = state.status != "Pending"
            while reading:
                metrics, at = read_metrics_after(handle.path / "metrics.jsonl", metrics_at)
                events += [MetricEvent(handle.name, metric) for metric in metrics]
                reading, metrics_at = state.has_ended and at > metrics_at, at  # an end comes after all that was written
            reading = state.status != "Pending"
            while reading:
                left_out, log_at = near_the_end(handle.path / "logs.txt", handle.path / ".run", log_at)
                text, log_at = read_log_after(handle.path / "logs.txt", handle.path / ".run", log_at)
                events += [LogEvent(handle.name, left_out + text)] if text else []
                reading = state.has_ended and bool(text)
            if state.updated != before.updated:
                events.append(StatusEvent(handle.name, state))
            positions[handle.name] = Position(metrics_at, log_at, state.updated)
        return Poll(tuple(events), positions)

    def stop(self, handle: Handle, grace: float = GRACE_SECONDS, reason: str | None = None) -> None:
        """See :meth:`vizsla.jobs.executors.base.Executor.stop`."""
        active = self._active.get(handle.name)
        if active is None:
            return
        if not active.running:
            active.job.set_state("Stopped", reason or "stopped before it was started")
            tracking.announce(active.job)
            self._release(active)
            return
        attempts.request_stop(active.job, grace, reason)
        self._advance()

    def capacity(self) -> Capacity:
        """See :meth:`vizsla.jobs.executors.base.Executor.capacity`."""
        self._advance()
        waiting = sum(not active.running for active in self._active.values())
        return Capacity(self.cpus, len(self.gpus), *self._ledger.free(), waiting)

    def fetch(self, handle: Handle, path: str) -> Path:
        """See :meth:`vizsla.jobs.executors.base.Executor.fetch`."""
        found = (handle.path / path).resolve()
        if not found.is_relative_to(handle.path.resolve()):
            raise JobError(f"{path!r} leads out of the job.", where=handle.path, allowed="a path within the job")
        if not found.exists():
            raise JobError(f"Job {handle.name!r} has no {path!r}.", where=found)
        return found

    def close(self) -> None:
        """Give up control; what runs goes on."""
        for active in list(self._active.values()):
            active.lock.release()
        self._active.clear()

    def _advance(self) -> None:
        """Conclude what has ended, then start what there is room for, first come first served."""
        for active in [a for a in self._active.values() if a.running]:
            if active.process is not None:
                active.process.poll()  # takes the supervisor's exit code, so that it is no zombie
            state = attempts.conclude(active.job, active.job.state)
            if state is not None:
                if active.process is not None:
                    active.process.wait()
                self._ended[active.job.name] = state
                self._release(active)
        is_full = False
        for active in [a for a in self._active.values() if not a.running]:
            reason = attempts.stop_reason(active.job)
            if reason is not None:
                active.job.set_state("Stopped", reason or "stopped before it was started")
                tracking.announce(active.job)
                self._release(active)
            elif not is_full and (share := self._ledger.take(*active.want)) is not None:
                try:
                    self._start(active, share)
                finally:
                    share.close()  # the supervisor has it now
            else:
                is_full = True  # those behind it wait for it, but may be stopped

    def _start(self, active: _Active, share: Share) -> None:
        job = active.job
        try:
            active.process = attempts.start(job, self._command(job, active.spec, active.want[0], share))
        except (OSError, VizslaError) as error:  # no disk, no process: this job's failure, not its controller's
            reason = f"it could not be started: {error}".splitlines()[0]
            self._ended[job.name] = job.state.then("Failed", reason)
            self._release(active)
            with contextlib.suppress(VizslaError):
                job.set_state("Failed", reason)
                tracking.announce(job)
            return
        active.running = True
        tracking.announce(job)

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
        )

    def _release(self, active: _Active) -> None:
        active.lock.release()
        del self._active[active.job.name]


def visible_gpus() -> Iterator[int]:
    """Numbers of the NVIDIA GPUs that this process may use, found without loading a driver."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        yield from (int(part) for part in allowed.split(",") if part.strip().isdigit())
        return
    yield from sorted(int(p.name[6:]) for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit())
