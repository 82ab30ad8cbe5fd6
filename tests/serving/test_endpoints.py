"""Endpoints in the background: real processes that are really killed, real requests while something changes."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from commandline import vizsla

from vizsla.models.model import load
from vizsla.serving.capture import Capture, CaptureOptions
from vizsla.serving.endpoint_folder import EndpointFolder, endpoints_folder
from vizsla.serving.traffic import Deployment, Policy, Traffic
from vizsla.workflow.endpoints import start

BROKEN = """
def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    raise RuntimeError("out of order")
"""

Endpoints = Callable[..., dict[str, Any]]


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    """Runs ``vizsla endpoints ARGUMENTS --json``; it must end with ``code``. What was created ends with the test."""

    def run(*arguments: object, code: int = 0, **environment: str) -> dict[str, Any]:
        result = vizsla("endpoints", *arguments, "--json", **environment)
        assert result.returncode == code, result.stderr
        lines = result.stdout.strip().splitlines()
        return (json.loads(lines[-1]) if lines else {}) | {"words": result.stderr}

    yield run
    for path in endpoints_folder().glob("*/config.json"):
        run("delete", path.parent.name)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path], backbone: Any) -> list[Path]:
    folder = tmp_path_factory.mktemp("variants")
    return [write_model(folder / f"model-{seed}", backbone, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory, paint: Callable[..., Any]) -> Path:
    path = tmp_path_factory.mktemp("photo") / "rose.jpg"
    paint(3).save(path)
    return path


def test_an_endpoint_is_created_asked_brought_back_and_deleted(
    endpoints: Endpoints, models: list[Path], photo: Path
) -> None:
    made = endpoints("create", "breeds", models[0], "--capture-percent", 100)
    assert made["status"] == "InService"
    answer = endpoints("invoke", "breeds", photo)
    assert answer["variant"] == "AllTraffic"
    expected = load(models[0]).predict(photo)
    assert answer["answer"]["predictions"][0]["probability"] == expected.probability
    said = vizsla("endpoints", "invoke", "breeds", photo).stdout
    best = answer["answer"]["predictions"][0]["class_name"]
    assert said.startswith(f"{photo}   {best} {100 * expected.probability:.1f} %   ")

    words = endpoints("create", "breeds", models[1], code=2)["words"]
    assert "There is an endpoint named 'breeds' already." in words
    assert "vizsla endpoints update breeds" in words

    os.kill(made["pid"], signal.SIGKILL)
    _wait(lambda: endpoints("show", "breeds")["starts"] == 2 and endpoints("show", "breeds")["status"] == "InService")
    assert endpoints("invoke", "breeds", photo)["answer"] == answer["answer"]
    assert endpoints("show", "breeds")["url"] == made["url"]

    assert endpoints("stop", "breeds")["status"] == "OutOfService"
    words = endpoints("invoke", "breeds", photo, code=1)["words"]
    assert "The endpoint breeds does not answer (OutOfService)" in words
    assert "vizsla endpoints start breeds" in words
    assert endpoints("start", "breeds")["status"] == "InService"
    assert [e["name"] for e in endpoints("list")["endpoints"]] == ["breeds"]
    assert '"event": "serving"' in vizsla("endpoints", "logs", "breeds").stdout

    lines = [json.loads(line) for path in Path(made["capture"]).rglob("*.jsonl") for line in path.open()]
    assert len(lines) == 3
    captured = lines[0]["captureData"]
    assert base64.b64decode(captured["endpointInput"]["data"]) == photo.read_bytes()
    assert captured["endpointInput"]["observedContentType"] == "image/jpeg"
    assert (captured["endpointOutput"]["encoding"], captured["endpointOutput"]["mode"]) == ("JSON", "OUTPUT")
    assert json.loads(captured["endpointOutput"]["data"]) == answer["answer"]
    assert set(lines[0]) == {"captureData", "eventMetadata", "eventVersion"}
    assert {"eventId", "inferenceTime"} <= set(lines[0]["eventMetadata"])

    keeper = EndpointFolder.named("breeds").keeper()["keeper"]
    assert endpoints("delete", "breeds")["deleted"] == ["breeds"]
    assert not Path(f"/proc/{keeper}").exists() or "Z" in Path(f"/proc/{keeper}/stat").read_text()
    assert not (endpoints_folder() / "breeds").exists()
    assert "There is no endpoint 'breeds'." in endpoints("show", "breeds", code=2)["words"]


def test_what_cannot_be_leaves_no_endpoint(endpoints: Endpoints, models: list[Path], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = endpoints("create", "x", models[0], "--port", port, code=2)["words"]
        assert f"The port {port} is taken." in words
    assert "There is no model 'none'." in endpoints("create", "x", "none", code=1)["words"]
    assert "Name models, or --models-dir" in endpoints("create", "x", code=2)["words"]
    assert "two variants have the name 'AllTraffic'" in endpoints("create", "x", *models, code=2)["words"]
    own = tmp_path / "own"
    (own / "code").mkdir(parents=True)
    (own / "code" / "inference.py").write_text(BROKEN)
    words = endpoints("create", "x", own, code=1)["words"]
    assert "The endpoint x cannot be served" in words
    assert "brings its own code, which is not run unless allowed" in words
    assert not list(endpoints_folder().glob("*"))


def test_variants_share_the_requests_by_their_weights(endpoints: Endpoints, models: list[Path], photo: Path) -> None:
    import boto3

    made = endpoints("create", "ab", f"A={models[0]}:3", f"B={models[1]}:1")
    client = boto3.client("sagemaker-runtime", endpoint_url=made["url"], region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
    expected = {name: load(model).probabilities(photo.read_bytes()) for name, model in zip("AB", models, strict=True)}

    def ask(**more: str) -> str:
        response = client.invoke_endpoint(EndpointName="ab", Body=photo.read_bytes(), ContentType="image/jpeg", **more)
        variant = str(response["InvokedProductionVariant"])
        assert np.array_equal(np.asarray(json.loads(response["Body"].read()), np.float32), expected[variant])
        return variant

    counts = Counter(ask() for _ in range(120))
    assert 60 < counts["A"] < 115, "90 are expected; 7 standard deviations"
    assert {ask(TargetVariant="B") for _ in range(5)} == {"B"}
    with pytest.raises(client.exceptions.ClientError, match="There is no variant 'C'"):
        ask(TargetVariant="C")
    endpoints("update", "ab", "--weight", "A=0")
    _wait(lambda: endpoints("show", "ab")["variants"][0]["CurrentWeight"] == 0)
    assert {ask() for _ in range(20)} == {"B"}
    assert "There is no variant 'C'." in endpoints("update", "ab", "--weight", "C=1", code=2)["words"]
    assert "Nothing would change." in endpoints("update", "ab", code=2)["words"]


class Load:
    """Two clients that ask without a pause; the statuses and answers, in order."""

    def __init__(self, url: str, name: str, body: bytes) -> None:
        self.answers: list[tuple[int, Any]] = []
        self._url, self._name, self._body = url, name, body
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._over.is_set():
                headers = {"content-type": "image/jpeg"}
                response = client.post(f"/endpoints/{self._name}/invocations", content=self._body, headers=headers)
                self.answers.append((response.status_code, response.json()))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_canary_moves_by_itself_without_a_failed_request(
    endpoints: Endpoints, models: list[Path], photo: Path
) -> None:
    made = endpoints("create", "canary", models[0])
    body = photo.read_bytes()
    before, after = (load(model).probabilities(body) for model in models)
    with Load(made["url"], "canary", body) as asked:
        _wait(lambda: len(asked.answers) > 20)
        endpoints("update", "canary", models[1], "--canary", 30, "--wait-seconds", 2)
        _wait(lambda: endpoints("show", "canary")["status"] == "Updating")
        assert "is just being changed" in endpoints("update", "canary", models[0], code=2)["words"]
        _wait(lambda: (endpoints("show", "canary")["deployment"] or {}).get("status") == "Completed")
        at = len(asked.answers)
        _wait(lambda: len(asked.answers) > at + 20)
    assert {status for status, _ in asked.answers} == {200}
    said = [np.array_equal(np.asarray(answer, np.float32), after) for _, answer in asked.answers]
    assert not any(said[:20])
    assert all(said[-10:])
    assert all(
        is_new or np.array_equal(np.asarray(answer, np.float32), before)
        for is_new, (_, answer) in zip(said, asked.answers, strict=True)
    )
    shown = endpoints("show", "canary")
    assert shown["config"]["ProductionVariants"][0]["ModelName"] == str(models[1])
    assert "Previous" not in shown["config"]


def test_a_canary_that_fails_is_taken_back(
    endpoints: Endpoints, models: list[Path], photo: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    (own / "code").mkdir(parents=True)
    (own / "code" / "inference.py").write_text(BROKEN)
    made = endpoints("create", "back", models[0], "--allow-code")
    with Load(made["url"], "back", photo.read_bytes()) as asked:
        endpoints("update", "back", own, "--canary", 20, "--wait-seconds", 600)
        _wait(lambda: (endpoints("show", "back")["deployment"] or {}).get("status") == "RolledBack")
        at = len(asked.answers)
        _wait(lambda: len(asked.answers) > at + 20)
    reason = endpoints("show", "back")["deployment"]["reason"]
    assert "requests failed (allowed: 5.0%)" in reason
    assert {status for status, _ in asked.answers[at:]} == {200}
    assert 20 <= sum(status != 200 for status, _ in asked.answers) < 0.5 * len(asked.answers)
    assert endpoints("show", "back")["config"]["ProductionVariants"][0]["ModelName"] == str(models[0])

    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "model.json").write_text("{}")
    with Load(made["url"], "back", photo.read_bytes()) as asked:
        endpoints("update", "back", gone)
        _wait(lambda: "cannot be loaded" in endpoints("show", "back")["deployment"]["reason"])
    assert {status for status, _ in asked.answers} == {200}


def test_a_unit_for_systemd_is_written(endpoints: Endpoints, models: list[Path], tmp_path: Path) -> None:
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "VIZSLA_API_KEYS": ""}
    made = endpoints("create", "unit", models[0], "--systemd", **config)
    unit = (tmp_path / "config" / "systemd" / "user" / "vizsla-endpoint-unit.service").read_text()
    assert f'vizsla.serving.endpoint_keeper "{made["directory"]}"' in unit
    assert f'Environment="VIZSLA_HOME={os.environ["VIZSLA_HOME"]}"' in unit
    assert "VIZSLA_API_KEYS" not in unit
    said = endpoints("create", "keyed", models[0], "--systemd", **(config | {"VIZSLA_API_KEYS": "secret"}), code=2)
    assert "VIZSLA_API_KEYS is set, and the unit would start the endpoint without it" in said["words"]
    assert not (endpoints_folder() / "keyed").exists()


def test_what_is_captured_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizsla.serving.capture._FILE_BYTES", 2000)
    capture = Capture(CaptureOptions(tmp_path, max_bytes=10_000), "e")
    for i in range(200):
        answered = (json.dumps({"number": i}).encode(), "application/json")
        capture.take("v", sent=(b"\xff" * 100, "image/jpeg"), answered=answered, inference_id=None, event_id=str(i))
    capture.close()
    files = sorted(tmp_path.rglob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    assert 5_000 < sum(path.stat().st_size for path in files) <= 10_000
    lines = [json.loads(line) for path in files for line in path.open()]
    assert "199" in {line["eventMetadata"]["eventId"] for line in lines}, "the newest are kept"
    assert "0" not in {line["eventMetadata"]["eventId"] for line in lines}


def test_a_capture_of_few_megabytes_keeps_within_them(tmp_path: Path) -> None:
    """Less than the usual size of one file; three variants, and a request that is larger than all may be."""
    capture = Capture(CaptureOptions(tmp_path, max_bytes=600_000), "e")
    for i in range(120):
        sent, answered = (b"\xff" * 20_000, "image/jpeg"), (b"{}", "application/json")
        capture.take(f"v{i % 3}", sent=sent, answered=answered, inference_id=None, event_id=str(i))
    capture.take("v0", sent=(b"\xff" * 700_000, "image/jpeg"), answered=answered, inference_id=None, event_id="large")
    capture.close()
    assert capture.dropped == 1
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.jsonl")]
    assert 300_000 < sum(sizes) <= 600_000


def test_what_waits_to_be_captured_is_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizsla.serving.capture._WAITING_BYTES", 1_000_000)
    go = threading.Event()
    write = Capture._append

    def slow(self: Capture, variant: str, line: bytes) -> None:
        go.wait(10)
        write(self, variant, line)

    monkeypatch.setattr(Capture, "_append", slow)  # a disk that stands still
    capture = Capture(CaptureOptions(tmp_path), "e")
    for i in range(10):
        sent = (b"\xff" * 300_000, "image/jpeg")
        capture.take("v", sent=sent, answered=(b"{}", "application/json"), inference_id=None, event_id=str(i))
    assert capture._waiting_bytes <= 1_000_000
    go.set()
    capture.close()
    assert capture.dropped == 8, "two of 400 kB have room"
    assert sum(1 for path in tmp_path.rglob("*.jsonl") for _ in path.open()) == 2


KILLS = """
import os, signal

