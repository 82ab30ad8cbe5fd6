"""The operations of SageMaker's control plane that are offered, by name."""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context, Operation
from vizsla.aws.sagemaker import experiments, model_cards

PLACES = {
    "CreateTrainingJob": "training.create",
    "DescribeTrainingJob": "training.describe",
    "StopTrainingJob": "training.stop",
    "ListTrainingJobs": "training.list_jobs",
    "UpdateTrainingJob": "training.update",
    "CreateHyperParameterTuningJob": "tuning.create",
    "DescribeHyperParameterTuningJob": "tuning.describe",
    "StopHyperParameterTuningJob": "tuning.stop",
    "ListHyperParameterTuningJobs": "tuning.list_jobs",
    "ListTrainingJobsForHyperParameterTuningJob": "tuning.list_training_jobs",
    "CreateModel": "models.create",
    "DescribeModel": "models.describe",
    "DeleteModel": "models.MODELS.delete",
    "ListModels": "models.MODELS.list",
    "CreateEndpointConfig": "endpoint_configs.create",
    "DescribeEndpointConfig": "endpoint_configs.CONFIGS.describe",
    "DeleteEndpointConfig": "endpoint_configs.CONFIGS.delete",
    "ListEndpointConfigs": "endpoint_configs.CONFIGS.list",
    "CreateEndpoint": "endpoints.create",
    "DescribeEndpoint": "endpoints.describe",
    "UpdateEndpoint": "endpoints.update",
    "UpdateEndpointWeightsAndCapacities": "endpoints.update_weights",
    "DeleteEndpoint": "endpoints.delete",
    "ListEndpoints": "endpoints.list_endpoints",
    "CreateModelPackageGroup": "packages.create_group",
    "DescribeModelPackageGroup": "packages.describe_group",
    "DeleteModelPackageGroup": "packages.delete_group",
    "ListModelPackageGroups": "packages.list_groups",
    "CreateModelPackage": "packages.create",
    "DescribeModelPackage": "packages.describe",
    "UpdateModelPackage": "packages.update",
    "DeleteModelPackage": "packages.delete",
    "ListModelPackages": "packages.list_packages",
    "BatchDescribeModelPackage": "packages.batch_describe",
    "Search": "search.search",
    "CreateTransformJob": "transform.create",
    "DescribeTransformJob": "transform.describe",
    "StopTransformJob": "transform.stop",
    "ListTransformJobs": "transform.list_jobs",
    "CreateProcessingJob": "processing.create",
    "DescribeProcessingJob": "processing.describe",
    "StopProcessingJob": "processing.stop",
    "ListProcessingJobs": "processing.list_jobs",
    "DeleteTrainingJob": "removal.of_training",
    "DeleteHyperParameterTuningJob": "removal.of_tuning",
    "DeleteProcessingJob": "removal.of_processing",
}
"""Where operations are, below this package: each is imported when it is first asked, with the rooms that it asks."""


def operation_at(place: str) -> Operation:
    """The operation at ``module.function``."""
    module, _, name = place.partition(".")
    found: Operation = attrgetter(name)(importlib.import_module(f"vizsla.aws.sagemaker.{module}"))
    return found


def _when_asked(place: str) -> Operation:
    return lambda ctx, request: operation_at(place)(ctx, request)


def _no_monitoring(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListMonitoringSchedules: there are none."""
    return {"MonitoringScheduleSummaries": []}


OPERATIONS: dict[str, Operation] = {
    **{name: _when_asked(place) for name, place in PLACES.items()},
    **experiments.OPERATIONS,
    **model_cards.OPERATIONS,
    "ListTags": tags.list_tags,
    "AddTags": tags.add,
    "DeleteTags": tags.delete,
    "ListMonitoringSchedules": _no_monitoring,
}
