"""``python -m vizsla.jobs.recorder``: brings the MLflow runs of the jobs in a folder up to date.

A run has the job's name, its hyperparameters as parameters, its metrics, the small files of its results as artifacts,
and tags: ``vizsla.job``, ``vizsla.kind``, ``vizsla.parent``, ``vizsla.directory``, ``vizsla.status``,
``vizsla.reason``. A job with a recorded parent is nested under it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import StorageError
from vizsla.files import storage, write_json
from vizsla.jobs.controller import executor_of
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.growing import read_metrics_after
from vizsla.jobs.handover import load
from vizsla.jobs.hyperparameters import decoded, is_number
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.metrics import Metric
from vizsla.jobs.recorded_names import RecordedNames
from vizsla.jobs.recorded_trials import LONGEST_TAG, STATUS, milliseconds, record_trials
from vizsla.jobs.states import State, now
from vizsla.jobs.tracking import (
    ERROR,
    FOLDER,
    NOTE,
    RECORDED,
    artifact_root,
    due,
    is_local,
    masked,
    sqlite_address,
    sqlite_file,
    take_turn,
)
from vizsla.optional import require

EXPERIMENT = "vizsla"
_PAUSE, _LIVE_SECONDS = 1.0, 10.0
"""Seconds between two looks: while somebody looks at the pages, and at jobs that run and are recorded on a server."""
_TRIES = 5
_BATCH = 1000
_MANY, _POINTS_PER_SECOND = 1000, 10
_LONGEST_PARAMETER = 6000
_ARTIFACT_BYTES = 10 << 20
_LARGEST_STEP = 2**63 - 1
_OWN_TAGS = ("vizsla.", "mlflow.")
"""What tags of a person may not begin with: they mean something to us and to MLflow."""


def thin(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """What MLflow is told of some values: all of a name's, or of more than 1,000 the last in each tenth of a second.

    A loop that logs 10,000 values a second would cost a core and 20 MB a minute to write there; ``metrics.jsonl`` has
    them all.
    """
    counts = Counter(m.name for m in metrics)
    if not counts or max(counts.values()) <= _MANY:
        return metrics
    last = {}
    for at, m in enumerate(metrics):
        last[m.name, int(m.time * _POINTS_PER_SECOND) if counts[m.name] > _MANY else at] = m
    return list(last.values())


def make_database(uri: str) -> None:
    """Make MLflow's tables in a SQLite file that is not there yet, in one step: a kill would leave half of them.

    Raises
    ------
    MissingExtraError
        When MLflow is not installed.
    """
    mlflow, file = require("mlflow", extra="track", feature="Tracking"), sqlite_file(uri)
    if file is None or file.exists():
        return
    with storage(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file.with_name(f".{file.name}.making"), "w")  # noqa: SIM115 - closed by the block that follows
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that make tables at once fail
        if file.exists():  # by now
            return
        new = file.with_name(f".{file.name}.new")
        for leftover in new.parent.glob(f"{new.name}*"):  # of one that was killed
            leftover.unlink()
        mlflow.MlflowClient(tracking_uri=sqlite_address(new)).search_experiments(max_results=1)
        with contextlib.closing(sqlite3.connect(new)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.replace(new, file)


class Recorder:
    """Writes jobs to one MLflow server or database.

    Parameters
    ----------
    uri:
        MLflow's tracking address.
    home:
        The folder of the jobs.

    Raises
    ------
    MissingExtraError
        When MLflow is not installed.
    """

    def __init__(self, uri: str, home: Path) -> None:
        mlflow = require("mlflow", extra="track", feature="Tracking")
        self._entities = require("mlflow.entities", extra="track", feature="Tracking")
        self.home, self.uri = home, uri
        make_database(uri)
        self.client: Any = mlflow.MlflowClient(tracking_uri=uri)
        self.experiment = self._experiment(uri)

    def _experiment(self, uri: str) -> str:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self.client.create_experiment(EXPERIMENT, artifact_root(self.home) if is_local(uri) else None))

    def record(self, job: JobDirectory) -> State:
        """Bring the job's run up to date; the state it was brought up to. With an end, nothing is left to write.

        Raises
        ------
        VizslaError
            When the job is gone.
        """
        state = executor_of(job).state(Handle.of(job))
        note = self._note(job) or self._begin(job, state)
        run = note["run"]
        if state.attempts != note.get("attempt"):
            self.client.update_run(run, status="RUNNING")
            note["attempt"] = state.attempts
        names, written = RecordedNames(note.get("names")), None
        while written != note["metrics"]:  # a part at a time, to the end of the file
            written = note["metrics"]
            values, note["metrics"] = read_metrics_after(job.metrics, written)
            metrics = thin(values)
            names.add(m.name for m in metrics)
            for start in range(0, len(metrics), _BATCH):
                batch = [
                    self._entities.Metric(names[m.name], m.value, int(m.time * 1000), _step(m.step, m.epoch))
                    for m in metrics[start : start + _BATCH]
                ]
                self.client.log_batch(run, metrics=batch)
            write_json(job.run / NOTE, note | {"names": names.by_name}, private=True)
        if state.has_ended:
            self._end(job, state, run)
            write_json(job.run / NOTE, note | {"names": names.by_name, RECORDED: state.updated}, private=True)
        return state

    def _note(self, job: JobDirectory) -> dict[str, Any] | None:
        """What is known of the job's run at this address; None when it has none there."""
        note = load(job.run / NOTE)
        return note if note is not None and "run" in note and note.get("uri", self.uri) == self.uri else None

    def _begin(self, job: JobDirectory, state: State) -> dict[str, Any]:
        """The job's run: the one it has already (of a recorder that was killed), or a new one."""
        spec = kind_of(job.kind).spec(job.document)
        directory = str(job.path)
        quoted = directory.replace("'", "")
        # A directory may have been another job's, which was removed: only with its moment it is this one.
        same = f"tags.`vizsla.directory` = '{quoted}' and tags.`vizsla.created` = '{state.created}'"
        runs = self.client.search_runs([self.experiment], same, max_results=1)
        if runs:
            run = runs[0].info.run_id
        else:
            names = RecordedNames()
            tags = {
                names[key if not key.startswith(_OWN_TAGS) else f"tag.{key}"]: _text(value)
                for key, value in ((tag.key, tag.value) for tag in spec.tags or [])
            }
            tags |= {
                "vizsla.job": job.name,
                "vizsla.kind": job.kind,
                "vizsla.directory": quoted,
                "vizsla.created": state.created,
                "mlflow.user": os.environ.get("USER", ""),
                "mlflow.source.name": f"vizsla {job.kind}",
            }
            tags |= self._parent(job)
            created = self.client.create_run(
                self.experiment, start_time=milliseconds(state.created), tags=tags, run_name=job.name
            )
            run = created.info.run_id
        channels = {f"channel.{channel.channel_name}": channel.uri for channel in spec.input_data_config}
        strings = dict(spec.hyper_parameters)
        values = {name: strings[name] if is_number(value) else value for name, value in decoded(strings).items()}
        parameters = channels | values
        names = RecordedNames()
        names.add(parameters)
        batch = [
            self._entities.Param(names[k], _text(str(v))[:_LONGEST_PARAMETER]) for k, v in parameters.items() if str(v)
        ]
        for start in range(0, len(batch), 100):
            self.client.log_batch(run, params=batch[start : start + 100])
        note = {"run": run, "metrics": 0, "attempt": state.attempts, "uri": self.uri, RECORDED: None}
        write_json(job.run / NOTE, note, private=True)
        return note

    def _parent(self, job: JobDirectory) -> dict[str, str]:
        if not job.parent:
            return {}
        tags = {"vizsla.parent": job.parent}
        parent = JobDirectory(self.home / job.parent)
        if (parent.path / "job.json").exists():
            note = self._note(parent) or self._begin(parent, parent.state)
            tags["mlflow.parentRunId"] = note["run"]
        return tags

    def _end(self, job: JobDirectory, state: State, run: str) -> None:
        self.client.set_tag(run, "vizsla.status", state.status)
        if state.reason:
            self.client.set_tag(run, "vizsla.reason", state.reason[:LONGEST_TAG])
        for path in [*sorted(job.output.glob("*")), job.model / "model.json", job.path / "job.json"]:
            if path.is_file() and path.suffix != ".gz" and path.stat().st_size <= _ARTIFACT_BYTES:
                self.client.log_artifact(run, str(path))
        trials = kind_of(job.kind).trials
        summary = None if trials is None else load(job.output / trials)
        if summary is not None:
            record_trials(self.client, self._entities, self.experiment, run, summary, self.home)
        self.client.set_terminated(run, STATUS[state.status], milliseconds(state.ended))


