"""What every operation is given besides its request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCOUNT = "000000000000"
REGION = "us-east-1"
STATE = "aws"
"""The folder below the home for what only this door knows: models, configurations, tags, buckets."""


REQUEST = "input/aws-request.json"
"""In a job's directory: what a client asked for, word for word. What is not in it was started by another door."""


@dataclass(frozen=True)
class Context:
    """One server's place and names."""

    home: Path
    """The folder of the jobs (``VIZSLA_HOME``)."""
    address: str = "http://127.0.0.1:4566"
    """Where the server itself answers."""
    region: str = REGION
    account: str = ACCOUNT
    pass_through: bool = False
    """Whether what lies in no bucket of this machine is fetched from AWS."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secret by access key id, where requests must be signed; temporary credentials follow from them."""

    @property
    def state(self) -> Path:
        """The folder of the small JSON files of this door."""
        return self.home / STATE

    def arn(self, kind: str, name: str) -> str:
        """A name of SageMaker's, such as ``arn:aws:sagemaker:us-east-1:000000000000:model/flowers``."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name}"


Operation = Callable[[Context, dict[str, Any]], dict[str, Any]]
"""A request's members in, an answer's members out, both named as in the service's model; it may block.

Raises :class:`~vizsla.aws.errors.AwsError`.
"""
