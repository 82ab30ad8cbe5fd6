"""A batch transform: the document is a CreateTransformJob."""

from __future__ import annotations

from typing import Any

from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.spec import TrainingJobSpec

COMMAND = ("python", "-m", "vizsla.workflow.transform")


def _spec(document: dict[str, Any]) -> TrainingJobSpec:
    resources = document.get("TransformResources") or {}
    source = ((document.get("TransformInput") or {}).get("DataSource") or {}).get("S3DataSource") or {}
    facts = {
        "model": document.get("ModelName"),
        "input": source.get("S3Uri"),
        "output": (document.get("TransformOutput") or {}).get("S3OutputPath"),
    }
    return TrainingJobSpec.read(
        {
            "TrainingJobName": document.get("TransformJobName"),
            "AlgorithmSpecification": {"ContainerEntrypoint": list(COMMAND)},
            "HyperParameters": {name: str(value)[:2500] for name, value in facts.items() if value is not None},
            "OutputDataConfig": {"CompressionType": "NONE"},
            "ResourceConfig": {
                "InstanceType": resources.get("InstanceType") or "local",
                "InstanceCount": resources.get("InstanceCount") or 1,
            },
            "Environment": document.get("Environment"),
            "Tags": document.get("Tags"),
        }
    )


KIND = Kind(_spec, leaves_model=False)
