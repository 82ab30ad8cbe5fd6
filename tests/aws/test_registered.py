"""The versions of ``vizsla models`` through boto3: seen, approved, served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import ROLE, until
from tests.batch.conftest import save_model
from vizsla.aws.context import Context
from vizsla.models.model import load

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

Clients = Callable[[str], Any]


def test_a_version_of_vizsla_models_is_approved_and_served(
    client: Clients,
    ctx: Context,
    tables: Path,
    tmp_path: Path,
    tiny_backbone: Any,
    folder_of_photos: Callable[..., Path],
) -> None:
    from vizsla.workflow.registration import register

    shutil.copy(tables, ctx.home / "mlflow.db")
    model = save_model(tmp_path / "model", tiny_backbone, 1)
    photos = folder_of_photos({"rose": 4, "tulip": 4})
    register(str(model), "flowers", pictures=str(photos))
    sagemaker = client("sagemaker")
    names = [g["ModelPackageGroupName"] for g in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]]
    assert names == ["flowers"]
    (row,) = sagemaker.list_model_packages(ModelPackageGroupName="flowers")["ModelPackageSummaryList"]
    assert row["ModelApprovalStatus"] == "PendingManualApproval"
    sagemaker.update_model_package(ModelPackageArn=row["ModelPackageArn"], ModelApprovalStatus="Approved")
    told = sagemaker.describe_model_package(ModelPackageName=row["ModelPackageArn"])
    assert told["ModelApprovalStatus"] == "Approved"
    with pytest.raises(ClientError, match="vizsla models register"):
        sagemaker.create_model_package(ModelPackageGroupName="flowers")
    with pytest.raises(ClientError, match="vizsla models rm"):
        sagemaker.delete_model_package(ModelPackageName=row["ModelPackageArn"])
    container = {"ModelPackageName": row["ModelPackageArn"]}
    sagemaker.create_model(ModelName="flowers", ExecutionRoleArn=ROLE, Containers=[container])
    variant = {"VariantName": "AllTraffic", "ModelName": "flowers", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="flowers", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="flowers", EndpointConfigName="flowers")
    state = until(lambda: sagemaker.describe_endpoint(EndpointName="flowers"), "EndpointStatus", "Creating")
    assert state["EndpointStatus"] == "InService", state.get("FailureReason")
    picture = next(photos.rglob("*.jpg")).read_bytes()
    answer = client("sagemaker-runtime").invoke_endpoint(EndpointName="flowers", ContentType="image/jpeg", Body=picture)
    assert json.loads(answer["Body"].read()) == pytest.approx(load(model).probabilities(picture).tolist(), abs=1e-6)
    sagemaker.delete_endpoint(EndpointName="flowers")
