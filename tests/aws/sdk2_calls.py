"""Run by ``test_sdk2.py`` in an environment with version 2 of the SageMaker SDK: what notebooks call, one row after
another. Prints one JSON object: of each row what it gave, or the error."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import sagemaker
from sagemaker import clarify
from sagemaker.analytics import ExperimentAnalytics, HyperparameterTuningJobAnalytics, TrainingJobAnalytics
from sagemaker.debugger import DebuggerHookConfig, FrameworkProfile, ProfilerConfig, ProfilerRule, Rule, rule_configs
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.experiments.run import Run
from sagemaker.inputs import TrainingInput
from sagemaker.model import ModelPackage
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorch, PyTorchModel
from sagemaker.s3 import S3Downloader, S3Uploader
from sagemaker.serializers import IdentitySerializer
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner

FOLDER = Path(sys.argv[1])
TRAIN = FOLDER / "code" / "train.py"
RESULTS: dict[str, Any] = {}
KEPT: dict[str, Any] = {}
LOSS = [{"Name": "loss", "Regex": "loss: ([0-9.]+)"}]


def row(function: Callable[[], Any]) -> Callable[[], Any]:
    try:
        RESULTS[function.__name__] = {"value": function()}
    except Exception:  # noqa: BLE001 - the test tells it
        RESULTS[function.__name__] = {"error": traceback.format_exc()[-3000:]}
    return function


def estimator(**options: Any) -> PyTorch:
    chosen = {
        "entry_point": "train.py",
        "source_dir": str(FOLDER / "code"),
        "role": KEPT["role"],
        "framework_version": "1.8",
        "py_version": "py36",
        "instance_count": 1,
        "instance_type": "ml.m5.large",
        "hyperparameters": {"lr": 0.1, "name": "res net", "flag": True},
        "metric_definitions": LOSS,
        "sagemaker_session": KEPT["session"],
    }
    return PyTorch(**(chosen | options))


@row
def session() -> Any:
    KEPT["session"] = sagemaker.Session()
    KEPT["bucket"] = KEPT["session"].default_bucket()
    KEPT["role"] = sagemaker.get_execution_role()
    return [KEPT["bucket"], KEPT["role"]]


@row
def upload_data() -> Any:
    KEPT["data"] = KEPT["session"].upload_data(str(FOLDER / "data"), key_prefix="data")
    return KEPT["data"]


@row
def uploader_and_downloader() -> Any:
    base = f"s3://{KEPT['bucket']}/loader"
    S3Uploader.upload(str(TRAIN), base, sagemaker_session=KEPT["session"])
    listed = S3Downloader.list(base, sagemaker_session=KEPT["session"])
    S3Downloader.download(base, str(FOLDER / "loaded"), sagemaker_session=KEPT["session"])
    return [listed, (FOLDER / "loaded" / "train.py").read_text() == TRAIN.read_text()]


@row
def fit() -> Any:
    one = KEPT["estimator"] = estimator(
        rules=[
            Rule.sagemaker(rule_configs.vanishing_gradient()),
            Rule.sagemaker(rule_configs.overfit()),
            Rule.sagemaker(rule_configs.loss_not_decreasing()),
            ProfilerRule.sagemaker(rule_configs.LowGPUUtilization()),
            ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
        ],
        debugger_hook_config=DebuggerHookConfig(
            hook_parameters={"train.save_interval": "1", "eval.save_interval": "1"}
        ),
        profiler_config=ProfilerConfig(
            system_monitor_interval_millis=500, framework_profile_params=FrameworkProfile(num_steps=10)
        ),
    )
    one.fit({"train": TrainingInput(KEPT["data"], content_type="application/x-image")}, wait=True)
    return [one.model_data, one.latest_training_job.name, one.latest_job_debugger_artifacts_path()]


@row
def describe() -> Any:
    told = KEPT["estimator"].latest_training_job.describe()
    return [told["TrainingJobStatus"], told["HyperParameters"]]


@row
def rule_job_summary() -> Any:
    return {
        one["RuleConfigurationName"]: one["RuleEvaluationStatus"]
        for one in KEPT["estimator"].latest_training_job.rule_job_summary()
    }


@row
def fit_without_wait_and_attach() -> Any:
    one = estimator()
    one.fit({"train": KEPT["data"]}, wait=False)
    again = PyTorch.attach(one.latest_training_job.name, sagemaker_session=KEPT["session"])
    return [again.hyperparameters()["lr"], again.latest_training_job.describe()["TrainingJobStatus"]]


@row
def fit_without_channels_and_logs() -> Any:
    one = estimator()
    one.fit(logs="None")
    return one.latest_training_job.describe()["TrainingJobStatus"]


@row
def fit_that_fails() -> Any:
    try:
        estimator(hyperparameters={"fail": "yes"}).fit({"train": KEPT["data"]})
    except Exception as error:  # noqa: BLE001 - its words are what is tested
        return [type(error).__name__, str(error)]
    return None


@row
def local_mode() -> Any:
    one = estimator(instance_type="local", sagemaker_session=None)
    one.fit({"train": f"file://{FOLDER / 'data'}"})
    return one.latest_training_job.describe()["TrainingJobStatus"]


@row
def analytics_of_a_training() -> Any:
    frame = TrainingJobAnalytics(
        KEPT["estimator"].latest_training_job.name, ["loss"], sagemaker_session=KEPT["session"]
    ).dataframe()
    return [list(frame.columns), [float(v) for v in frame["value"]]]


@row
def custom_image() -> Any:
    image = "000000000000.dkr.ecr.us-east-1.amazonaws.com/dog-breed-hpo:latest"
    one = Estimator(
        image_uri=image,
        role=KEPT["role"],
        instance_count=1,
        instance_type="ml.p3.2xlarge",
        hyperparameters={"lr": "0.5"},
        metric_definitions=LOSS,
        sagemaker_session=KEPT["session"],
    )
    one.fit({"train": KEPT["data"]})
    return float(one.latest_training_job.describe()["FinalMetricDataList"][0]["Value"])


@row
def tuner() -> Any:
    one = KEPT["tuner"] = HyperparameterTuner(
        estimator(hyperparameters={"name": "tuned"}),
        objective_metric_name="loss",
        hyperparameter_ranges={
            "lr": ContinuousParameter(0.001, 0.1),
            "batch-size": CategoricalParameter([32, 64, 128]),
        },
        metric_definitions=LOSS,
        max_jobs=3,
        max_parallel_jobs=2,
        objective_type="Minimize",
    )
    one.fit({"train": KEPT["data"]})
    frame = one.analytics().dataframe()
    best = frame.sort_values("FinalObjectiveValue").iloc[0]
    return [
        sorted(frame.columns),
        one.best_training_job() == best["TrainingJobName"],
        [str(v) for v in frame["batch-size"]],
        len(frame),
    ]


@row
def best_estimator() -> Any:
    values = KEPT["tuner"].best_estimator().hyperparameters()
    return [values["_tuning_objective_metric"], values["batch-size"], sorted(values)]


@row
def attach_to_a_tuner() -> Any:
    name = KEPT["tuner"].latest_tuning_job.name
    again = HyperparameterTuner.attach(name, sagemaker_session=KEPT["session"])
    again.wait()
    frame = HyperparameterTuningJobAnalytics(name, sagemaker_session=KEPT["session"])
    return [
        again.describe()["HyperParameterTuningJobStatus"],
        again.best_training_job() == KEPT["tuner"].best_training_job(),
        sorted(frame.tuning_ranges),
    ]


@row
def deploy_of_an_estimator() -> Any:
    predictor = KEPT["estimator"].deploy(initial_instance_count=1, instance_type="ml.t2.medium")
    answer = predictor.predict(np.zeros((1, 2), np.float32))
    predictor.delete_model()
    predictor.delete_endpoint()
    return np.asarray(answer).tolist()


class ImagePredictor(Predictor):
    def __init__(self, endpoint_name: str, sagemaker_session: Any) -> None:
        super().__init__(
            endpoint_name,
            sagemaker_session=sagemaker_session,
            serializer=IdentitySerializer("image/jpeg"),
            deserializer=JSONDeserializer(),
        )


@row
def deploy_of_a_model() -> Any:
    model = KEPT["model"] = PyTorchModel(
        model_data=KEPT["estimator"].model_data,
        role=KEPT["role"],
        entry_point="inference.py",
        source_dir=str(FOLDER / "code"),
        framework_version="1.8",
        py_version="py36",
        predictor_cls=ImagePredictor,
        sagemaker_session=KEPT["session"],
    )
    predictor = KEPT["predictor"] = model.deploy(1, "ml.m5.large", endpoint_name="breeds")
    return predictor.predict(b"12345", initial_args={"ContentType": "image/jpeg"})


@row
def update_endpoint() -> Any:
    model = PyTorchModel(
        model_data=KEPT["estimator"].model_data,
        role=KEPT["role"],
        entry_point="inference.py",
        source_dir=str(FOLDER / "code"),
        framework_version="1.8",
        py_version="py36",
        name="another",
        sagemaker_session=KEPT["session"],
    )
    model.create(instance_type="ml.m5.large")
    KEPT["predictor"].update_endpoint(model_name="another", initial_instance_count=1, instance_type="ml.m5.large")
    return KEPT["predictor"].predict(b"123")


@row
def register() -> Any:
    package = KEPT["model"].register(
        content_types=["application/x-image"],
        response_types=["application/json"],
        inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"],
        model_package_group_name="breeds",
        approval_status="Approved",
    )
    KEPT["package"] = package.model_package_arn
    return package.model_package_arn


@row
def transform() -> Any:
    source = f"s3://{KEPT['bucket']}/pictures"
    for name in ("valid/001.Affenpinscher/a.jpg", "valid/002.Afghan/b.jpg"):
        boto3.client("s3").put_object(Bucket=KEPT["bucket"], Key=f"pictures/{name}", Body=name.encode())
    package = ModelPackage(role=KEPT["role"], model_package_arn=KEPT["package"], sagemaker_session=KEPT["session"])
    transformer = package.transformer(
        instance_count=1, instance_type="ml.m5.large", output_path=f"s3://{KEPT['bucket']}/transformed"
    )
    transformer.transform(source, content_type="application/x-image", wait=True)
    listed = boto3.client("s3").list_objects_v2(Bucket=KEPT["bucket"], Prefix="transformed/")
    return sorted(one["Key"] for one in listed["Contents"])


@row
def deploy_of_a_package() -> Any:
    package = ModelPackage(role=KEPT["role"], model_package_arn=KEPT["package"], sagemaker_session=KEPT["session"])
    package.deploy(1, "ml.m5.large", endpoint_name="of-package")
    answer = boto3.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="of-package", ContentType="application/x-image", Body=b"1234567"
    )
    boto3.client("sagemaker").delete_endpoint(EndpointName="of-package")
    return json.loads(answer["Body"].read())


@row
def many_models() -> Any:
    prefix = f"s3://{KEPT['bucket']}/models/"
    many = MultiDataModel(
        name="many",
        model_data_prefix=prefix,
        image_uri="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:1.5.1-cpu-py36",
        role=KEPT["role"],
        sagemaker_session=KEPT["session"],
    )
    many.deploy(1, "ml.m5.large", endpoint_name="many")
    packed = boto3.client("sagemaker").describe_model(ModelName="another")["PrimaryContainer"]["ModelDataUrl"]
    many.add_model(packed, "dogs/model.tar.gz")
    answer = boto3.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="many", TargetModel="dogs/model.tar.gz", ContentType="application/x-image", Body=b"12"
    )
    boto3.client("sagemaker").delete_endpoint(EndpointName="many")
    return [list(many.list_models()), json.loads(answer["Body"].read())]


@row
def run_bias() -> Any:
    text = "label,breed\n" + "\n".join(f"{at % 2},{'a' if at % 3 else 'b'}" for at in range(60))
    (FOLDER / "table.csv").write_text(text)
    table = S3Uploader.upload(
        str(FOLDER / "table.csv"), f"s3://{KEPT['bucket']}/clarify", sagemaker_session=KEPT["session"]
    )
    processor = clarify.SageMakerClarifyProcessor(
        role=KEPT["role"], instance_count=1, instance_type="ml.m5.large", sagemaker_session=KEPT["session"]
    )
    data = clarify.DataConfig(
        s3_data_input_path=table,
        s3_output_path=f"s3://{KEPT['bucket']}/clarify-report",
        label="label",
        headers=["label", "breed"],
        dataset_type="text/csv",
    )
    bias = clarify.BiasConfig(label_values_or_threshold=[1], facet_name="breed", facet_values_or_threshold=["b"])
    processor.run_pre_training_bias(data_config=data, data_bias_config=bias, methods="all")
    listed = S3Downloader.list(f"s3://{KEPT['bucket']}/clarify-report", sagemaker_session=KEPT["session"])
    text = S3Downloader.read_file(f"s3://{KEPT['bucket']}/clarify-report/analysis.json", KEPT["session"])
    return [sorted(one.rpartition("/")[2] for one in listed), sorted(json.loads(text))]


@row
def run_of_an_experiment() -> Any:
    with Run(experiment_name="roses", run_name="first", sagemaker_session=KEPT["session"]) as run:
        run.log_parameters({"lr": 0.1, "backbone": "resnet18"})
        for step in range(2):
            run.log_metric("loss", 2.0 - step, step=step)
    frame = ExperimentAnalytics(experiment_name="roses", sagemaker_session=KEPT["session"]).dataframe()
    return [list(frame["DisplayName"]), list(frame["lr"]), list(frame["loss - Last"]), list(frame["loss - Max"])]


@row
def stop_what_has_ended() -> Any:
    KEPT["tuner"].stop_tuning_job()
    return True


@row
def delete() -> Any:
    KEPT["predictor"].delete_endpoint()
    try:
        boto3.client("sagemaker").describe_endpoint(EndpointName="breeds")
    except Exception as error:  # noqa: BLE001 - its words are what is tested
        return str(error)
    return None


@row
def monitors() -> Any:
    return KEPT["predictor"].list_monitors() if "predictor" in KEPT else None


print(json.dumps(RESULTS, default=str))
