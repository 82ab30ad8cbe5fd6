"""Jobs that measure and change nothing (SageMaker calls them processing jobs): what is asked, and as what it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vizsla.jobs.spec import AlgorithmSpecification, TrainingJobSpec

ENTRY = ("python", "-m", "vizsla.workflow.processing")
"""The command; it runs in the job's directory."""
_LONGEST = 2000


def document_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The document of such a job: the command, and the parameters as plain JSON values; None ones are left out. A field
    ``Environment`` beside them holds variables of its process."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return {"AppSpecification": {"ContainerEntrypoint": list(ENTRY)}, "Parameters": given}


def spec_of(document: dict[str, Any]) -> TrainingJobSpec:
    """The document as an executor runs it and as it is shown; what is long is cut where it is shown."""
    shown = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in document.get("Parameters", {}).items()
    }
    return TrainingJobSpec(
        algorithm_specification=AlgorithmSpecification(container_entrypoint=list(ENTRY)),
        hyper_parameters={
            name: text if len(text) <= _LONGEST else text[:_LONGEST] + " ..." for name, text in shown.items()
        },
        environment=document.get("Environment"),
    )


def absolute(place: str) -> str:
    """A place as a process finds it that runs in another folder; what is no path here stays as it is."""
    return str(Path(place).absolute()) if Path(place).exists() else place
