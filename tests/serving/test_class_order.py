"""The order of the classes, which a bare list of numbers needs: told by the endpoint itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import boto3
import httpx
import numpy as np
import pytest

from vizsla.models.export import ExportedBackbone
from vizsla.serving.answers import Labels

if TYPE_CHECKING:
    from conftest import Running

NUMBERS = ("0", "1", "2", "3", "10", "11")
ODD = ("Rosé, blühend", "100 %", "a/b", "雏菊")
MANY = tuple(f"{i:04}.a class with a long name" for i in range(200))
MORE = tuple(f"class {i}" for i in range(1900))


@pytest.fixture(scope="module")
def server(
    serving_all: Callable[..., Running],
    write_model: Callable[..., Path],
    backbone: ExportedBackbone,
    tmp_path_factory: pytest.TempPathFactory,
) -> Running:
    """Models whose classes are numbers, words that no header can carry, and too many for one."""
    root = tmp_path_factory.mktemp("ordered")
    named = {"numbers": NUMBERS, "odd": ODD, "many": MANY, "more": MORE}
    return serving_all(*(str(write_model(root / n, backbone, classes=c)) for n, c in named.items()))


def _ask(server: Running, model: str, jpeg: bytes, accept: str = "*/*") -> httpx.Response:
    headers = {"content-type": "image/jpeg", "accept": accept, "x-amzn-sagemaker-target-model": model}
    answer = server.client.post("/invocations", content=jpeg, headers=headers)
    assert answer.status_code == 200
    return answer


def _header(answer: httpx.Response) -> tuple[str, ...]:
    return tuple(unquote(name) for name in answer.headers["x-vizsla-classes"].split(","))


@pytest.mark.parametrize(("model", "classes"), [("numbers", NUMBERS), ("odd", ODD), ("many", MANY), ("more", MORE)])
def test_a_model_tells_its_classes_in_order(server: Running, model: str, classes: tuple[str, ...]) -> None:
    document = server.client.get(f"/models/{model}").json()
    assert (document["modelName"], tuple(document["classes"])) == (model, classes)


def test_the_status_names_them_while_there_is_room(server: Running) -> None:
    models = {model["name"]: model for model in server.client.get("/status").json()["models"]}
    assert {name: model["classes"] for name, model in models.items()} == {
        "numbers": 6,
        "odd": 4,
        "many": 200,
        "more": 1900,
    }
    assert tuple(models["numbers"]["class_names"]) == NUMBERS
    assert tuple(models["odd"]["class_names"]) == ODD
    assert models["more"]["class_names"] is None, "1,900 beside 200 are too many"


@pytest.mark.parametrize("accept", ["*/*", "text/csv", "application/x-npy", "application/jsonlines"])
@pytest.mark.parametrize(("model", "classes"), [("numbers", NUMBERS), ("odd", ODD)])
def test_an_answer_of_numbers_tells_the_order(
    server: Running, jpegs: list[bytes], model: str, classes: tuple[str, ...], accept: str
) -> None:
    answer = _ask(server, model, jpegs[1], accept)
    assert _header(answer) == classes


def test_the_order_is_that_of_the_numbers(server: Running, jpegs: list[bytes]) -> None:
    """Held against the answer that names the classes."""
    answer = _ask(server, "numbers", jpegs[1])
    ranked = [_header(answer)[i] for i in np.argsort(answer.json())[::-1][:5]]
    named = _ask(server, "numbers", jpegs[1], "application/json;form=object")
    assert [one["label"] for one in named.json()["predictions"]] == ranked
    assert "x-vizsla-classes" not in named.headers


def test_what_does_not_fit_is_left_out_whole(server: Running, jpegs: list[bytes]) -> None:
    assert "x-vizsla-classes" not in _ask(server, "many", jpegs[1]).headers
    assert Labels(("a" * 3072,)).header == "a" * 3072
    assert Labels(("a" * 3073,)).header is None


def test_boto3_sees_the_order(server: Running, jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    runtime = boto3.client("sagemaker-runtime", endpoint_url=server.url, region_name="us-east-1")
    answer = runtime.invoke_endpoint(EndpointName="e", TargetModel="numbers", ContentType="image/jpeg", Body=jpegs[1])
    assert len(json.loads(answer["Body"].read())) == 6
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-vizsla-classes"] == ",".join(NUMBERS)