@dataclass
class SyncCounts:
    """What :func:`sync` has left: jobs that still run, and jobs that could not be recorded."""

    running: int = 0
    failed: int = 0


def sync(home: Path, uri: str | None = None, *, running: bool = False) -> SyncCounts:
    """Bring the runs of the jobs in ``home`` up to date. Done again, it changes nothing.

    A job that cannot be recorded holds no other up: the error is kept in its ``.run/tracking-error.json``.

    Parameters
    ----------
    uri:
        Only those that are recorded there; by default each where its note says.
    running:
        Also jobs that still run, where nobody may look at a server.
    """
    counts, recorders, refused = SyncCounts(), dict[str, Recorder](), Counter[str]()
    for job in due(home):
        place = str((load(job.run / NOTE) or {}).get("uri", ""))
        if not place or uri not in (None, place):
            continue
        if refused[place] >= _TRIES:
            counts.failed += 1
            continue
        try:
            if is_local(place) and not running and not executor_of(job).state(Handle.of(job)).has_ended:
                continue
            if place not in recorders:
                recorders[place] = Recorder(place, home)
            counts.running += not recorders[place].record(job).has_ended
            refused.pop(place, None)
            (job.run / ERROR).unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - of the server, of its client, of this job's files: words for all
            if not (job.path / "job.json").exists():
                print(f"{job.name} was removed before it was recorded: {masked(str(error))}", flush=True)
                continue
            counts.failed += 1
            refused[place] += 1
            _keep_error(job, place, error)
    return counts


