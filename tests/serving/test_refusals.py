"""What cannot be answered is answered in words, in the service's shape, and hurts nobody else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from vizsla.serving.access import Access
from vizsla.serving.faults import RequestError

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}


def refused(
    server: Running, body: bytes, content_type: str = "image/jpeg", **headers: str
) -> tuple[int, dict[str, Any]]:
    answer = server.client.post("/invocations", content=body, headers={"content-type": content_type, **headers})
    document = answer.json()
    assert document["RequestId"] == answer.headers["x-amzn-requestid"]
    return answer.status_code, document


def bomb() -> bytes:
    """A PNG of 40,000 x 40,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def npy(header: str) -> bytes:
    text = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


CASES = {
    "empty": (b"", "image/jpeg", 400, "body-empty", "The request has no body."),
    "truncated": (None, "image/jpeg", 400, "truncated", "ends too early"),
    "bomb": (bomb(), "image/png", 400, "too-many-pixels", "The picture is too large to decode safely"),
    "text": (b"hello there", "image/jpeg", 400, "not-an-image", "it looks like text"),
    "30 MB": (bytes(30_000_000), "image/jpeg", 413, "body-too-large", "The request's body is too large."),
    "wrong type": (b"x", "video/mp4", 415, "body-type", "A body of type 'video/mp4' cannot be read."),
    "no type": (b"x", "", 415, "body-type", "The request names no Content-Type."),
    "no JSON": (b"{'image':", "application/json", 400, "body-malformed", "The body is not JSON"),
    "deep JSON": (b"[" * 100_000, "application/json", 400, "body-malformed", "The body is not JSON"),
    "JSON without a picture": (b'{"a": 1}', "application/json", 400, "body-malformed", "Picture 0 of the JSON is no"),
    "no base64": (b'{"image": "!!"}', "application/json", 400, "body-malformed", "Picture 0 of the JSON is not base64"),
    "no pictures": (b'{"images": []}', "application/json", 400, "body-malformed", "The JSON names no picture."),
    "too many": (
        json.dumps({"images": ["QQ=="] * 257}).encode(), "application/json", 400, "too-many-pictures", "257 pictures",
    ),
    "a link": (
        b'{"url": "http://example.com/a.jpg"}', "application/json", 403, "url-off", "does not fetch pictures",
    ),
    "no form": (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 400, "body-malformed", "form"),
    "a form without boundary": (b"x", "multipart/form-data", 400, "body-malformed", "The form cannot be read"),
    "a form without files": (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        "multipart/form-data; boundary=x", 400, "body-malformed", "The form holds no file.",
    ),
    "npy of objects": (
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 2, 3), }"),
        "application/x-npy", 400, "body-malformed", "The array is object of shape (1, 2, 2, 3)",
    ),
    "npy that promises a terabyte": (
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1000000, 400000, 3), }"),
        "application/x-npy", 400, "body-malformed", "The array promises 1,200,000,000,000 bytes; 0 follow.",
    ),
    "npy with an open bracket": (
        b"\x93NUMPY\x01\x00\x10\x00{'descr': ('|u1'\n", "application/x-npy", 400, "body-malformed", "is no npy array",
    ),
    "npy that is none": (b"\x93NUMPY\x01\x00", "application/x-npy", 400, "body-malformed", "The body is no npy array"),
}  # fmt: skip


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_body_is_refused_for_that(server: Running, jpegs: list[bytes], coding: str) -> None:
    body = gzip.compress(jpegs[0])
    answer = server.client.post("/invocations", content=body, headers={**JPEG, "content-encoding": coding})
    assert answer.status_code == 415
    assert answer.json()["ErrorCode"] == "body-encoding"
    assert answer.json()["Message"].startswith(f"The body is compressed (Content-Encoding: {coding})")
    assert "send the picture as it is" in answer.json()["Do"]
    assert answer.headers["accept-encoding"] == "identity"
    plain = server.client.post("/invocations", content=jpegs[0], headers={**JPEG, "content-encoding": "identity"})
    assert plain.status_code == 200
    told = server.client.post("/invocations", content=body, headers=JPEG).json()
    assert told["Message"] == "The file is not a picture; it looks like a file compressed with gzip."
    assert told["Do"] == "unpack it first"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"data:image/jpeg;base64,/9j/4AAQSkZJRg==", "a data: address in base64"),
        (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD", "a picture in base64"),
        (b"<html><head><title>404 Not Found</title></head>", "a web page"),
        (b'{"message":"Forbidden"}', "a JSON document"),
    ],
)
def test_what_was_sent_instead_of_a_picture_is_named(server: Running, body: bytes, words: str) -> None:
    assert refused(server, body)[1]["Message"] == f"The file is not a picture; it looks like {words}."


