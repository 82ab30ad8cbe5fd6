"""The job directory: the one form that everything long-running takes, laid out like SageMaker's ``/opt/ml``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import storage, write_bytes, write_json
from vizsla.jobs.envelope import Envelope
from vizsla.jobs.metrics import MetricWriter
from vizsla.jobs.states import State, Status, read_state, write_state

NAME_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""What a job may be called: SageMaker's pattern for TrainingJobName."""
FOLDERS = ("input/config", "input/data", "checkpoints", "model", "output", ".run")
"""The folders of a job. ``.run`` is the executor's: locks, processes, how an attempt ended."""
_STAMP_LENGTH = len("2026-11-21-10-32-07-491")


def check_name(name: str) -> str:
    """Return ``name`` when a job may be called so.

    Raises
    ------
    JobError
        Otherwise.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise JobError(
            f"{name!r:.100} cannot be the name of a job.",
            allowed="1 to 63 letters, digits and hyphens, beginning and ending with a letter or digit",
            do="choose another name",
        )
    return name


def job_name(kind: str, base_name: str, moment: float | None = None) -> str:
    """A name like ``train-flowers-2026-11-21-10-32-07-491``, of the local time with milliseconds."""
    moment = time.time() if moment is None else moment
    stamp = datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d-%H-%M-%S-%f")[:-3]
    base = re.sub(r"[^a-zA-Z0-9]+", "-", f"{kind}-{base_name}").strip("-")
    return f"{base[: 63 - _STAMP_LENGTH - 1].rstrip('-') or 'job'}-{stamp}"


class JobDirectory:
    """One job on disk. Make one with :meth:`create`, find one with :meth:`open`.

    The directory appears with its request and its first state in one step. ``job.json`` is never written again;
    ``state.json`` is replaced in one step by the controller; the job itself only appends to its own files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = self.path / "model"
        """Folder of the saved model (``SM_MODEL_DIR``)."""
        self.output = self.path / "output"
        """Folder of reports, predictions and ``failure``."""
        self.logs = self.path / "logs.txt"
        """The file that stdout and stderr go to."""
        self.metrics = self.path / "metrics.jsonl"
        """The file that :meth:`append_metric` appends to."""
        self.checkpoints = self.path / "checkpoints"
        """Folder that a restart continues from."""
        self.code = self.path / "code"
        """Folder of the user's code, of a script job (``SM_MODULE_DIR``)."""
        self.run = self.path / ".run"
        """Folder of what the executor keeps: locks, processes, how an attempt ended."""
        self.failure = self.output / "failure"
        """The file with the reason of a failure, in words."""

    def __repr__(self) -> str:
        return f"JobDirectory({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobDirectory) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @classmethod
    def create(
        cls,
        kind: str,
        base_name: str,
        document: dict[str, Any],
        home: Path,
        name: str | None = None,
        prepare: Callable[[Path], None] = lambda staging: None,
        *,
        executor: str = "local",
        parent: str | None = None,
    ) -> JobDirectory:
        """Make the directory of a new job under ``home``.

        Parameters
        ----------
        kind, executor, parent:
            See :class:`~vizsla.jobs.envelope.Envelope`.
        base_name:
            What the job is about, for its name; any text.
        document:
            Plain JSON: what is asked. Written once to ``job.json``.
        name:
            The whole name, where the caller wants to choose it.
        prepare:
            Called with the folder before it appears under its name: to fill and lock it.

        Raises
        ------
        JobError
            When a job of that name exists or the name is not allowed.
        StorageError
            When the folder cannot be written.
        """
        moment = time.time()
        home = home.absolute()
        with storage(home):
            home.mkdir(parents=True, exist_ok=True)
        state = State.first()
        while True:
            chosen = check_name(name if name is not None else job_name(kind, base_name, moment))
            staging = home / f".{chosen}.{uuid.uuid4().hex[:8]}.tmp"
            try:
                with storage(staging):
                    for folder in FOLDERS:
                        (staging / folder).mkdir(parents=True)
                envelope = Envelope(chosen, kind, executor, state.created, parent, document)
                write_json(staging / "job.json", envelope.to_dict())
                write_state(staging / "state.json", state)
                prepare(staging)
                os.rename(staging, home / chosen)  # refuses a folder that holds anything
                return cls(home / chosen)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    with storage(home / chosen):
                        raise
                if name is not None:
                    raise JobError(
                        f"There is a job named {chosen!r} already.",
                        where=home / chosen,
                        do=f"choose another name, go on with it by `vizsla jobs resume {chosen}`, "
                        f"or remove it by `vizsla jobs rm {chosen}`",
                    ) from error
                moment += 0.001  # two jobs in the same millisecond
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def open(cls, path: Path) -> JobDirectory:
        """The job at ``path``.

        Raises
        ------
        JobError
            When there is none, or its request or state cannot be read.
        """
        path = path.absolute()
        if not path.is_dir():
            raise JobError(
                f"There is no job {path.name!r}.",
                where=path,
                do="`vizsla jobs list` shows the jobs there are; VIZSLA_HOME says in which folder they are looked for",
            )
        if not (path / "job.json").is_file():
            raise JobError("This folder is not a job: it has no job.json.", where=path, do="name another folder")
        job = cls(path)
        _ = job.envelope, job.state
        return job

    @property
    def name(self) -> str:
        """The job's name: the folder's."""
        return self.path.name

    @cached_property
    def envelope(self) -> Envelope:
        """What ``job.json`` holds.

        Raises
        ------
        JobError
            When it cannot be read.
        """
        return Envelope.read(self.path / "job.json")

    @property
    def document(self) -> dict[str, Any]:
        """What is asked of the job, in the form of its kind."""
        return self.envelope.document

    @property
    def kind(self) -> str:
        """What the document is: the name of a module in :mod:`vizsla.jobs.kinds`."""
        return self.envelope.kind

    @property
    def executor(self) -> str:
        """Where it runs: the name of a module in :mod:`vizsla.jobs.executors`."""
        return self.envelope.executor

    @property
    def parent(self) -> str | None:
        """The job that this one is a part of, such as the search of a trial."""
        return self.envelope.parent

    @property
    def resume_command(self) -> str:
        """What a person types to go on with it."""
        from vizsla.jobs.kinds import kind_of  # with pydantic: only where it is wanted

        return kind_of(self.kind).resume.format(job=self.name)

    @property
    def state(self) -> State:
        """What ``state.json`` holds now."""
        return read_state(self.path / "state.json")

    @property
    def is_there(self) -> bool:
        """Whether it was not removed by hand, in whole or in part."""
        return (self.path / "state.json").exists()

    @property
    def is_readable(self) -> bool:
        """Whether its state can be read: it was not damaged by hand either."""
        try:
            _ = self.state
        except JobError:
            return False
        return True

    def set_state(self, status: Status, reason: str | None = None, **facts: Any) -> State:
        """Replace the state. Only the job's controller does this.

        Parameters
        ----------
        facts:
            Other fields of :class:`~vizsla.jobs.states.State`, like ``pid`` or ``exit_code``.

        Raises
        ------
        JobError
            When ``status`` may not follow the present one.
        """
        try:
            state = self.state.then(status, reason, **facts)
        except JobError as error:
            error.where = error.where or str(self.path)
            raise
        write_state(self.path / "state.json", state)
        return state

    @cached_property
    def _metric_writer(self) -> MetricWriter:
        return MetricWriter(self.metrics)

    def append_metric(self, name: str, value: float, step: int | None = None, epoch: float | None = None) -> None:
        """Append one value to ``metrics.jsonl``, cheaply: the file stays open.

        See :class:`~vizsla.jobs.metrics.MetricWriter`.
        """
        self._metric_writer.append(name, value, step, epoch)

    def write_failure(self, words: str) -> None:
        """Write the reason of a failure to ``output/failure``."""
        with storage(self.failure):
            self.output.mkdir(exist_ok=True)  # a script may have cleared the folder of its results
        write_bytes(self.failure, words.encode(errors="replace"))

    def close(self) -> None:
        """Close the metrics file. Nothing is lost without it: it is also closed when Python ends."""
        with contextlib.suppress(KeyError):
            self.__dict__.pop("_metric_writer").close()