def sync_in_turn(home: Path, turn: int, delay: float) -> None:
    """Wait, sync, and go on while jobs run that may be looked at, or fail to be recorded a few times.

    One process syncs at a time, and one more waits for its turn: it will see all that happens until it begins.
    """
    pause, failures = delay, 0
    while True:
        time.sleep(pause)
        with _alone(home):
            os.close(turn)
            counts = sync(home)
            failures = failures + 1 if counts.failed else 0
            again = take_turn(home) if counts.running or 0 < failures < _TRIES else None
        if again is None:
            return
        turn, pause = again, _LIVE_SECONDS if counts.running else _PAUSE * 2**failures


def sync_beside(home: Path, process: int) -> None:
    """Sync again and again, while this process's parent is still ``process``."""
    while os.getppid() == process:
        with _alone(home):
            sync(home, running=True)
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    (home / FOLDER).mkdir(parents=True, exist_ok=True)
    with open(home / FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep_error(job: JobDirectory, uri: str, error: Exception) -> None:
    words, uri = masked(f"{type(error).__name__}: {error}")[:LONGEST_TAG], masked(uri)
    print(f"{job.name} could not be recorded at {uri}: {words}", flush=True)
    with contextlib.suppress(StorageError):
        write_json(job.run / ERROR, {"uri": uri, "error": words, "time": now()})


def _text(text: str) -> str:
    """The text as every database takes it: what is no Unicode (bytes of a command line) becomes question marks."""
    return text.encode(errors="replace").decode()


def _step(step: int | None, epoch: float | None) -> int:
    return max(-_LARGEST_STEP, min(_LARGEST_STEP, step if step is not None else int(epoch or 0)))


def main(home: str, process: str, delay: str | None = None) -> None:
    """With a delay ``process`` is the open file of a turn, else the parent's number."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # this process tries again itself
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    if delay is None:
        sync_beside(Path(home), int(process))
        return
    os.nice(10)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write("10")  # a session of its own is a group of its own for the scheduler: nice alone means nothing
    sync_in_turn(Path(home), int(process), float(delay))


if __name__ == "__main__":
    main(*sys.argv[1:])
