"""Processing and transform jobs through boto3: Clarify's analysis of a table, a transform with own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import IMAGE, ROLE, archive, until
from vizsla.aws.context import Context
from vizsla.jobs.directory import JobDirectory
from vizsla.reports.pdf import find_browser

Clients = Callable[[str], Any]
CLARIFY = "205585389593.dkr.ecr.us-east-1.amazonaws.com/sagemaker-clarify-processing:1.0"


def _processing(
    client: Clients, name: str, config: dict[str, Any], image: str = CLARIFY, data: str = "table.csv"
) -> dict[str, Any]:
    s3 = client("s3")
    rows = [f"{at % 2},{'a' if at % 3 else 'b'}" for at in range(60)]
    s3.put_object(Bucket="clarify", Key="table.csv", Body="\n".join(["label,breed", *rows]).encode())
    s3.put_object(Bucket="clarify", Key=f"{name}/analysis_config.json", Body=json.dumps(config).encode())

    def source(input_name: str, key: str) -> dict[str, Any]:
        place = {"S3Uri": f"s3://clarify/{key}", "LocalPath": "/opt/ml/processing/input", "S3DataType": "S3Prefix"}
        return {"InputName": input_name, "S3Input": place | {"S3InputMode": "File"}}

    output = {"S3Uri": f"s3://clarify/{name}", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    request: dict[str, Any] = {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": image},
        "ProcessingInputs": [source("dataset", data), source("analysis_config", f"{name}/analysis_config.json")],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "analysis_result", "S3Output": output}]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
    }
    client("sagemaker").create_processing_job(**request)
    return request


@pytest.fixture(scope="module")
def bucket(client: Clients) -> str:
    client("s3").create_bucket(Bucket="clarify")
    return "clarify"


BIAS: dict[str, Any] = {
    "dataset_type": "text/csv",
    "headers": ["label", "breed"],
    "label": "label",
    "label_values_or_threshold": [1],
    "facet": [{"name_or_index": "breed", "value_or_threshold": ["b"]}],
    "methods": {"report": {"name": "report"}, "pre_training_bias": {"methods": "all"}},
}


def test_clarifys_bias_of_a_table(client: Clients, bucket: str, ctx: Context) -> None:
    methods = BIAS["methods"] | {"post_training_bias": {"methods": "all"}}
    facets = [*BIAS["facet"], {"name_or_index": "None"}]  # what a notebook sends that names no second one
    request = _processing(client, "bias", BIAS | {"methods": methods, "facet": facets})
    sagemaker = client("sagemaker")
    told = until(
        lambda: sagemaker.describe_processing_job(ProcessingJobName="bias"), "ProcessingJobStatus", "InProgress"
    )
    assert told["ProcessingJobStatus"] == "Completed", told.get("FailureReason")
    assert told["ProcessingInputs"][0]["InputName"] == "dataset"
    assert told["AppSpecification"] == request["AppSpecification"]
    assert "predicted_label" in told["ExitMessage"]
    s3 = client("s3")
    analysis = json.loads(s3.get_object(Bucket=bucket, Key="bias/analysis.json")["Body"].read())
    assert list(analysis["pre_training_bias_metrics"]["facets"]) == ["breed"]
    assert b"<html" in s3.get_object(Bucket=bucket, Key="bias/report.html")["Body"].read()[:300]
    if find_browser() is not None:
        assert s3.get_object(Bucket=bucket, Key="bias/report.pdf")["Body"].read()[:5] == b"%PDF-"
    assert JobDirectory(ctx.home / "bias").state.reason is None, "nobody misses a model"
    (row,) = sagemaker.list_processing_jobs(StatusEquals="Completed")["ProcessingJobSummaries"]
    assert row["ProcessingJobName"] == "bias"
    with pytest.raises(ClientError, match="already exists"):
        _processing(client, "bias", BIAS)
    with pytest.raises(ClientError, match="is in status Completed"):
        sagemaker.stop_processing_job(ProcessingJobName="bias")


def _model(client: Clients, bucket: str, name: str, code: str) -> None:
    client("s3").put_object(Bucket=bucket, Key=f"{name}.tar.gz", Body=archive({"code/serve.py": code}))
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{bucket}/{name}.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "serve.py", "CLASSES": "2"},
    }
    client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)


def _ended(client: Clients, name: str, status: str = "Completed") -> dict[str, Any]:
    sagemaker = client("sagemaker")
    told = until(lambda: sagemaker.describe_processing_job(ProcessingJobName=name), "ProcessingJobStatus", "InProgress")
    assert told["ProcessingJobStatus"] == status, told.get("FailureReason")
    return told


def test_clarify_asks_a_model_for_the_predictions(client: Clients, bucket: str) -> None:
    code = (
        "import os\n"
        "def model_fn(folder):\n    return int(os.environ['CLASSES'])\n"
        "def input_fn(body, content_type):\n    return {'a': 1, 'b': 0}[body.strip()]\n"
        "def predict_fn(good, model):\n    return good\n"
        "def output_fn(prediction, accept):\n    return str(prediction), 'text/csv'\n"
    )
    _model(client, bucket, "by-breed", code)
    predictor = {"model_name": "by-breed", "instance_type": "ml.m5.large", "initial_instance_count": 1,
                 "accept_type": "text/csv", "content_type": "text/csv"}  # fmt: skip
    methods = {"report": {"name": "report"}, "post_training_bias": {"methods": ["DPPL"]}}
    _processing(client, "asked", BIAS | {"methods": methods, "predictor": predictor})
    _ended(client, "asked")
    analysis = json.loads(client("s3").get_object(Bucket=bucket, Key="asked/analysis.json")["Body"].read())
    ((facet,),) = analysis["post_training_bias_metrics"]["facets"].values()
    (metric,) = facet["metrics"]
    assert (metric["name"], metric["value"]) == ("DPPL", 1.0), "all of a are said to be good, none of b"
    _processing(client, "not-answered", BIAS | {"methods": methods, "predictor": predictor, "label": "breed"})
    told = _ended(client, "not-answered", "Failed")
    assert "no answer to record 1, sent as text/csv" in told["FailureReason"], "it is asked about labels"
    with pytest.raises(ClientError, match=r'Could not find endpoint "arn:aws:sagemaker:[^"]*/nobody"'):
        _processing(client, "of-nobody", BIAS | {"methods": methods, "predictor": {"endpoint_name": "nobody"}})


@pytest.mark.slow
def test_clarify_explains_a_model_of_its_own_code(client: Clients, bucket: str, folder_of_photos: Any) -> None:
    code = (
        "import io, json, os\nimport numpy as np\nfrom PIL import Image\n"
        "def model_fn(folder):\n    return int(os.environ['CLASSES'])\n"
        "def input_fn(body, content_type):\n    return Image.open(io.BytesIO(bytes(body))).convert('RGB')\n"
        "def predict_fn(image, model):\n    return np.asarray(image).mean(axis=(0, 1))[:model].tolist()\n"
        "def output_fn(prediction, accept):\n    return json.dumps([prediction]), 'application/json'\n"
    )
    _model(client, bucket, "colours", code)
    for path in folder_of_photos({"rose": 2}).glob("rose/*"):
        client("s3").put_object(Bucket=bucket, Key=f"pictures/{path.name}", Body=path.read_bytes())
    shap = {"num_samples": 20, "image_config": {"model_type": "IMAGE_CLASSIFICATION", "num_segments": 4}}
    predictor = {"model_name": "colours", "content_type": "image/jpeg", "label_headers": ["red", "green"]}
    config = {"dataset_type": "application/x-image", "predictor": predictor, "methods": {"shap": shap}}
    _processing(client, "why", config, data="pictures")
    _ended(client, "why")
    told = json.loads(client("s3").get_object(Bucket=bucket, Key="why/explanations.json")["Body"].read())
    assert {one["label"] for one in told["explanations"]} <= {"red", "green"}
    assert len(told["explanations"]) == 2


def test_other_images_and_configurations_are_refused_in_words(client: Clients, bucket: str) -> None:
    with pytest.raises(ClientError, match="vizsla aws image add"):
        _processing(client, "other", BIAS, "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2")
    with pytest.raises(ClientError, match=r"shap of a table \(dataset_type text/csv\) is not computed here"):
        _processing(client, "values", BIAS | {"methods": {"shap": {"num_samples": 20}}})
    with pytest.raises(ClientError, match="label and facet are needed"):
        _processing(client, "no-label", {"dataset_type": "text/csv", "methods": {}})
    with pytest.raises(ClientError, match="Could not find requested job"):
        client("sagemaker").describe_processing_job(ProcessingJobName="nobody")


def test_a_transform_answers_beside_each_key(client: Clients, bucket: str) -> None:
    code = (
        "import json\n"
        "def model_fn(folder):\n    return None\n"
        "def input_fn(body, content_type):\n    return body\n"
        "def predict_fn(data, model):\n    return [len(data)]\n"
        "def output_fn(prediction, accept):\n    return json.dumps(prediction), 'application/json'\n"
    )
    s3, sagemaker = client("s3"), client("sagemaker")
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=archive({"code/serve.py": code}))
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{bucket}/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "serve.py"},
    }
    sagemaker.create_model(ModelName="lengths", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    for key in ("in/valid/001.Affenpinscher/a.jpg", "in/valid/002.Afghan/b.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    request = {
        "TransformJobName": "lengths",
        "ModelName": "lengths",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in"}},
            "ContentType": "application/x-image",
        },
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    sagemaker.create_transform_job(**request)
    told = until(
        lambda: sagemaker.describe_transform_job(TransformJobName="lengths"), "TransformJobStatus", "InProgress"
    )
    assert told["TransformJobStatus"] == "Completed", told.get("FailureReason")
    for member in ("ModelName", "TransformInput", "TransformOutput", "TransformResources"):
        assert told[member] == request[member]
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]]
    assert listed == ["out/valid/001.Affenpinscher/a.jpg.out", "out/valid/002.Afghan/b.jpg.out"]
    assert json.loads(s3.get_object(Bucket=bucket, Key=listed[0])["Body"].read()) == [32]
    assert [one["TransformJobName"] for one in sagemaker.list_transform_jobs()["TransformJobSummaries"]] == ["lengths"]
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_transform_job(**request)
    with pytest.raises(ClientError, match="Could not find transform job"):
        sagemaker.describe_transform_job(TransformJobName="nobody")
