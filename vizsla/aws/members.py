"""Whether the members of a request have the types that AWS's model of the service gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vizsla.optional import require

_SERVICES = {"operations": "sagemaker", "metrics": "cloudwatch", "sagemaker_metrics": "sagemaker-metrics"}
"""The service of a module of this package, where it has another name."""


def wrong_types(module: str, operation: str, members: Mapping[str, Any]) -> str | None:
    """What is wrong with them, in botocore's words; None where nothing is. It is asked when an operation has failed: to
    read the model takes long."""
    session = require("botocore.session", extra="s3", feature="The AWS door")
    validate = require("botocore.validate", extra="s3", feature="The AWS door")
    last = module.rpartition(".")[2]
    model = session.get_session().get_service_model(_SERVICES.get(last, last))
    shape = model.operation_model(operation).input_shape
    report = "" if shape is None else validate.ParamValidator().validate(members, shape).generate_report()
    return "; ".join(line for line in report.splitlines() if line.startswith("Invalid type")) or None