@pytest.mark.parametrize("case", CASES)
def test_a_bad_body_is_refused_in_words(server: Running, jpegs: list[bytes], case: str) -> None:
    body, content_type, status, kind, words = CASES[case]
    found, document = refused(server, jpegs[0][: len(jpegs[0]) // 2] if body is None else body, content_type)
    assert (found, document["ErrorCode"]) == (status, kind)
    assert words in document["Message"]
    assert server.client.post("/invocations", content=jpegs[0], headers=JPEG).status_code == 200


def test_a_picture_that_is_broken_is_named_by_its_place(server: Running, jpegs: list[bytes]) -> None:
    texts = [base64.b64encode(body).decode() for body in (jpegs[0], b"nonsense", jpegs[1])]
    status, document = refused(server, json.dumps({"images": texts}).encode(), "application/json")
    assert status == 400
    assert document["Message"].startswith("Picture 1: The file is not a picture")


def test_an_accept_that_nobody_can_write(server: Running, jpegs: list[bytes]) -> None:
    status, document = refused(server, jpegs[0], accept="application/x-protobuf")
    assert (status, document["ErrorCode"]) == (406, "accept")
    assert "application/jsonlines" in document["Allowed"]


EXPLAIN = {"x-amzn-sagemaker-enable-explanations": "true"}


@pytest.mark.parametrize("accept", ["text/csv", "application/x-npy", "application/json;form=list"])
def test_an_explanation_is_not_dropped_in_silence(server: Running, jpegs: list[bytes], accept: str) -> None:
    status, document = refused(server, jpegs[0], accept=accept, **EXPLAIN)
    assert (status, document["ErrorCode"]) == (406, "accept")
    assert document["Message"] == f"An explanation cannot be written as {accept!r}."
    assert document["Allowed"] == "application/json, application/json;form=object"


@pytest.mark.parametrize("accept", ["application/json", "text/csv, application/json;q=0.5", "*/*"])
def test_with_an_explanation_json_means_the_object(server: Running, jpegs: list[bytes], accept: str) -> None:
    answer = server.client.post("/invocations", content=jpegs[0], headers={**JPEG, **EXPLAIN, "accept": accept})
    assert "class_activation_map" in answer.json()["explanation"]


def test_a_form_that_is_not_known(server: Running, jpegs: list[bytes]) -> None:
    status, document = refused(server, jpegs[0], accept="application/json;form=tree")
    assert (status, document["ErrorCode"]) == (406, "accept")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [("GET", "/nothing", 404, "path-unknown"), ("GET", "/invocations", 405, "method"), ("PUT", "/ping", 405, "method")],
)
def test_a_path_or_method_that_is_not_there(server: Running, method: str, path: str, status: int, kind: str) -> None:
    answer = server.client.request(method, path)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (status, kind)


@pytest.mark.parametrize(("path", "methods"), [("/models", "GET HEAD POST"), ("/models/x", "DELETE GET HEAD")])
def test_what_a_path_offers_is_said_in_full(server: Running, path: str, methods: str) -> None:
    answer = server.client.put(path)
    assert answer.status_code == 405
    assert " ".join(sorted(answer.headers["allow"].split(", "))) == methods
    assert server.client.head("/models").status_code == 200


def test_another_sites_page_is_refused(server: Running, jpegs: list[bytes]) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "http://evil.example:80", "host": "evil.example:80"},  # a name bent to this machine
    ):
        status, document = refused(server, jpegs[0], **headers)
        assert (status, document["ErrorCode"]) == (403, "origin")
    own = {"origin": server.url, **JPEG}
    assert server.client.post("/invocations", content=jpegs[0], headers=own).status_code == 200


