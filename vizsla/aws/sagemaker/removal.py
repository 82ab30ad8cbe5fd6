"""Jobs that are deleted: with their folders, as ``vizsla jobs rm`` does; what lies in buckets stays."""

from __future__ import annotations

from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError
from vizsla.aws.requests import checked_name
from vizsla.aws.runners import runner_of
from vizsla.aws.sagemaker import processing, training, tuning
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle


def of_training(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteTrainingJob."""
    return _remove(ctx, training.find(ctx, checked_name(request, "TrainingJobName")))


def of_tuning(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteHyperParameterTuningJob: its trainings stay."""
    return _remove(ctx, tuning.find(ctx, checked_name(request, "HyperParameterTuningJobName")))


def of_processing(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteProcessingJob."""
    return _remove(ctx, processing.find(ctx, checked_name(request, "ProcessingJobName")))


def _remove(ctx: Context, job: JobDirectory) -> dict[str, Any]:
    state = runner_of(ctx.home).state(job)
    if not state.has_ended:
        raise AwsError("ResourceInUse", f"The job {job.name} is {state.status}: stop it first.")
    controller.executor_of(job).remove(Handle.of(job))
    return {}
