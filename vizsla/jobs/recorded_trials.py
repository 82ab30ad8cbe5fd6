"""The trials of a search that ran inside one job, as MLflow runs below that job's run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from vizsla.jobs.recorded_names import RecordedNames

STATUS = {"Completed": "FINISHED", "Failed": "FAILED", "Stopped": "KILLED"}
LONGEST_TAG = 5000


def record_trials(
    client: Any,
    entities: Any,
    experiment: str,
    parent: str,
    summary: dict[str, Any],
    home: Path,
) -> int:
    """Write the trials in a job's ``tuning.json``; those that are jobs of their own, or written before, are left out.

    Returns
    -------
    How many were written.
    """
    names_there = {
        run.data.tags.get("vizsla.trial")
        for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=10_000)
    }
    names = RecordedNames()
    objective = names[summary["HyperParameterTuningJobObjective"]["MetricName"]]
    for trial in summary["TrainingJobSummaries"]:
        names.add([*trial["Metrics"], *trial["TunedHyperParameters"]])
    written = 0
    for trial in summary["TrainingJobSummaries"]:
        name, status = trial["TrainingJobName"], STATUS.get(trial["TrainingJobStatus"])
        if name in names_there or status is None or (home / name / "job.json").exists():
            continue
        start, end = (milliseconds(trial[key]) for key in ("TrainingStartTime", "TrainingEndTime"))
        tags = {"vizsla.trial": name, "vizsla.kind": "trial", "mlflow.parentRunId": parent}
        if trial["FailureReason"]:
            tags["vizsla.reason"] = trial["FailureReason"][:LONGEST_TAG]
        run = client.create_run(experiment, start_time=start, tags=tags, run_name=name).info.run_id
        curve = [entities.Metric(objective, v, end or 0, step) for step, v in enumerate(trial["ObjectiveCurve"], 1)]
        final = [
            entities.Metric(names[n], v, end or 0, 0) for n, v in trial["Metrics"].items() if names[n] != objective
        ]
        if trial["FinalObjectiveValue"] is not None:
            final.append(entities.Metric("FinalObjectiveValue", trial["FinalObjectiveValue"], end or 0, 0))
        client.log_batch(
            run,
            metrics=[*curve, *final][:1000],
            params=[entities.Param(names[n], str(v)) for n, v in trial["TunedHyperParameters"].items()],
        )
        client.set_terminated(run, status, end)
        written += 1
    return written


def milliseconds(moment: str | None) -> int | None:
    """An ISO 8601 time as MLflow has it."""
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