def test_a_name_that_was_bent_to_this_machine_reads_nothing(server: Running) -> None:
    for path in ("/status", "/metrics", "/models", "/"):
        answer = server.client.get(path, headers={"host": "evil.example:8080"})
        assert (answer.status_code, answer.json()["ErrorCode"]) == (403, "origin")
        assert "--public-origin" in answer.json()["Do"]
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert server.client.get("/status", headers={"host": host}).status_code == 200


def test_a_proxy_is_named_or_keys_are_set(serving: Any, saved_model: Path, jpegs: list[bytes]) -> None:
    named = serving(str(saved_model), "--public-origin", "https://models.example.com")
    through = {"host": "models.example.com", "origin": "https://models.example.com", **JPEG}
    assert named.client.post("/invocations", content=jpegs[0], headers=through).status_code == 200
    inside = {"origin": "https://models.example.com", **JPEG}  # a proxy that does not keep the name
    assert named.client.post("/invocations", content=jpegs[0], headers=inside).status_code == 200
    assert named.client.get("/status", headers={"host": "evil.example"}).status_code == 403
    keyed = serving(str(saved_model), VIZSLA_API_KEYS="k")
    assert keyed.client.get("/status", headers={"host": "any.example", "x-api-key": "k"}).status_code == 200
    foreign = {"host": "any.example", "origin": "https://evil.example", "x-api-key": "k"}
    assert keyed.client.get("/status", headers=foreign).status_code == 403


def test_another_machine_is_refused_where_a_proxy_lets_it_through() -> None:
    for own in ("127.0.0.1", "::1", ""):
        Access().check_client(own)
    with pytest.raises(RequestError, match=r"its own machine alone, and no other \(192\.0\.2\.1\)") as caught:
        Access().check_client("192.0.2.1")
    assert "VIZSLA_API_KEYS" in str(caught.value.do)
    Access(api_keys=("secret",)).check_client("192.0.2.1")
    Access(local=False).check_client("192.0.2.1")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null"])
def test_an_origin_that_is_none_is_refused(server: Running, origin: str) -> None:
    answer = server.client.get("/status", headers={"origin": origin})
    assert (answer.status_code, answer.json()["ErrorCode"]) == (403, "origin")


FORM = "multipart/form-data; boundary=frontier"
FILE = b'--frontier\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
STALLS = {
    "millions of lists": (b'{"images": [' + b"[]," * 8_000_000 + b"[]]}", "application/json", "16,000,0"),
    "millions of boundaries": (b"--frontier\r\n" * 2_000_000, FORM, "2,000,000 pictures"),
    "a form of blanks": (
        b"--frontier\r\n" + b" " * 24_000_000,
        FORM,
        "The form cannot be read: Maximum",
    ),
    "millions of headers": (b"--frontier\r\nA: " + b"\r\nA: " * 4_000_000, FORM, "Maximum header count exceeded."),
    "a header without end": (b"--frontier\r\nA: " + b"b" * 24_000_000, FORM, "Maximum header size exceeded."),
    "a name without end": (b"--frontier\r\n" + b"A" * 24_000_000, FORM, "Maximum header size exceeded."),
    "millions of tiny parts": (b"--frontier\r\n\r\nx\r\n" * 1_300_000, FORM, "The request holds 1,300,000 pictures."),
    "bytes that are almost boundaries": (FILE + b"\r\n--frontie" * 2_100_000, FORM, "The form holds no file."),
    "lines without end": (FILE + b"\r\n" * 12_000_000, FORM, "The form holds no file."),
}


