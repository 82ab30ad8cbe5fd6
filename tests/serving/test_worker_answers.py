"""Answers of a model's own code that cannot be sent: the code's fault is named, the process and the connection live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vizsla.serving.entry import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from conftest import Running

CODE = """
import os, sys
class Wordless(Exception):
    def __str__(self): raise RuntimeError("no words")
def model_fn(model_dir): return 0
def transform_fn(model, body, content_type, accept, context):
    word = body.decode()
    types = {"bytes": b"text/plain", "snow": "text/" + chr(0x2603), "lines": "text/plain\\r\\nx-evil: 1",
             "long": "x" * 100_000, "surrogate": chr(0xdc80)}
    if word in types: context.set_response_content_type(0, types[word])
    if word == "pid": return str(os.getpid())
    if word == "no type": return "[1]", None
    if word == "three": return "[3]", "text/three", "of no use"
    if word == "no phrase": context.set_response_status(400, phrase=None); return "no dog in it"
    if word == "odd phrase": context.set_response_status(400.0, phrase="no " + chr(0xdc80))
    if word == "endless phrase": context.set_response_status(400, phrase="no" * 20_000_000)
    if word == "raises": raise ValueError("bad " + chr(0xdc80))
    if word == "wordless": raise Wordless
    if word == "silent": sys.stderr.close(); raise ValueError("silent")
    if word == "large": return bytes(int(LARGE))
    if word == "larger": return bytes(int(LARGE) + 1)
    if word == "unchecked":
        sys.modules["__main__"]._checked_type = lambda value: value
        context.set_response_content_type(0, "text/plain\\r\\nx-evil: 1")
    return "[1]"
"""


@pytest.fixture
def server(serving: Callable[..., Running], tmp_path: Path) -> Running:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(CODE.replace("LARGE", str(MAX_ANSWER_BYTES)))
    return serving(str(tmp_path / "own"), "--allow-code")


def test_what_no_header_can_carry_is_the_codes_fault(server: Running) -> None:
    _, worker = server.say("pid")
    shown = {
        "bytes": "b'text/plain'",
        "snow": "'text/\N{SNOWMAN}'",
        "lines": r"'text/plain\r\nx-evil: 1'",
        "long": "'" + 199 * "x",
        "surrogate": r"'\udc80'",
    }
    for word, value in shown.items():
        status, document = server.say(word)
        assert (status, document["ErrorCode"]) == (500, "code-failed")
        assert document["Message"] == f"The model's code gave its answer the content type {value}."
        assert document["Where"] == "code/inference.py"
        assert document["Allowed"].startswith("a text that a header can carry, such as application/json")
        assert "set_response_content_type" in document["Do"]
    assert server.say("pid") == (200, worker)
    answer = server.client.post("/invocations", content=b"no type", headers={"accept": "text/x-words"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/x-words")
    answer = server.client.post("/invocations", content=b"three")
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "text/three", "[3]")


def test_words_that_cannot_be_written_are_told_as_they_can(server: Running) -> None:
    _, worker = server.say("pid")
    told = {
        "no phrase": (400, "code-refused", "no dog in it"),
        "odd phrase": (400, "code-refused", r"no \udc80"),
        "endless phrase": (400, "code-refused", "no" * 5_000),
        "raises": (500, "code-failed", r"The model's code failed in inference: ValueError: bad \udc80"),
        "wordless": (500, "code-failed", "The model's code failed in inference: Wordless: it cannot be printed"),
        "silent": (500, "code-failed", "The model's code failed in inference: ValueError: silent"),
    }
    for word, (status, kind, message) in told.items():
        found, document = server.say(word)
        assert (found, document["ErrorCode"], document["Message"]) == (status, kind, message)
    assert server.say("pid") == (200, worker)


def test_an_answer_that_is_too_large_is_refused_and_not_read(server: Running) -> None:
    _, worker = server.say("pid")
    answer = server.client.post("/invocations", content=b"large")
    assert (answer.status_code, len(answer.content)) == (200, MAX_ANSWER_BYTES)
    status, document = server.say("larger")
    assert (status, document["ErrorCode"]) == (500, "code-failed")
    assert document["Message"] == "The model's code answered with 26,214,401 bytes."
    assert document["Allowed"] == "at most 26,214,400 bytes"
    assert document["Do"] == "answer with less, or with the address of what the code has stored elsewhere"
    assert server.say("pid") == (200, worker)


def test_a_header_that_nobody_has_checked_drops_no_connection(server: Running) -> None:
    """The code has meddled with the process that runs it."""
    status, document = server.say("unchecked")
    assert (status, document["ErrorCode"]) == (500, "internal")
    fault = next(line for line in server.log_of(document["RequestId"]) if line["event"] == "fault")
    assert "b'content-type' cannot be b'text/plain" in fault["trace"]
