"""One model behind the container's doors: the answers are those of the model itself, to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
