"""SageMaker Metrics: values that a notebook logs of its run."""

from __future__ import annotations

from vizsla.aws.context import Operation
from vizsla.aws.sagemaker.experiments import put_metrics

OPERATIONS: dict[str, Operation] = {"BatchPutMetrics": put_metrics}
