"""The training loop as SageMaker's framework metrics: events by name, and Chrome traces in ``framework/pevents``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.files import write_bytes
from vizsla.profiling.layout import NODE, hour_of
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.segments import EVAL, TRAIN, Segments
from vizsla.profiling.timeline import MARK, Phase

_MOST_TRACED = 20_000
_NAMES = {
    Phase.IMPORTS: ("Imports", "Initialization"),
    Phase.WEIGHTS: ("Weights", "Initialization"),
    Phase.DATA: ("DataLoaderIter", "DataIterator"),
    Phase.TRANSFER: ("HostToDevice", "DataIterator"),
    Phase.FORWARD: ("Forward", "Forward-node"),
    Phase.BACKWARD: ("Backward(post-forward)", "Backward-node"),
    Phase.OPTIMIZER: ("Optimizer", "Optimizer-node"),
    Phase.EVALUATION: ("Evaluation", "Evaluation"),
    Phase.CHECKPOINT: ("Checkpoint", "Checkpoint"),
    Phase.LOGGING: ("Logging", "Logging"),
}
"""SageMaker's name of an event and of its phase; those that it never had are of the same form."""
STEP_NAMES = {TRAIN: "Step:ModeKeys.TRAIN", EVAL: "Step:ModeKeys.EVAL"}
COLUMNS = (
    *("start_time", "end_time", "start_time_us", "end_time_us", "tid", "pid"),
    *("framework_metric", "step", "bytes", "process", "nodeID"),
)


@dataclass(frozen=True)
class Events:
    """Events (n,) by time: begin and end in microseconds of Unix time, name, phase, step, process."""

    began_us: npt.NDArray[np.int64]
    ended_us: npt.NDArray[np.int64]
    name: npt.NDArray[np.object_]
    phase: npt.NDArray[np.object_]
    step: npt.NDArray[np.int64]
    pid: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.began_us)


def events_of(profile: JobProfile) -> Events:
    """Of all processes that trained or evaluated."""
    parts = [_of_process(segments) for segments in profile.processes]
    if not parts:
        none, words = np.empty(0, np.int64), np.empty(0, np.object_)
        return Events(none, none, words, words, none, none)
    names = ("began_us", "ended_us", "name", "phase", "step", "pid")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    return Events(*(column[order] for column in columns))


def _of_process(segments: Segments) -> Events:
    chosen = np.flatnonzero(np.isin(segments.phase, list(_NAMES)))
    words = np.array([_NAMES.get(Phase(i), ("", "")) for i in range(len(Phase))], np.object_)
    names, phases = words[segments.phase[chosen]].T.copy()
    for kind, title in ((Phase.DATA, "DataLoaderIterInitialize"), (Phase.OPTIMIZER, "ZeroGrad")):
        names[(segments.phase[chosen] == kind) & (segments.flags[chosen] == MARK)] = title
    train = segments.steps(TRAIN)
    at = np.searchsorted(train.began, segments.began[chosen], side="right") - 1
    columns: list[list[npt.NDArray[Any]]] = [
        [segments.began[chosen]],
        [segments.ended[chosen]],
        [names],
        [phases],
        [np.maximum(at, 0)],
    ]
    for mode, title in STEP_NAMES.items():
        steps = segments.steps(mode)
        words = np.full(len(steps), title, np.object_)
        for column, values in zip(
            columns, (steps.began, steps.began + steps.seconds, words, words, steps.numbers), strict=True
        ):
            column.append(values)
    began, ended, name, phase, step = (np.concatenate(column) for column in columns)
    pid = np.full(len(began), int(segments.facts.get("pid", 0)), np.int64)
    micro = [(1e6 * moment).astype(np.int64) for moment in (began, ended)]
    return Events(micro[0], micro[1], name, phase, step.astype(np.int64), pid)


def framework_columns(events: Events) -> dict[str, Any]:
    """SageMaker's columns (``PandasFrame.get_all_framework_metrics``); times count from the minute of the first."""
    base = int(events.began_us[0]) // 60_000_000 * 60_000_000 if len(events) else 0
    words = [
        [f"{s[:19]}:{s[20:]}" for s in np.datetime_as_string(us.astype("datetime64[us]"), unit="us").tolist()]
        for us in (events.began_us, events.ended_us)
    ]
    n = len(events)
    values = (*words, events.began_us - base, events.ended_us - base, np.zeros(n, int), events.pid)
    return dict(
        zip(
            COLUMNS,
            (*values, events.name, events.step, np.zeros(n, int), events.phase, [NODE] * n),
            strict=True,
        )
    )


def trace(events: Events, begin: int = 0, end: int | None = None) -> list[dict[str, Any]]:
    """A Chrome trace of SageMaker's form of the events from ``begin`` to ``end``."""
    rows = slice(begin, end)
    base = int(events.began_us[0]) if len(events) else 0
    phases = {name: number for number, name in enumerate(dict.fromkeys(events.phase[rows].tolist()), 1)}
    result: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": base}}
    ]
    for name, number in phases.items():
        result.append({"name": "process_name", "ph": "M", "pid": number, "args": {"name": name}})
        result.append({"name": "process_sort_index", "ph": "M", "pid": number, "args": {"sort_index": number}})
    columns = (events.name, events.phase, events.began_us, events.ended_us, events.step, events.pid)
    for name, phase, began, ended, step, pid in zip(*(column[rows].tolist() for column in columns), strict=True):
        result.append(
            {
                "name": name,
                "pid": phases[phase],
                "tid": pid,
                "ph": "X",
                "ts": began - base,
                "dur": ended - began,
                "args": {"pid": pid, "step_num": str(step)},
            }
        )
    return result


def write_trace(profile: JobProfile) -> Path | None:
    """``framework/pevents/HOUR/END_PID-NODE_pythontimeline.json``: of a long job the first events; None without any.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    events = events_of(profile)
    if not len(events):
        return None
    last = int(events.ended_us[:_MOST_TRACED][-1])
    folder = profile.folder / "framework" / "pevents" / hour_of(last / 1e6)
    for path in folder.parent.glob("*/*_pythontimeline.json"):
        path.unlink()
    path = folder / f"{last}_{int(events.pid[0])}-{NODE}_pythontimeline.json"
    write_bytes(path, json.dumps(trace(events, 0, _MOST_TRACED)).encode(), make_folder=True)
    return path
