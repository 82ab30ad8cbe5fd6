"""A script that prepares or measures data: the document is a CreateProcessingJob, whose command it is."""

from __future__ import annotations

from typing import Any

from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.processing_folders import inputs, outputs
from vizsla.jobs.spec import TrainingJobSpec


def _spec(document: dict[str, Any]) -> TrainingJobSpec:
    outputs(document)  # what cannot be is said before anything runs
    application = document["AppSpecification"]
    cluster = (document.get("ProcessingResources") or {}).get("ClusterConfig") or {}
    return TrainingJobSpec.read(
        {
            "TrainingJobName": document.get("ProcessingJobName"),
            "AlgorithmSpecification": {
                "ContainerEntrypoint": application["ContainerEntrypoint"],
                "ContainerArguments": application.get("ContainerArguments"),
            },
            "InputDataConfig": [
                {
                    "ChannelName": one.name,
                    "DataSource": {"S3DataSource": {"S3Uri": one.address, "S3DataType": one.data_type}},
                    "InputMode": one.mode,
                }
                for one in inputs(document)
            ],
            "OutputDataConfig": {"CompressionType": "NONE"},
            "ResourceConfig": {
                "InstanceType": cluster.get("InstanceType") or "local",
                "InstanceCount": cluster.get("InstanceCount") or 1,
            },
            "StoppingCondition": document.get("StoppingCondition"),
            "Environment": document.get("Environment"),
            "Tags": document.get("Tags"),
        }
    )


KIND = Kind(_spec, leaves_model=False)
