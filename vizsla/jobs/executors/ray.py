"""Jobs on a Ray cluster: each a task, which Ray places, starts when there is room, and starts again elsewhere when its
node dies."""

from __future__ import annotations

import socket
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from vizsla.cluster import Node, address_of, connect, cores, is_own, nodes, shared_variables
from vizsla.errors import JobError, VizslaError
from vizsla.files import write_json
from vizsla.jobs import attempt as attempts
from vizsla.jobs.attempt import LOST, NEVER_STARTED, RESUME
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import load
from vizsla.jobs.kinds import transform
from vizsla.jobs.ray_attempt import MEMORY, TOKEN, Task, gone_through, starts
from vizsla.jobs.ray_keeper import CRASHED, STOPPED, UNKNOWN, Keepers
from vizsla.jobs.slots import Capacity, Share
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.version import VERSION

RESTARTS = 3
"""How often a job is started again after the death of its node, where RetryStrategy does not say."""
_ASK_SECONDS = 0.3
_NODES_SECONDS = 2.0
_LAST_WORDS = 0.2


class RayExecutor(Executor):
    """Runs jobs on the nodes of a Ray cluster, which share the folder of the jobs, or whose home is a bucket.

    Ray places a job by its CPUs, GPUs and memory, lets it wait until they are free (a cluster that grows is told so),
    and starts it again on another node when its own dies: it goes on from ``checkpoints/``. A job outlives the process
    that submitted it. ``local`` as an instance type is the whole of the largest node.

    Parameters
    ----------
    address:
        ``ray://HOST:PORT``, or ``HOST:PORT`` from within the cluster; else RAY_ADDRESS, else the Ray of this machine,
        else a new one, which ends with this process.
    """

    name = "ray"
    has_address = True

    def __init__(self, home: Path | None = None, *, address: str | None = None) -> None:
        super().__init__(home, address=address)
        address_of(address)
        self.home = self.home.absolute()  # for the nodes, which have other working directories
        self._address = address
        self._cluster: tuple[ModuleType, Keepers] | None = None
        self._ended_tasks: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._asked_at = self._nodes_at = float("-inf")
        self._known_nodes: list[Node] = []
        self._largest = (0, 0)

    def resume(self, handle: Handle) -> Handle:
        """See :meth:`vizsla.jobs.executors.base.Executor.resume`."""
        self._connected()
        return super().resume(handle)

    def capacity(self) -> Capacity:
        """What the nodes have in all, and what this process's jobs leave of it.

        Raises
        ------
        JobError
            When there is no way to the cluster, or no node that jobs could run on.
        """
        self._advance()
        there = self._nodes()
        cpus, gpus = sum(node.cpus for node in there), sum(node.gpus for node in there)
        if not cpus and not self._jobs:
            cores(self._connected()[0])
        largest = (there[0].cpus, there[0].gpus) if there else (0, 0)
        if self._jobs:  # a node that has died under them may come back
            largest = max(self._largest, largest, key=lambda machine: (machine[1], machine[0]))
        self._largest = largest
        wanted = [self._asked(own.spec)[:2] for own in self._jobs.values()]
        free_cpus = cpus - sum(largest[0] if want is None else want for want, _ in wanted)
        free_gpus = gpus - sum(largest[1] if want is None else want for _, want in wanted)
        is_full = min(free_cpus, free_gpus) < 0
        waiting = sum(own.job.state.status == "Pending" for own in self._jobs.values()) if is_full else 0
        return Capacity(cpus, gpus, max(0, free_cpus), max(0, free_gpus), waiting, largest)

    def _check(self, spec: TrainingJobSpec) -> None:
        self._want(spec)

    def _want(self, spec: TrainingJobSpec) -> tuple[int, int, int]:
        """CPUs, GPUs and bytes of memory, as a node that is there has them."""
        cpus, gpus, memory = self._asked(spec)
        there = self._nodes()
        for node in there:
            want = node.cpus if cpus is None else cpus, node.gpus if gpus is None else gpus, memory
            if node.cpus and node.holds(*want):
                return want
        raise JobError(
            f"No node of the cluster is large enough for {spec.resource_config.instance_type!r}.",
            where="ResourceConfig.InstanceType",
            allowed="; ".join(map(str, there[:8])) or "there is no node",
            do="ask for less, or add a larger node",
        )

    def _asked(self, spec: TrainingJobSpec) -> tuple[int | None, int | None, int]:
        """The same; None where it takes all that a node has."""
        cpus, gpus, memory = spec.resource_config.asked()
        if cpus is None and tuple(spec.algorithm_specification.container_entrypoint or ()) == transform.COMMAND:
            return 0, 0, memory  # it hands its inputs out to cores that Ray Data reserves
        return cpus, gpus, memory

    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        cpus, gpus, memory = self._want(spec)
        bucket = self.bucket
        restarts = int((spec.retry_strategy or {}).get("MaximumRetryAttempts", RESTARTS))
        token = uuid.uuid4().hex
        _, keepers = self._connected()
        note = {"token": token, "ends_with": socket.gethostname() if is_own() else None, "version": VERSION}
        write_json(job.run / TOKEN, note)
        home = str(self.home) if bucket is None else bucket.address
        if bucket is not None:
            bucket.refresh(job.name, now=True)
        variables = shared_variables() | {"VIZSLA_HOME": home}
        key = self._key(job)
        task = Task(key, job.state.attempts + 1, token, cpus, restarts, variables)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": restarts, "name": job.name}
        if memory:
            options["memory"] = memory
        keepers.submit(key, asdict(task), options)
        self._versions[key] = VERSION
        self._ended_tasks.pop(key, None)

    def _conclude(self, job: JobDirectory, state: State) -> State | None:
        over = self._over(job, state)
        if over is not None and self.bucket is not None:
            self.bucket.refresh(job.name, now=True)
        if state.status == "Pending":
            if not _has_begun(job, state.attempts + 1):
                return None if over is None else self._conclude_unbegun(job, state, over)
            state = job.set_state("InProgress")
        end = attempts.ended(job, state.attempts)
        if end is None and over is not None:
            time.sleep(_LAST_WORDS)  # what a node has written is not seen at once everywhere
            end = attempts.ended(job, state.attempts)
        if end is None and over is None:
            if state.status == "InProgress" and (reason := attempts.stop_reason(job)) is not None:
                job.set_state("Stopping", reason or None)
            return None
        return attempts.write_end(job, state, end, _lost(job, state.attempts, over or ""))

    def _conclude_unbegun(self, job: JobDirectory, state: State, over: str) -> State:
        """The end of a job that no node has begun."""
        reason = attempts.stop_reason(job)
        if reason is not None:
            return job.set_state("Stopped", reason or "stopped before it was started")
        lost = NEVER_STARTED if over in ("", UNKNOWN, STOPPED) else _lost(job, state.attempts + 1, over)
        return attempts.write_end(job, state, None, lost)

    def _over(self, job: JobDirectory, state: State) -> str | None:
        """How the job's task has ended; None while it waits or runs, or where the cluster cannot be asked."""
        key = self._key(job)
        if key in self._ended_tasks:
            return self._ended_tasks[key]
        if job.name not in self._jobs:
            return self._over_of_a_stranger(job)
        if time.monotonic() - self._asked_at >= _ASK_SECONDS:
            _, keepers = self._connected()
            running = [(self._version(own.job), self._key(own.job)) for own in self._jobs.values() if own.running]
            for version in {version for version, _ in running}:
                self._ended_tasks |= keepers.ended([key for one, key in running if one == version], version)
            self._asked_at = time.monotonic()
        return self._ended_tasks.get(key)

    def _over_of_a_stranger(self, job: JobDirectory) -> str | None:
        try:
            _, keepers = self._connected(start=False)
        except VizslaError:  # whoever can reach the cluster will say; one that ended with its process, nobody can
            note = load(job.run / TOKEN) or {}
            return UNKNOWN if note.get("ends_with") == socket.gethostname() else None
        return keepers.ended([self._key(job)], self._version(job)).get(self._key(job))

    def _ask_to_stop(self, job: JobDirectory, grace: float, reason: str | None) -> None:
        attempts.note_stop(job, reason, grace)
        if job.state.status == "Pending":
            self._connected()[1].cancel(self._key(job), self._version(job))
            self._asked_at = float("-inf")

    def _kill(self, job: JobDirectory) -> None:
        self._connected()[1].cancel(self._key(job), self._version(job), force=True)

    def _still_runs(self, job: JobDirectory) -> bool:
        return self._over_of_a_stranger(job) is None

    def _key(self, job: JobDirectory) -> str:
        """How the cluster knows the job: its folder, or its place in a bucket, of which each machine has a mirror."""
        return str(job.path.absolute()) if self.bucket is None else f"{self.bucket.address}/{job.name}"

    def _version(self, job: JobDirectory) -> str:
        """The one that submitted the job, whose keeper knows it: ours may have been installed since."""
        key = self._key(job)
        if key not in self._versions or job.name not in self._jobs:  # others may have gone on with it
            self._versions[key] = str((load(job.run / TOKEN) or {}).get("version", VERSION))
        return self._versions[key]

    def _connected(self, *, start: bool = True) -> tuple[ModuleType, Keepers]:
        if self._cluster is None:
            ray = connect(self._address, start=start)
            self._cluster = ray, Keepers(ray)
        return self._cluster

    def _nodes(self) -> list[Node]:
        if time.monotonic() - self._nodes_at >= _NODES_SECONDS:
            self._known_nodes = nodes(self._connected()[0])
            self._nodes_at = time.monotonic()
        return self._known_nodes


def _has_begun(job: JobDirectory, attempt: int) -> bool:
    return (load(job.run / "process.json") or {}).get("attempt") == attempt


def _lost(job: JobDirectory, attempt: int, over: str) -> str:
    """Words for a job of which nothing is left."""
    if over in ("", UNKNOWN, STOPPED):
        return LOST
    if over != CRASHED:
        return over
    through = starts(job, attempt)
    return (
        f"its node was lost {len(through)} times, and it is not started again by itself: {gone_through(through)}; "
        f"{RESUME} goes on from what was finished; {MEMORY}"
    )


EXECUTOR = RayExecutor
