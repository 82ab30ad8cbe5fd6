"""``job.json``: one envelope for every kind of job."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import JobError


@dataclass(frozen=True)
class Envelope:
    """What ``job.json`` holds; it is written once."""

    name: str
    kind: str
    """What the document is: the name of a module in :mod:`vizsla.jobs.kinds`."""
    executor: str
    """Where the job runs: the name of a module in :mod:`vizsla.jobs.executors`, or an address of one."""
    created: str
    """UTC, ISO 8601."""
    parent: str | None
    """The job that this one is a part of, such as the search of a trial."""
    document: dict[str, Any]
    """What is asked, in SageMaker's field names."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Envelope:
        """From the fields of a ``job.json``, also of one that was written before there was an envelope."""
        fields = fields if "document" in fields else _enveloped(fields)
        return cls(
            name=str(fields.get("name", "")),
            kind=str(fields.get("kind", "job")),
            executor=str(fields.get("executor", "local")),
            created=str(fields.get("created", "")),
            parent=fields.get("parent"),
            document=dict(fields["document"]),
        )

    @classmethod
    def read(cls, path: Path) -> Envelope:
        """The envelope in a file.

        Raises
        ------
        JobError
            When it cannot be read.
        """
        try:
            with open(path, "rb") as file:
                fields = json.load(file)
            if not isinstance(fields, dict):
                raise ValueError("it is not a JSON object")
            return cls.of(fields)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise JobError(
                f"The request of a job cannot be read: {error}.", where=path, do="remove the job or restore the file"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def _enveloped(fields: dict[str, Any]) -> dict[str, Any]:
    """The first form: the document's fields lay beside ``name``, ``kind`` and ``created``; ``about`` held the rest."""
    own = {name: fields[name] for name in ("name", "kind", "created") if name in fields}
    about = fields.get("about") or {}
    document = {name: value for name, value in fields.items() if name not in (*own, "about", "definition")}
    if "tuning" in about:
        definition = fields.get("definition", document)  # of a script, or of the built-in training
        document = {"HyperParameterTuningJobConfig": about["tuning"], "TrainingJobDefinition": definition}
    elif "study" in about:
        document["ExperimentConfig"] = {"ExperimentName": about["study"], "TrialName": own.get("name")}
    return own | {"parent": about.get("parent"), "document": document}
