"""Requests in SageMaker's field names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_pascal


class Document(BaseModel):
    """A JSON object of SageMaker's: ``training_job_name`` here is ``TrainingJobName`` there. A field that it does not
    have is refused."""

    model_config = ConfigDict(
        alias_generator=to_pascal, populate_by_name=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON in SageMaker's field names, without what was not asked."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
