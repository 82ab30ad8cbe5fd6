"""One attempt at a job as a Ray task, on whatever node Ray has chosen.

The task starts the supervisor beside it, which keeps the log and the metrics in the job's directory as anywhere else.
When the node dies Ray starts the task again elsewhere, and the job goes on from its ``checkpoints/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, VizslaError
from vizsla.jobs import attempt as attempts
from vizsla.jobs.command import command_of
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import load
from vizsla.jobs.job_input import write_input
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.logs import join_tails
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.settings import settings
from vizsla.version import VERSION

TOKEN, STARTS = "ray.json", "ray-starts.jsonl"
"""In ``.run``: how a node knows that it sees this very directory, and the nodes on which attempts were started."""
MEMORY = "where a node ran out of memory, reserve some: an instance type such as local-2cpu-8gb"
"""What else may have happened: Ray ends what runs on a node then."""
_LOOK_SECONDS = 0.25
_PATIENCE = 5.0
"""How long a directory may take to appear on a node: file systems of networks remember what was not there."""


@dataclass(frozen=True)
class Task:
    """What a node is told. ``path`` is the job's folder, or its address in a bucket; ``variables`` are the controller's
    own settings; ``version`` is its Vizsla."""

    path: str
    attempt: int
    token: str
    cpus: int
    restarts: int
    """How often the job is started again after the death of its node."""
    variables: dict[str, str]
    version: str = VERSION


@dataclass(frozen=True)
class Start:
    """A line of ``.run/ray-starts.jsonl``."""

    attempt: int
    node: str
    pid: int


def run_attempt(fields: dict[str, Any]) -> str:
    """Run an attempt to its end.

    Returns
    -------
    Why it could not begin, in words; empty when it has run.
    """
    task = Task(**fields)
    import ray

    own = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}  # a job may use the cluster itself
    try:
        with _variables(task.variables | own):
            _run(task)
    except VizslaError as error:
        return str(error)
    return ""


def starts(job: JobDirectory, attempt: int) -> list[Start]:
    """Where an attempt was started, in the order of time."""
    try:
        lines = (job.run / STARTS).read_text("utf-8").splitlines()
        return [start for line in lines if (start := Start(**json.loads(line))).attempt == attempt]
    except (OSError, ValueError, TypeError):
        return []


def gone_through(starts: list[Start]) -> str:
    """Where it was started, in words."""
    return ", ".join(f"{start.node} (process {start.pid})" for start in starts)


def _run(task: Task) -> None:
    if task.version != VERSION:
        raise JobError(
            f"Node {_node()} has Vizsla {VERSION}, and the job comes from {task.version}.",
            do="install the same version on all nodes",
        )
    if not task.path.startswith("s3://"):
        _run_in(_shared(task), task)
        return
    from vizsla.jobs.node_folder import NodeFolder  # with all that speaks to buckets: only where it is wanted

    home = settings().home
    place = home.with_name(f"{home.name}-{_node()}") / task.path.rpartition("/")[2]
    node = NodeFolder(task.path, place)
    node.begin()
    with node.sending():
        _run_in(JobDirectory.open(place), task)


def _run_in(job: JobDirectory, task: Task) -> None:
    if attempts.ended(job, task.attempt) is not None:
        return  # the node died after the job had ended
    spec = kind_of(job.kind).spec(job.document)
    if not spec.algorithm_specification.is_builtin:  # that says itself what it does not find
        _check_channels(job, spec)
    if settings().bucket is not None:  # which holds no links
        write_input(job.path, spec)
    before = starts(job, task.attempt)
    if len(before) > task.restarts:
        raise JobError(
            f"It was started {len(before)} times and lost its node each time: {gone_through(before)}.", do=MEMORY
        )
    with open(job.run / STARTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(Start(task.attempt, _node(), os.getpid()))) + "\n")
    if before:
        join_tails(job.logs, job.run)
        words = (
            f"the job was lost with {gone_through(before[-1:])}; it goes on from its checkpoints on {_node()}, "
            f"restart {len(before)} of {task.restarts}"
        )
        with open(job.logs, "a", encoding="utf-8") as log:
            log.write(f"\n[vizsla: {words}]\n")
    command = command_of(
        job,
        spec,
        task.attempt,
        cpus=max(1, task.cpus),
        gpus=_gpus(),
        ends_with_parent=True,
    )
    supervisor = attempts.launch(job, command)
    try:
        _watch(job, supervisor)
    finally:
        supervisor.kill()
        supervisor.wait()


def _gpus() -> tuple[int, ...] | None:
    """Ray's choice of them; None where they are named otherwise, and its variables say which."""
    import ray

    names = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return tuple(sorted(map(int, names))) if all(name.isdigit() for name in names) else None


def _watch(job: JobDirectory, supervisor: subprocess.Popen[bytes]) -> None:
    """Until the supervisor has ended; who asks the job to stop writes it down, and perhaps once more with less
    patience."""
    asked, over = None, False
    end = os.pidfd_open(supervisor.pid)
    try:
        while not over:
            try:
                over = bool(select.select([end], [], [], _LOOK_SECONDS)[0])
            except KeyboardInterrupt:  # how Ray says that the task is cancelled
                supervisor.terminate()
            request = load(job.run / "stop.json")
            if request is not None and request != asked:
                supervisor.terminate()
            asked = request
    finally:
        os.close(end)


def _shared(task: Task) -> JobDirectory:
    """The job's directory, when this node sees it."""
    job, end = JobDirectory(Path(task.path)), time.monotonic() + _PATIENCE
    while (load(job.run / TOKEN) or {}).get("token") != task.token:
        if time.monotonic() > end:
            raise JobError(
                f"The folder of the jobs is not shared with node {_node()}: it does not see this job.",
                where=job.path,
                do="set VIZSLA_HOME to a folder that all nodes have at the same path (NFS, FSx, EFS, Lustre), or to a "
                "bucket, s3://...",
            )
        time.sleep(0.2)
    return JobDirectory.open(job.path)


def _check_channels(job: JobDirectory, spec: TrainingJobSpec) -> None:
    for channel in spec.input_data_config:
        if channel.path is not None and not channel.path.exists():
            raise JobError(
                f"Node {_node()} does not see the data of channel {channel.channel_name!r}.",
                where=channel.path,
                do="put them where all nodes see them at the same path, or into a bucket: s3://...",
            )


@contextlib.contextmanager
def _variables(own: Mapping[str, str]) -> Iterator[None]:
    """The controller's settings, in a process that runs other jobs afterwards."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _node() -> str:
    return socket.gethostname()
