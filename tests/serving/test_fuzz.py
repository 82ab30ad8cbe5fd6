"""Whatever bytes arrive: an answer in the service's shape, never a 500, never a server that stops."""

from __future__ import annotations

import base64
import io
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

KINDS = [
    "image/jpeg", "image/png", "application/json", "application/x-npy", "multipart/form-data; boundary=b", "text/csv",
]  # fmt: skip
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

leaf = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
documents = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["image", "images", "instances", "url", "b64", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def check(answer: httpx.Response) -> None:
    assert answer.status_code in (200, 400, 403, 404, 406, 413, 415), answer.text
    if answer.status_code != 200:
        assert answer.json()["Message"]


@FUZZ
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(KINDS),
    accept=st.sampled_from(["*/*", "text/csv", "a/b", ",;q="]),
)
def test_any_bytes(server: Running, body: bytes, kind: str, accept: str) -> None:
    check(server.client.post("/invocations", content=body, headers={"content-type": kind, "accept": accept}))


@FUZZ
@given(document=documents)
def test_any_json(server: Running, document: object) -> None:
    check(
        server.client.post("/invocations", content=json.dumps(document), headers={"content-type": "application/json"})
    )


@FUZZ
@given(data=st.data())
def test_damaged_pictures(server: Running, jpegs: list[bytes], data: st.DataObject) -> None:
    body = bytearray(jpegs[1])
    for _ in range(data.draw(st.integers(1, 12))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(body)))
    check(server.client.post("/invocations", content=bytes(body[:cut]), headers={"content-type": "image/jpeg"}))


@FUZZ
@given(
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    endpoint=st.text(max_size=20).filter(lambda text: text not in (".", "..")),
)
def test_any_names(server: Running, jpegs: list[bytes], target: str, endpoint: str) -> None:
    url = httpx.URL(server.url).copy_with(raw_path=b"/endpoints/" + quoted(endpoint) + b"/invocations")
    headers = {"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": target}
    check(server.client.post(url, content=jpegs[1], headers=headers))


def quoted(text: str) -> bytes:
    from urllib.parse import quote

    return quote(text, safe="").encode()


@settings(FUZZ, max_examples=60)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_on_the_socket(server: Running, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        try:
            answer = sock.recv(65536)
        except ConnectionResetError:
            return
    assert not answer.startswith(b"HTTP/1.1 5")


def test_after_all_that_the_server_answers_as_before(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    answer = server.client.post("/invocations", content=jpegs[2], headers={"content-type": "image/jpeg"})
    assert np.array_equal(np.array(answer.json(), np.float32), load(saved_model).probabilities(jpegs[2]))
    assert not [line for line in server.log() if line["event"] == "fault"]


def test_base64_with_line_breaks_and_as_data_url(server: Running, jpegs: list[bytes]) -> None:
    plain = server.client.post("/invocations", content=jpegs[1], headers={"content-type": "image/jpeg"}).json()
    text = base64.encodebytes(jpegs[1]).decode()
    for image in (text, "data:image/jpeg;base64," + text.replace("\n", "")):
        answer = server.client.post(
            "/invocations", json={"image": image}, headers={"accept": "application/json;form=list"}
        )
        assert answer.json() == plain


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: Running, tmp_path: Path) -> None:
    """Proves that requests generated from the OpenAPI description get documented answers and no 5xx; takes a minute."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    seen: set[tuple[str, int]] = set()

    def explore(operation: Any) -> None:
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def run(case: Any) -> None:
            answer = case.call()
            seen.add((operation.path, answer.status_code))
            case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error])

        run()

    for result in schema.get_all_operations():
        explore(result.ok())
    assert {path for path, _ in seen} == set(server.client.get("/openapi.json").json()["paths"])


def test_npy_headers_of_any_kind(server: Running) -> None:
    for shape, dtype in (((2, 0, 3), np.uint8), ((1, 1, 3), np.uint8), ((5,), np.uint8), ((4, 4, 3), np.float32)):
        file = io.BytesIO()
        np.save(file, np.zeros(shape, dtype))
        check(
            server.client.post("/invocations", content=file.getvalue(), headers={"content-type": "application/x-npy"})
        )
