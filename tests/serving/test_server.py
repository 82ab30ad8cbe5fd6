"""One model behind the container's doors: the answers are those of the model itself, to the bit."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from vizsla.images import Limits
from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}


def test_ping_is_empty_and_ok(server: Running) -> None:
    answer = server.client.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_jpeg_gets_the_probabilities_of_the_model_to_the_bit(
    server: Running, saved_model: Path, jpegs: list[bytes]
) -> None:
    model = load(saved_model)
    for jpeg in jpegs:
        answer = server.client.post("/invocations", content=jpeg, headers=JPEG)
        assert answer.headers["content-type"] == "application/json"
        assert np.array_equal(np.array(answer.json(), np.float32), model.predict(jpeg).probabilities)


def test_under_load_everybody_gets_their_own_answer_to_the_bit(
    server: Running, saved_model: Path, jpegs: list[bytes]
) -> None:
    model = load(saved_model)
    expected = [model.probabilities(jpeg) for jpeg in jpegs]

    def ask(i: int) -> bool:
        answer = server.client.post("/invocations", content=jpegs[i % len(jpegs)], headers=JPEG)
        return np.array_equal(np.array(answer.json(), np.float32), expected[i % len(jpegs)])

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, range(300)))


def test_the_server_runs_without_torch(server: Running) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text("utf-8", "replace")
    assert "onnxruntime" in maps
    assert "torch" not in maps


@pytest.mark.parametrize(
    ("kind", "format_"),
    [
        ("image/jpeg", "JPEG"),
        ("image/png", "PNG"),
        ("image/webp", "WEBP"),
        ("image/gif", "GIF"),
        ("image/bmp", "BMP"),
        ("application/x-image", "PNG"),
        ("application/octet-stream", "JPEG"),
    ],
)
def test_every_kind_of_picture(server: Running, saved_model: Path, jpegs: list[bytes], kind: str, format_: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpegs[1])).save(file, format_)
    answer = server.client.post("/invocations", content=file.getvalue(), headers={"content-type": kind})
    expected = load(saved_model).probabilities(file.getvalue())
    assert np.array_equal(np.array(answer.json(), np.float32), expected)


def test_several_pictures_in_one_request_keep_their_order(
    server: Running, saved_model: Path, jpegs: list[bytes]
) -> None:
    expected = np.stack([load(saved_model).probabilities(jpeg) for jpeg in jpegs])
    form = [("image", (f"{i}.jpg", jpeg, "image/jpeg")) for i, jpeg in enumerate(jpegs)]
    by_form = server.client.post("/invocations", files=form, headers={"accept": "application/json;form=list"})
    texts = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
    by_json = server.client.post("/invocations", json={"images": texts}, headers={"accept": "application/x-npy"})
    instances = {"instances": [{"image": text} for text in texts]}
    by_lines = server.client.post("/invocations", json=instances, headers={"accept": "application/jsonlines"})
    assert np.array_equal(np.array(by_form.json(), np.float32), expected)
    assert np.array_equal(np.load(io.BytesIO(by_json.content)), expected)
    assert np.array_equal(np.array([json.loads(line) for line in by_lines.text.splitlines()], np.float32), expected)


def test_pixels_as_npy_are_preprocessed_as_a_picture_is(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    pixels = [np.asarray(Image.open(io.BytesIO(jpegs[i])).convert("RGB"))[:250, :300] for i in (1, 2, 3)]
    expected = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, "PNG")
        expected.append(load(saved_model).probabilities(file.getvalue()))
    body = io.BytesIO()
    np.save(body, np.stack(pixels))
    answer = server.client.post(
        "/invocations", content=body.getvalue(), headers={"content-type": "application/x-npy", "accept": "text/csv"}
    )
    rows = np.array([line.split(",") for line in answer.text.splitlines()], np.float32)
    assert np.array_equal(rows, np.stack(expected))


def test_json_asked_gets_the_classes_by_name(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    answer = server.client.post("/invocations", json={"image": base64.b64encode(jpegs[0]).decode()}).json()
    prediction = load(saved_model).predict(jpegs[0])
    number, _, name = prediction.label.partition(".")
    assert (answer["predicted_label"], answer["class_name"]) == (number, name)
    assert [one["probability"] for one in answer["predictions"]] == [p for _, p in prediction.top]


def test_an_explanation_covers_the_crop_and_changes_no_bit(
    server: Running, saved_model: Path, jpegs: list[bytes]
) -> None:
    model = load(saved_model)
    wanted = {**JPEG, "x-amzn-sagemaker-enable-explanations": "`true`", "accept": "application/json;form=object"}
    for jpeg in jpegs[:6]:
        answer = server.client.post("/invocations", content=jpeg, headers=wanted).json()
        prediction = model.predict(jpeg)
        assert [one["probability"] for one in answer["predictions"]] == [p for _, p in prediction.top]
        pixels = model.preprocessing(jpeg, Limits.from_settings())
        _, feature_map = model.engine.features_and_map(pixels[None])
        evidence = np.tensordot(model.head.weight[int(prediction.probabilities.argmax())], feature_map[0], 1).clip(0)
        expected = evidence / (evidence.max() or 1)
        assert np.allclose(answer["explanation"]["class_activation_map"], expected, atol=1e-4)
        left, top, right, bottom = answer["explanation"]["box"]
        width, height = Image.open(io.BytesIO(jpeg)).size
        assert (right - left) * width == pytest.approx((bottom - top) * height, rel=0.02)  # the crop is square
        assert left + right == pytest.approx(1, abs=0.02)  # and in the middle


def test_metrics_count_requests_and_the_log_has_one_line_each(server: Running, jpegs: list[bytes]) -> None:
    def counted() -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vizsla_pictures_total"))

    before = counted()
    answer = server.client.post(
        "/invocations", content=jpegs[0], headers={**JPEG, "x-amzn-sagemaker-custom-attributes": "trace=7"}
    )
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    assert counted() == before + 1
    lines = server.log_of(answer.headers["x-amzn-requestid"])
    assert len(lines) == 1
    assert lines[0]["status"] == 200
    assert lines[0]["model"] == "breeds"
    assert lines[0]["bytes"] == len(jpegs[0])


def test_execution_parameters_for_a_batch_transform(server: Running) -> None:
    answer = server.client.get("/execution-parameters").json()
    assert answer["MaxPayloadInMB"] == 25
    assert answer["BatchStrategy"] == "SINGLE_RECORD"
    assert answer["MaxConcurrentTransforms"] >= 1


def test_the_description_lists_what_each_call_answers(server: Running, jpegs: list[bytes]) -> None:
    description = server.client.get("/openapi.json").json()
    paths = description["paths"]
    assert set(paths["/ping"]["get"]["responses"]) == {"200", "403", "500"}
    assert paths["/ping"]["get"]["security"] == []
    assert {"key"} <= {name for one in description["security"] for name in one}
    calls = [
        ("post", "/invocations", "/invocations", {"content": b"x", "headers": JPEG}),
        ("post", "/invocations", "/invocations", {"content": b"x", "headers": {"content-type": "video/mp4"}}),
        ("post", "/endpoints/{endpoint}/invocations", "/endpoints/a/invocations", {"content": b"x", "headers": JPEG}),
        ("get", "/models", "/models?next_page_token=%25", {}),
        ("delete", "/models/{name}", "/models/none", {}),
        ("delete", "/models/{name}", "/models/breeds", {}),
        ("post", "/models", "/models", {"json": {"model_name": "x", "url": "y"}}),
    ]
    for method, path, url, request in calls:
        answer = server.client.request(method, url, **request)
        assert str(answer.status_code) in paths[path][method]["responses"], (url, answer.status_code)


def test_docs_describe_every_call_without_the_network(server: Running) -> None:
    page = server.client.get("/docs").text
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert path in page
    assert "http" not in page.replace("http://127.0.0.1", "")


def test_the_description_names_every_body(server: Running, jpegs: list[bytes]) -> None:
    """And what it names is read: every content type, every form of JSON."""
    content = server.client.get("/openapi.json").json()["paths"]["/invocations"]["post"]["requestBody"]["content"]
    refusal = server.client.post("/invocations", content=b"x", headers={"content-type": "video/mp4"}).json()
    assert set(content) == set(refusal["Allowed"].split(", "))
    assert {"image/tiff", "image/x-portable-anymap"} <= set(content)
    picture = Image.open(io.BytesIO(jpegs[1]))
    for kind in ("PPM", "TIFF"):
        file = io.BytesIO()
        picture.save(file, kind)
        for media in set(content) - {"application/json", "multipart/form-data", "application/x-npy"}:
            answer = server.client.post("/invocations", content=file.getvalue(), headers={"content-type": media})
            assert answer.status_code == 200, (kind, media)
    text = base64.b64encode(jpegs[1]).decode()
    forms = {form["required"][0] for form in content["application/json"]["schema"]["anyOf"]}
    assert forms == {"image", "b64", "url", "images", "instances"}
    for document in ({"b64": text}, {"images": [text, {"b64": text}]}, {"instances": [{"b64": text}, text]}):
        assert server.client.post("/invocations", json=document).status_code == 200