def model_fn(model_dir):
    os.kill(os.getppid(), signal.SIGKILL)  # as the system does where memory ends

def transform_fn(model, body, content_type, accept):
    return b"", accept
"""


def test_a_new_model_that_ends_the_server_is_taken_back(
    endpoints: Endpoints, models: list[Path], photo: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    (own / "code").mkdir(parents=True)
    (own / "code" / "inference.py").write_text(KILLS)
    endpoints("create", "ends", models[0], "--allow-code")
    expected = endpoints("invoke", "ends", photo)["answer"]
    endpoints("update", "ends", own)
    _wait(lambda: (endpoints("show", "ends")["deployment"] or {}).get("status") == "RolledBack")
    shown = endpoints("show", "ends")
    assert "the server has ended 2 times since the change" in shown["deployment"]["reason"]
    assert shown["starts"] == 3
    assert shown["config"]["ProductionVariants"][0]["ModelName"] == str(models[0])
    assert endpoints("invoke", "ends", photo)["answer"] == expected


def test_a_keeper_that_cannot_live_is_told_at_once(
    endpoints: Endpoints, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizsla.workflow.endpoints.KEEPER", "vizsla.serving.no_such_keeper")
    began = time.monotonic()
    words = endpoints("create", "dead", models[0], code=1)["words"]
    assert "its keeper has ended" in words
    assert "no_such_keeper" in words
    assert time.monotonic() - began < 20


def test_two_who_start_one_endpoint_at_once_both_find_it_in_service(endpoints: Endpoints, models: list[Path]) -> None:
    endpoints("create", "twice", models[0])
    endpoints("stop", "twice")
    folder, failures = EndpointFolder.named("twice"), []

    def start_it() -> None:
        try:
            start(folder)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    starting = [threading.Thread(target=start_it) for _ in range(3)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    assert not failures
    assert endpoints("show", "twice")["status"] == "InService"
    assert endpoints("show", "twice")["starts"] == 1


def test_a_deployment_moves_with_time_and_sees_trouble() -> None:
    linear = Deployment(Policy(step=0.4, wait=10, linear=True), clock=0.0)
    seen = [(linear.look(now), linear.share) for now in (5, 10, 15, 20)]
    assert seen == [(False, 0.4), (False, 0.8), (False, 0.8), (True, 1.0)]
    canary = Deployment(Policy(step=0.1, wait=10), clock=0.0)
    assert [canary.look(now) for now in (9, 10)] == [False, True]
    slow = Deployment(Policy(max_latency=0.1, least_requests=10))
    traffic = Traffic()
    traffic.new, traffic.deployment = [("A", 1.0, "m")], slow
    slow.share = 1.0
    for seconds in [0.05] * 19 + [0.5]:
        choice = traffic.choose(None)
        assert slow.trouble() is None
        traffic.note(choice, failed=False, seconds=seconds)
    assert slow.trouble() is None
    traffic.note(choice, failed=False, seconds=0.5)
    assert slow.trouble() == "the 95th percentile of the latency was 500 ms (allowed: 100 ms)"


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
