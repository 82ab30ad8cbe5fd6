"""An answer to a picture that is partly broken says so: in a header, in the document, in the log."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}
OBJECT = {"accept": "application/json;form=object"}
EXPLAIN = {"x-amzn-sagemaker-enable-explanations": "true"}


@pytest.fixture(scope="module")
def broken(jpegs: list[bytes]) -> bytes:
    """Data that decodes to a picture, the lower half of which is gray."""
    data = bytearray(jpegs[1])
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd4" + bytes(38)
    return bytes(data)


def pictures(*bodies: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(body).decode() for body in bodies]}).encode()


@pytest.mark.parametrize("headers", [{}, {"accept": "text/csv"}, {"accept": "application/x-npy"}, OBJECT, EXPLAIN])
def test_a_broken_picture_is_answered_with_a_header(
    server: Running, broken: bytes, headers: dict[str, str], jpegs: list[bytes]
) -> None:
    answer = server.client.post("/invocations", content=broken, headers={**JPEG, **headers})
    assert answer.status_code == 200
    assert answer.headers["x-vizsla-warnings"] == 'corrupt-data;pictures="0"'
    whole = server.client.post("/invocations", content=jpegs[1], headers={**JPEG, **headers})
    assert "x-vizsla-warnings" not in whole.headers
    if headers in (OBJECT, EXPLAIN):
        (warning,) = answer.json()["warnings"]
        assert warning["kind"] == "corrupt-data"
        assert warning["what"].startswith("Part of the picture's data is broken (Corrupt JPEG data: ")
        assert "warnings" not in whole.json()
    assert server.log_of(answer.headers["x-amzn-requestid"])[0]["broken"] == [0]
    assert "broken" not in server.log_of(whole.headers["x-amzn-requestid"])[0]


def test_of_several_pictures_the_broken_ones_are_named(server: Running, broken: bytes, jpegs: list[bytes]) -> None:
    body = pictures(jpegs[0], broken, jpegs[2], broken)
    answer = server.client.post("/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.headers["x-vizsla-warnings"] == 'corrupt-data;pictures="1 3"'
    assert ["warnings" in document for document in answer.json()] == [False, True, False, True]
    files = [("image", (f"{i}.jpg", body, "image/jpeg")) for i, body in enumerate((broken, jpegs[0]))]
    form = server.client.post("/invocations", files=files)
    assert form.headers["x-vizsla-warnings"] == 'corrupt-data;pictures="0"'
    runtime = server.client.post("/endpoints/any/invocations", content=broken, headers=JPEG)
    assert runtime.headers["x-vizsla-warnings"] == 'corrupt-data;pictures="0"'


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_strict_server_refuses_them(
    serving: Callable[..., Running], saved_model: object, broken: bytes, jpegs: list[bytes], way: str
) -> None:
    strict = {"VIZSLA_STRICT_IMAGES": "1"} if way == "variable" else {}
    server = serving(str(saved_model), *([] if strict else ["--strict-images"]), **strict)
    assert server.client.post("/invocations", content=jpegs[1], headers=JPEG).status_code == 200
    answer = server.client.post("/invocations", content=broken, headers=JPEG)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "corrupt-data")
    assert answer.json()["Message"].startswith("Part of the picture's data is broken")
    explained = server.client.post("/invocations", content=broken, headers={**JPEG, **EXPLAIN})
    assert explained.status_code == 400
    body = pictures(jpegs[0], broken)
    several = server.client.post("/invocations", content=body, headers={"content-type": "application/json"})
    assert several.json()["Message"].startswith("Picture 1: Part of the picture's data is broken")
    runtime = server.client.post("/endpoints/any/invocations", content=broken, headers=JPEG)
    assert (runtime.status_code, runtime.json()["OriginalStatusCode"]) == (424, 400)
