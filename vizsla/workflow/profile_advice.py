"""Advice that is measured: what changes gain on a job, in a short run beside it or within it while it runs."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.spec import StoppingCondition, TrainingJobSpec
from vizsla.parameters import spelled
from vizsla.profiling.change import EVALUATE, HARMLESS, Change, candidates
from vizsla.profiling.evaluation import evaluate, findings_of
from vizsla.profiling.layout import output_of
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.timeline import CONTROL

_ADVICE = "advice.json"
_PROBE = "VIZSLA_PROFILER_PROBE"
_TRIAL_SECONDS = 240
_LIMIT_SECONDS = 900
_LIVE_SECONDS = 600.0
_SUBMIT_DIRECTORY = "sagemaker_submit_directory"


def advise_job(
    job: JobDirectory, changes: Sequence[str] = (), *, apply: bool = False, note: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Try changes on a job, by default those that its findings advise; what each gained is in ``advice.json``.

    A job that has ended is run again as far as the trial goes, beside it. One that runs tries harmless ones itself when
    its next epoch begins; with ``apply`` it goes on with those that gain.

    Raises
    ------
    UsageError
        For a change that is not known.
    JobError
        When the job trains no network that could be tried, or it has ended and something shall be applied.
    """
    profile = JobProfile(job.path)
    asked = [Change.parse(text) for text in changes]
    asked = asked or candidates(profile, findings_of(evaluate(profile)))
    if profile.train_steps is None or not len(profile.train_steps):
        raise JobError(
            f"Job {job.name!r} has trained no network yet: there is nothing to try.",
            where=profile.folder,
            do="the profile itself says what it spent its time on",
        )
    if not job.state.has_ended:
        trials = _within(job, asked, apply=apply, note=note)
    elif apply:
        raise JobError(
            f"Job {job.name!r} has ended: nothing can be applied to it.",
            where=job.path,
            do=f"try the changes without {spelled('apply')}, and train again with those that gain",
        )
    else:
        trials = _beside(job, asked, note)
    trials = [_worded(trial, profile) for trial in trials]
    trials += [_modelled(change, profile) for change in asked if change.parameter == EVALUATE]
    write_json(profile.folder / _ADVICE, {"changes": trials})
    return trials


def _within(
    job: JobDirectory, changes: Sequence[Change], *, apply: bool, note: Callable[[str], None]
) -> list[dict[str, Any]]:
    """In the running job, when its next epoch begins."""
    usable = [change.text for change in changes if change.parameter in HARMLESS]
    if not usable:
        raise JobError(
            f"Job {job.name!r} runs, and none of the changes leaves its results alone.",
            where=job.path,
            allowed=", ".join(HARMLESS),
            do="wait for its end, and try the changes then",
        )
    folder = output_of(job.path)
    (folder / _ADVICE).unlink(missing_ok=True)
    write_json(folder / CONTROL, {"try": usable, "apply_gains": apply})
    note(f"{job.name} tries {', '.join(usable)} when its next epoch begins.")
    end = time.monotonic() + _LIVE_SECONDS
    while time.monotonic() < end and not (folder / _ADVICE).exists():
        if job.state.has_ended:
            raise JobError(f"Job {job.name!r} ended before it tried anything.", where=job.path)
        time.sleep(0.2)
    return _read(folder / _ADVICE)


def _beside(job: JobDirectory, changes: Sequence[Change], note: Callable[[str], None]) -> list[dict[str, Any]]:
    """The job once more in a folder of its own, until all is tried."""
    texts = [change.text for change in changes if change.parameter != EVALUATE]
    if not texts:
        return []
    spec = kind_of(job.kind).spec(job.document)
    home = Path(tempfile.mkdtemp(prefix="vizsla-advice-"))
    out = home / _ADVICE
    asked = {"changes": texts, "out": str(out), "seconds": _TRIAL_SECONDS}
    environment = dict(spec.environment or {}) | {_PROBE: json.dumps(asked)}
    hyper_parameters = dict(spec.hyper_parameters)
    if spec.script is not None and job.code.is_dir():
        hyper_parameters[_SUBMIT_DIRECTORY] = json.dumps(str(job.code.resolve()))
    trial = spec.model_copy(
        update={
            "training_job_name": "advice",
            "environment": environment,
            "hyper_parameters": hyper_parameters,
            "stopping_condition": StoppingCondition(max_runtime_in_seconds=_LIMIT_SECONDS),
        }
    )
    note(f"Trying {', '.join(texts)}: the job runs again beside itself, as far as that needs.")
    try:
        _run(trial, home, note)
        if not out.exists():
            raise JobError(
                f"Nothing could be tried: the job's run ended before. {_tail(home)}",
                where=job.path,
                do="an epoch must have some tens of batches, from a DataLoader of a map-style dataset",
            )
        return _read(out)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(spec: TrainingJobSpec, home: Path, note: Callable[[str], None]) -> None:
    executor = LocalExecutor(home)
    try:
        handle: Handle = executor.submit(spec, "advice")
        while not executor.state(handle).has_ended:
            executor.poll([handle])
            time.sleep(0.1)
    except KeyboardInterrupt:
        executor.stop(handle, grace=1.0)
        raise
    finally:
        executor.close()


def _tail(home: Path) -> str:
    try:
        lines = (home / "advice" / "logs.txt").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return f"Its last line: {lines[-1]:.200}" if lines else ""


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_bytes()).get("changes", []))
    except (OSError, ValueError):
        return []


def _worded(trial: dict[str, Any], profile: JobProfile) -> dict[str, Any]:
    """With what it means for such a job."""
    if trial["why"]:
        return trial | {"words": f"it could not be tried: {trial['why']}", "minutes_saved": 0.0}
    interval = f"x {trial['gain']:.2f} ({trial['low']:.2f} to {trial['high']:.2f})"
    seconds = 0.0 if profile.loop is None else profile.loop.train
    if not trial["gains"]:
        return trial | {"words": f"it gains nothing: {interval}", "minutes_saved": 0.0}
    saved = seconds * (1 - 1 / trial["gain"]) / 60
    return trial | {
        "words": f"{trial['before']:.1f} to {trial['after']:.1f} images/s, {interval}; it would have saved "
        f"{saved:.1f} of {seconds / 60:.1f} minutes of training",
        "minutes_saved": round(saved, 3),
    }


def _modelled(change: Change, profile: JobProfile) -> dict[str, Any]:
    """What evaluating more rarely would save, by the profile."""
    loop, rate = profile.loop, profile.images_per_second or 0.0
    saved = 0.0 if loop is None else loop.evaluation * (1 - 1 / max(1, change.to))
    whole = 0.0 if loop is None else loop.total
    gain = whole / (whole - saved) if whole > saved else 1.0
    return {
        "change": change.text,
        "before": rate,
        "after": rate,
        "gain": gain,
        "low": gain,
        "high": gain,
        "memory_mib": 0,
        "steps": 0,
        "why": "",
        "gains": gain > 1,
        "how": "modelled",
        "words": f"reckoned from the profile: it would have saved {saved:.1f} of {whole:.1f} s of the training loop",
        "minutes_saved": round(saved / 60, 3),
    }
