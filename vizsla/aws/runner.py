"""The controller of the jobs that clients start: one thread of the server looks at them all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from vizsla.aws.context import REQUEST
from vizsla.aws.outputs import KINDS, publish
from vizsla.errors import VizslaError
from vizsla.files import write_json
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors import open_executor
from vizsla.jobs.handover import GRACE_SECONDS
from vizsla.jobs.lock import ControllerLock, take
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.version import python_path

_PAUSE_SECONDS = 0.05


class Runner:
    """Starts jobs, looks after them, stops them. A process has one a home: :func:`vizsla.aws.runners.runner_of`.

    The jobs go on when this process is killed; the next one takes them over (:meth:`take_over`).
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        self._executor = open_executor("local", home)
        self._jobs: dict[str, JobDirectory] = {}
        self._searches: dict[str, subprocess.Popen[bytes]] = {}
        self._wake = threading.Event()
        self._over = False
        self._told = ""
        self._thread = threading.Thread(target=self._watch, name="vizsla-jobs", daemon=True)
        self._thread.start()

    def submit(
        self,
        spec: TrainingJobSpec,
        request: dict[str, Any],
        *,
        kind: str = "train",
        document: dict[str, Any] | None = None,
    ) -> JobDirectory:
        """Make a job of a request and let it run as soon as there is room.

        Raises
        ------
        VizslaError
            When it cannot run here; nothing is left of it.
        """
        with self._lock:
            handle = self._executor.submit(spec, spec.training_job_name or kind, kind=kind, document=document)
            job = JobDirectory(handle.path)
            write_json(job.path / REQUEST, request)
            self._begin(job)
        return job

    def _begin(self, job: JobDirectory) -> None:
        self._jobs[job.name] = job
        self._wake.set()

    def search(self, job: JobDirectory, lock: ControllerLock, request: dict[str, Any]) -> None:
        """Let a tuning job run that was made already: as a process of its own, which outlives this one."""
        write_json(job.path / REQUEST, request)
        self._start_search(job, lock)

    def _start_search(self, job: JobDirectory, lock: ControllerLock) -> None:
        with open(job.run / "search.log", "ab") as log, lock.handing_over() as (file, handed):
            process = subprocess.Popen(
                [sys.executable, "-m", "vizsla", "tune", "resume", job.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(file,),
                env=os.environ
                | {"VIZSLA_HOME": str(self.home), "PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))}
                | handed,
            )
        with self._lock:
            self._searches[job.name] = process
        self._wake.set()

    def state(self, job: JobDirectory) -> State:
        """The state of any job here, brought up to date; what an ended one left lies in its buckets."""
        state = job.state
        if not state.has_ended and job.name not in self._jobs:
            state = controller.executor_of(job).state(Handle.of(job))
        if state.has_ended and job.kind in KINDS:
            self._publish(job)
        return state

    def _publish(self, job: JobDirectory) -> None:
        try:
            publish(self.home, job)
        except (OSError, VizslaError) as error:  # a full disk: the next look tries it again, and its state is told
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if str(error) != self._told:
            print(f"vizsla: {error}", file=sys.stderr, flush=True)
        self._told = str(error)

    def stop(self, job: JobDirectory, reason: str) -> None:
        """Ask a job to end, whoever controls it; returns at once."""
        with self._lock:
            executor = self._executor if job.name in self._jobs else controller.executor_of(job)
            executor.stop(Handle.of(job), GRACE_SECONDS, reason)
        self._wake.set()

    def take_over(self) -> list[str]:
        """Go on with what an earlier server started and nobody controls: what runs, and what waited for its turn. The
        names of those jobs."""
        names = []
        for path in sorted(self.home.glob(f"*/{REQUEST}")):
            job = JobDirectory(path.parents[1])
            try:
                before = job.state
                if not before.has_ended and (lock := take(job.path)) is not None:
                    lock.release()
                    after = controller.executor_of(job).state(Handle.of(job))
                    if not after.has_ended or (before.status == "Pending" and after.status == "Failed"):
                        self._take_over(job)
                        names.append(job.name)
            except VizslaError as error:
                self._tell(error)
        return names

    def _take_over(self, job: JobDirectory) -> None:
        if job.kind == "tune":
            lock = ControllerLock(job.path)
            if job.state.has_ended:
                job.set_state("Pending")
            self._start_search(job, lock)
            return
        with self._lock:
            self._executor.resume(Handle.of(job))
            self._begin(job)

    def close(self) -> None:
        """Give up control; what runs goes on."""
        self._over = True
        self._wake.set()
        self._thread.join()
        with self._lock:
            self._executor.close()

    def _watch(self) -> None:
        while not self._over:
            idle = not self._jobs and not self._searches
            try:
                for job in self._look():
                    self._publish(job)
            except Exception as error:  # noqa: BLE001 - one odd job must not end the watch over all others
                self._tell(error)
            self._wake.wait(None if idle else _PAUSE_SECONDS)
            self._wake.clear()

    def _look(self) -> list[JobDirectory]:
        """Bring all jobs up to date; those that have ended since and leave something in buckets."""
        with self._lock:
            self._executor.poll([])
            ended = [job for job in self._jobs.values() if _is_over(job)]
            for job in ended:
                del self._jobs[job.name]
            for name in [name for name, process in self._searches.items() if process.poll() is not None]:
                del self._searches[name]
        return [job for job in ended if job.is_there and job.kind in KINDS]


def _is_over(job: JobDirectory) -> bool:
    """Whether there is nothing more to look after: it has ended, or was removed by hand."""
    try:
        return job.state.has_ended
    except VizslaError:
        return not job.is_there
