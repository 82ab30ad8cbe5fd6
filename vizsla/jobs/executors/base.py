"""What an executor is: the life of a job in order, the verbs that callers use, and the events they are told."""

from __future__ import annotations

import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

from vizsla.errors import JobError, VizslaError
from vizsla.jobs import attempt as attempts
from vizsla.jobs import source_code, tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import NOW, Cursor, Event, Handle, Place, Poll, end, events_after
from vizsla.jobs.handover import GRACE_SECONDS
from vizsla.jobs.home import bucket_home, discard, lag
from vizsla.jobs.job_input import write_input
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.lock import ControllerLock, create_locked, holder
from vizsla.jobs.log_reader import LogPosition, read_log_after
from vizsla.jobs.own_job import OwnJob
from vizsla.jobs.removal import refuse_link, refuse_unended, remove
from vizsla.jobs.rule_watch import RuleWatch, check_rules
from vizsla.jobs.slots import Capacity, Share
from vizsla.jobs.spec import TrainingJobSpec, local_path
from vizsla.jobs.states import State
from vizsla.settings import settings


class Executor(ABC):
    """Runs jobs. The public verbs are here; another executor writes the methods below them, where it differs.

    The life of a job, in order:

    1. :meth:`submit` refuses what cannot run (``_check``), makes the job's directory with its input and its code, and
       returns a handle. The job is Pending. This process is its controller: a lock on the directory says so.
    2. When there is room (``_room``) an attempt begins (``_start``): the job is InProgress. That is tried at every
       verb, first come first served, so call :meth:`poll` regularly.
    3. What the job prints and logs lies in its directory as it grows; :meth:`poll` tells it, and each change of state.
    4. :meth:`stop` asks it to end (``_ask_to_stop``) and returns at once; :meth:`end` also waits, and
       ends by force (``_kill``) what does not answer.
    5. ``_conclude`` sees that the attempt has ended and writes how: the job is Completed, Failed or Stopped. Of a job
       whose controller is gone, whoever looks next does that (:meth:`state`).
    6. :meth:`fetch` gives its results; :meth:`resume` begins another attempt, or takes over one that still runs;
       :meth:`remove` deletes it.

    What is not abstract below does for processes of this machine. An executor lives in a module of its name in
    :mod:`vizsla.jobs.executors` and is proven by the suite in :mod:`vizsla.jobs.conformance`.

    Parameters
    ----------
    home:
        The folder of the jobs; by default what the settings say.
    """

    name: ClassVar[str]
    """What ``job.json`` calls it, and its module."""
    echoes: ClassVar[bool] = False
    """Whether what a job prints is on this process's own output already, so that a person would read it twice."""
    has_address: ClassVar[bool] = False  # whether there are several, each at an ``address``, which it takes then

    def __init__(self, home: Path | None = None, *, address: str | None = None) -> None:
        self.place = address or self.name  # what `open_executor` finds it by, and job.json says
        self.home = settings().home if home is None else home
        self.bucket = bucket_home(self.home)  # that the home is a mirror of
        self._jobs: dict[str, OwnJob] = {}  # in the order of submission
        self._ended: dict[str, State] = {}

    def submit(
        self,
        spec: TrainingJobSpec,
        base_name: str,
        *,
        parent: str | None = None,
        kind: str = "train",
        document: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Make a job and let it run as soon as there is room.

        Parameters
        ----------
        spec:
            What to run; its ``TrainingJobName``, where given, is the job's name.
        base_name:
            What the job is about, for the name that is made otherwise.
        parent:
            The job that it is a part of.
        kind, document:
            What it is called in ``job.json``, where that is another kind than a training.

        Raises
        ------
        VizslaError
            For a request that cannot run here, or a name that exists; nothing is left behind.
        """
        self._let_go_of_removed()  # their names are free
        spec.check_program()
        check_rules(spec)
        self._check(spec)
        with contextlib.ExitStack() as stack:
            code = None
            if spec.script is not None:
                code = stack.enter_context(source_code.opened(spec.script[0]))
                source_code.check_script(code, spec.script[1])

            def prepare(staging: Path) -> None:
                write_input(staging, spec)
                if code is not None and spec.script is not None:
                    links = code == local_path(spec.script[0]) and self.bucket is None
                    source_code.copy_code(code, staging / "code", may_link=links)

            job, lock = create_locked(
                kind,
                base_name,
                spec.to_dict() if document is None else dict(document),
                self.home,
                spec.training_job_name,
                prepare,
                executor=self.place,
                parent=parent,
            )
        self._jobs[job.name] = OwnJob(job, lock, spec)
        try:
            self._advance()
        except VizslaError:
            if (controlled := self._jobs.get(job.name)) is not None and not controlled.running:
                self._release(controlled)
                discard(job.path)
            raise
        return Handle.of(job)

    def resume(self, handle: Handle) -> Handle:
        """Go on with a job that failed, was stopped, or lost its controller; one that still runs is taken over.

        Raises
        ------
        JobError
            When the job is completed, or another process controls it.
        """
        job = JobDirectory.open(handle.path)
        if job.name in self._jobs:
            return handle
        self._ended.pop(job.name, None)
        self.state(handle)
        lock = ControllerLock(job.path)
        try:
            state = job.state  # not before the lock is held: who held it may have ended the job meanwhile
            if state.status == "Completed":
                raise JobError(f"Job {job.name!r} is completed: there is nothing left to do.", where=job.path)
            kind = kind_of(job.kind)
            spec = kind.spec(job.document)
            if not kind.is_process(spec):
                raise JobError(
                    f"Job {job.name!r} is of the kind {job.kind}, which is no single process here.",
                    where=job.path,
                    do=f"`{job.resume_command}`",
                )
            self._check(spec)
            if state.has_ended:
                attempts.forget_stop(job)
                job.set_state("Pending")
        except BaseException:
            lock.release()
            raise
        # What has not ended, another controller has started.
        self._jobs[job.name] = OwnJob(job, lock, spec, running=not state.has_ended)
        self._advance()
        return Handle.of(job)

    def poll(self, handles: Sequence[Handle], since: Cursor | None = None) -> Poll:
        """What happened to ``handles`` after ``since``, from the beginning where that is None. Returns soon."""
        self._advance()
        places = {} if since in (None, NOW) else json.loads(str(since))
        events: list[Event] = []
        for handle in handles:
            place = end(handle.path) if since == NOW else Place.read(places.get(handle.name))
            new, place = events_after(handle, self.state(handle), place)
            events += new
            places[handle.name] = astuple(place)
        return Poll(tuple(events), json.dumps(places))

    def logs(self, handle: Handle, since: Cursor | None = None) -> tuple[str, Cursor]:
        """The text of the log after ``since``, at most 1 MiB of it, and where it goes on; no text at its end."""
        position = LogPosition(*json.loads(since or "[]"))
        text, position = read_log_after(handle.path / "logs.txt", handle.path / ".run", position)
        return text, json.dumps(astuple(position))

    def state(self, handle: Handle) -> State:
        """The job's state, after writing the end of an attempt whose controller is gone.

        Raises
        ------
        JobError
            When it cannot be read.
        """
        if handle.name in self._ended:
            return self._ended[handle.name]
        job = JobDirectory(handle.path)
        if handle.name in self._jobs or (self.bucket and not self.bucket.refresh(handle.name)):
            return job.state
        return attempts.settle(job, self._finish)

    def stop(self, handle: Handle, grace: float = GRACE_SECONDS, reason: str | None = None) -> None:
        """Ask a job to end, whoever controls it: SIGTERM, and SIGKILL after ``grace`` seconds. Returns at once."""
        controlled = self._jobs.get(handle.name)
        if controlled is not None and not controlled.running:
            self._stop_waiting(controlled, reason)
        elif controlled is not None or not self.state(handle).has_ended:
            self._ask_to_stop(JobDirectory(handle.path), grace, reason)
            if self.bucket is not None:
                self.bucket.refresh(handle.name, now=True)
            self._advance()

    def end(self, handle: Handle, grace: float = GRACE_SECONDS, reason: str | None = None) -> State:
        """Stop a job and wait until it has ended; one that does not answer is killed after the grace.

        Raises
        ------
        JobError
            When it has ended already, or does not end.
        """
        job, state = JobDirectory(handle.path), self.state(handle)
        if state.has_ended:
            raise JobError(f"Job {job.name!r} is {state.status} already: there is nothing to stop.", where=job.path)
        self.stop(handle, grace, reason)
        end = time.monotonic() + grace + 2 + lag(self.home)
        while not (state := self.state(handle)).has_ended and time.monotonic() < end:
            if attempts.stop_reason(job) is None:  # somebody went on with it meanwhile: what was asked is forgotten
                self.stop(handle, grace, reason)
            time.sleep(0.05)
        if not state.has_ended:
            self._kill(job)
            time.sleep(1 + lag(self.home))
            state = self.state(handle)
        if not state.has_ended:
            who = holder(job.path) or "another process"
            raise JobError(
                f"Job {job.name!r} does not end: {who} controls it and does not answer.",
                where=job.path,
                do="let that process go on (it may be suspended), or end it",
            )
        return state

    def check_removable(self, handle: Handle) -> None:
        """That a job can be removed: it has ended, or its files are damaged and nothing of it runs.

        Raises
        ------
        JobError
            Otherwise.
        """
        refuse_link(handle)
        try:
            status = self.state(handle).status
        except JobError:
            status = "InProgress" if self._still_runs(JobDirectory(handle.path)) else "Failed"
        refuse_unended(handle, status)

    def remove(self, handle: Handle) -> None:
        """Delete a job that has ended, or whose files are damaged, with everything in its directory.

        Raises
        ------
        JobError
            When it has not ended, or another process controls it.
        """
        remove(handle, lambda: self.check_removable(handle))

    def fetch(self, handle: Handle, path: str) -> Path:
        """A file or folder that the job left, such as ``output/model.tar.gz``, as a path on this machine.

        Raises
        ------
        JobError
            When the job has no such file, or the path leads out of it.
        """
        place = (handle.path / path).resolve()
        if not place.is_relative_to(handle.path.resolve()):
            raise JobError(f"{path!r} leads out of the job.", where=handle.path, allowed="a path within the job")
        if self.bucket is not None:
            self.bucket.fetch(handle.name, path)
        if not place.exists():
            raise JobError(f"Job {handle.name!r} has no {path!r}.", where=place)
        return handle.path / path

    @abstractmethod
    def capacity(self) -> Capacity:
        """What there is and what is free."""

    def close(self) -> None:
        """Give up control; what runs goes on."""
        for controlled in list(self._jobs.values()):
            self._release(controlled)

    # What executors write.

    @abstractmethod
    def _check(self, spec: TrainingJobSpec) -> None:
        """That the job can run here at all; a :class:`VizslaError` where not."""

    def _room(self, spec: TrainingJobSpec) -> Share | None:
        """What the job is given, which is closed when it was started; None while it has to wait."""
        return Share((), ())

    @abstractmethod
    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        """Begin an attempt: InProgress is written first, so that nothing runs that nobody knows."""

    def _conclude(self, job: JobDirectory, state: State) -> State | None:
        """Write how the attempt ended; None while it runs. The lock is held."""
        return attempts.conclude(job, state)

    def _ask_to_stop(self, job: JobDirectory, grace: float, reason: str | None) -> None:
        """Ask an attempt that runs to end, perhaps from another process than its controller's; returns at once."""
        attempts.request_stop(job, grace, reason)

    def _kill(self, job: JobDirectory) -> None:
        """End by force an attempt that was asked to stop and does not answer."""
        attempts.end_by_force(job)

    def _still_runs(self, job: JobDirectory) -> bool:
        """Whether anything of the job runs, of which nothing else can be read."""
        return attempts.still_runs(job)

    def _waiting(self) -> int:
        return sum(not controlled.running for controlled in self._jobs.values())

    def _advance(self) -> None:
        """Conclude what has ended, then start what there is room for, first come first served."""
        if self.bucket is not None:
            self.bucket.check()
        self._let_go_of_removed()
        for controlled in [c for c in self._jobs.values() if c.running and c.job.is_readable]:
            self._watch(controlled).look()
            state = self._finish(controlled.job, controlled.job.state)
            if state is not None:
                self._ended[controlled.job.name] = state
                self._release(controlled)
        is_full = False
        for controlled in [c for c in self._jobs.values() if not c.running]:
            reason = attempts.stop_reason(controlled.job)
            if reason is not None:
                self._stop_waiting(controlled, reason)
            elif not is_full and (share := self._room(controlled.spec)) is not None:
                with contextlib.closing(share):
                    self._try_start(controlled, share)
            else:
                is_full = True  # those behind it wait for it, but may be stopped

    def _let_go_of_removed(self) -> None:
        """End what runs of jobs whose folders were removed by hand; one that was moved goes on at its new place."""
        for controlled in [c for c in self._jobs.values() if not c.job.is_there]:
            if controlled.lock.is_removed or controlled.job.path.exists():
                with contextlib.suppress(VizslaError):
                    self._kill(controlled.job)
            self._release(controlled)

    def _finish(self, job: JobDirectory, state: State) -> State | None:
        ended = self._conclude(job, state)
        if ended is not None:
            own = self._jobs.get(job.name)
            (RuleWatch.of(job) if own is None else self._watch(own)).look(over=True)
            tracking.end(job)
        return ended

    def _watch(self, own: OwnJob) -> RuleWatch:
        own.rules = own.rules or RuleWatch(own.job, own.spec, lambda why: self.stop(Handle.of(own.job), reason=why))
        return own.rules

    def _try_start(self, controlled: OwnJob, share: Share) -> None:
        job = controlled.job
        try:
            self._start(job, controlled.spec, share)
        except (OSError, VizslaError) as error:  # no disk, no process: this job's failure, not its controller's
            reason = f"it could not be started: {error}".splitlines()[0]
            self._release(controlled)
            with contextlib.suppress(VizslaError):  # a full disk, or a job that was damaged by hand
                self._ended[job.name] = job.state.then("Failed", reason)
                job.set_state("Failed", reason)
                tracking.begin(job)
                tracking.end(job)
            return
        controlled.running = True
        tracking.begin(job)

    def _stop_waiting(self, controlled: OwnJob, reason: str | None) -> None:
        controlled.job.set_state("Stopped", reason or "stopped before it was started")
        tracking.begin(controlled.job)
        tracking.end(controlled.job)
        self._release(controlled)

    def _release(self, controlled: OwnJob) -> None:
        controlled.lock.release()
        del self._jobs[controlled.job.name]
