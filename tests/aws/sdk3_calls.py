"""Run by ``test_sdk3.py`` in an environment with version 3 of the SageMaker SDK."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core.helper.session_helper import Session, get_execution_role
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.core.training.configs import Compute, InputData, SourceCode
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

FOLDER = Path(sys.argv[1])
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.0.0-cpu-py310"
RESULTS: dict[str, Any] = {}
KEPT: dict[str, Any] = {}


def row(function: Callable[[], Any]) -> Callable[[], Any]:
    try:
        RESULTS[function.__name__] = {"value": function()}
    except Exception:  # noqa: BLE001 - the test tells it
        RESULTS[function.__name__] = {"error": traceback.format_exc()[-3000:]}
    return function


def trainer(**options: Any) -> ModelTrainer:
    return ModelTrainer(
        training_image=IMAGE,
        source_code=SourceCode(source_dir=str(FOLDER / "code"), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=30),
        hyperparameters={"lr": 0.1, "name": "res net"},
        role=KEPT["role"],
        sagemaker_session=KEPT["session"],
        **options,
    )


@row
def session() -> Any:
    KEPT["session"] = Session()
    KEPT["role"] = get_execution_role()
    return [KEPT["session"].default_bucket(), KEPT["role"]]


@row
def train() -> Any:
    data = KEPT["session"].upload_data(str(FOLDER / "data"), key_prefix="data")
    one = KEPT["trainer"] = trainer(base_job_name="third")
    one.train(input_data_config=[InputData(channel_name="train", data_source=data)], wait=True, logs=True)
    job = KEPT["job"] = one._latest_training_job
    job.refresh()
    return [job.training_job_status, job.model_artifacts.s3_model_artifacts]


@row
def tune() -> Any:
    one = HyperparameterTuner(
        model_trainer=trainer(base_job_name="tuned"),
        objective_metric_name="loss",
        hyperparameter_ranges={
            "lr": ContinuousParameter(0.001, 0.1),
            "batch-size": CategoricalParameter([32, 64]),
        },
        metric_definitions=[{"Name": "loss", "Regex": "loss: ([0-9.]+)"}],
        objective_type="Minimize",
        max_jobs=2,
        max_parallel_jobs=2,
    )
    one.tune(wait=True)
    told = boto3.client("sagemaker").describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=one._current_job_name
    )
    return [
        told["HyperParameterTuningJobStatus"],
        one.best_training_job() == told["BestTrainingJob"]["TrainingJobName"],
    ]


@row
def core_resources() -> Any:
    from sagemaker.core.resources import TrainingJob

    return TrainingJob.get(KEPT["job"].training_job_name).training_job_status


print(json.dumps(RESULTS, default=str))