@pytest.mark.parametrize("case", STALLS)
def test_one_body_does_not_stop_the_others(server: Running, case: str) -> None:
    """The probe is answered while it is read; where it is not, it waits for half a minute."""
    body, content_type, words = STALLS[case]
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, trust_env=False, timeout=15) as probe:
        asked = pool.submit(refused, server, body, content_type)
        while not asked.done():
            assert probe.get("/ping").status_code == 200
        status, document = asked.result()
    assert (status, words in document["Message"]) == (400, True), document


def test_a_large_form_and_wrapped_base64_are_read(server: Running, jpegs: list[bytes]) -> None:
    rows = server.client.post("/invocations", files=[("a", bytes(300_000)), ("b", jpegs[0])])
    assert rows.json()["Message"].startswith("Picture 0")
    large = server.client.post("/invocations", files=[("a", jpegs[i % 12]) for i in range(60)])
    assert int(large.request.headers["content-length"]) > 256 * 1024
    assert len(large.json()) == 60
    wrapped = {"image": base64.encodebytes(jpegs[0]).decode()}
    assert server.client.post("/invocations", json=wrapped).status_code == 200


@pytest.mark.parametrize("name", ["Inference-Component", "Target-Container-Hostname", "Session-Id"])
def test_what_would_mean_another_model_is_refused(server: Running, jpegs: list[bytes], name: str) -> None:
    headers = {**JPEG, f"X-Amzn-SageMaker-{name}": "other"}
    answer = server.client.post("/endpoints/a/invocations", content=jpegs[0], headers=headers)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert "is not offered" in answer.json()["Message"]


def test_the_runtime_api_wraps_what_the_container_refuses(server: Running) -> None:
    answer = server.client.post("/endpoints/any/invocations", content=b"text", headers=JPEG)
    assert answer.status_code == 424
    assert answer.headers["x-amzn-errortype"] == "ModelError"
    document = answer.json()
    assert document["OriginalStatusCode"] == 400
    assert json.loads(document["OriginalMessage"])["ErrorCode"] == "not-an-image"


@pytest.mark.parametrize(
    ("path", "headers", "words"),
    [
        ("/endpoints/a_b/invocations", {}, "'a_b' is no endpoint's name."),
        ("/endpoints/a/invocations", {"x-amzn-sagemaker-target-variant": "B"}, "Allowed: AllTraffic."),
        ("/endpoints/a/invocations", {"x-amzn-sagemaker-inference-id": "x" * 65}, "at most 64 characters"),
        ("/endpoints/a/invocations", {"x-amzn-sagemaker-enable-explanations": "a > b"}, "cannot be evaluated"),
        ("/endpoints/a/invocations", {"x-amzn-sagemaker-target-model": "other"}, "There is no model 'other'."),
    ],
)  # fmt: skip
def test_the_runtime_api_validates_names_and_headers(
    server: Running, jpegs: list[bytes], path: str, headers: dict[str, str], words: str
) -> None:
    answer = server.client.post(path, content=jpegs[0], headers={**JPEG, **headers})
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert words in answer.json()["Message"]


def test_every_error_kind_raised_in_the_code_is_in_the_table() -> None:
    import vizsla.serving
    from vizsla.serving.faults import FAULTS

    text = "".join(path.read_text("utf-8") for path in Path(vizsla.serving.__path__[0]).glob("*.py"))
    raised = set(re.findall(r'RequestError\(\s*"([a-z-]+)"', text))
    assert raised
    assert raised <= set(FAULTS)


def test_npy_of_a_single_picture(server: Running) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((200, 210, 3), np.uint8))
    answer = server.client.post("/invocations", content=file.getvalue(), headers={"content-type": "application/x-npy"})
    assert len(answer.json()) == 7
