"""Models that come and go under a bound on memory, and links that are moved: nobody hangs, nobody gets another's."""

from __future__ import annotations

import asyncio
import faulthandler
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from vizsla.errors import ModelError
from vizsla.models import artifact
from vizsla.models.model import load
from vizsla.serving import pool as pool_module
from vizsla.serving.backbones import Backbones
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.shelves import FolderShelf

if TYPE_CHECKING:
    from conftest import Running


@pytest.fixture
def folder(tmp_path: Path, write_model: Any, backbone: Any) -> Path:
    """Two models on one backbone."""
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, backbone, seed=seed)
    return tmp_path


def pool_of(folder: Path, memory: int = 10**9) -> Pool:
    return Pool(FolderShelf(folder), Backbones(2), memory=memory, allow_code=False)


def test_a_request_that_finds_a_load_which_has_just_ended(folder: Path) -> None:
    """Its model is unloaded again in the next step: the request loads it anew, and the loop goes on."""

    async def run() -> str:
        pool, loop = pool_of(folder), asyncio.get_running_loop()
        later: list[asyncio.Task[str]] = []

        async def ask() -> str:
            async with pool.use("a") as model:
                return model.name

        def loaded(name: str, seconds: float) -> None:
            if not later:  # both are ready in the loop before anything that the load's end would call
                loop.call_soon(lambda: pool._drop("a"))
                later.append(loop.create_task(ask()))

        pool.on_load = loaded
        await ask()
        answer = await later[0]
        await pool.close()
        return answer

    with Watched(20):
        assert asyncio.run(run()) == "a"


class Watched:
    """Ends the process when the block hangs without ever giving the loop back: no time-out of the loop would."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, exit=True)

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()


def test_a_model_waits_for_the_room_of_one_that_answers_just_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(seconds: float) -> list[str]:
        whole = pool_of(folder)
        await whole.load("a")
        pool = pool_of(folder, memory=whole.nbytes + 1000)
        await whole.close()

        async def hold() -> None:
            async with pool.use("a"):
                is_held.set()
                await asyncio.sleep(seconds)

        is_held = asyncio.Event()
        holding = asyncio.create_task(hold())
        await is_held.wait()
        try:
            async with pool.use("b"):
                return [model.name for model in pool.loaded()]
        finally:
            await holding
            await pool.close()

    assert asyncio.run(run(0.5)) == ["b"]
    monkeypatch.setattr(pool_module, "_ROOM_SECONDS", 0.5)
    with pytest.raises(RequestError, match="There is no room for the model 'b'"):
        asyncio.run(run(2))


def test_a_link_that_is_moved_leads_to_another_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "current").symlink_to("a")

    async def run() -> list[str]:
        pool, seen = pool_of(folder), []

        async def ask() -> None:
            async with pool.use("current") as model:
                seen.append(model.name)

        await ask()
        await ask()
        (folder / "new").symlink_to("b")
        os.replace(folder / "new", folder / "current")
        await asyncio.sleep(1.2)
        await ask()
        await pool.unload("b")
        await ask()
        await pool.close()
        return seen

    assert asyncio.run(run()) == ["a", "a", "b", "b"]


def test_a_storm_of_models_under_a_bound(
    serving: Callable[..., Running], tmp_path: Path, write_model: Any, backbone: Any, jpegs: list[bytes]
) -> None:
    """Twelve clients on ten models, of which a few fit: every answer is that of the model that was asked."""
    models = [
        write_model(tmp_path / "models" / f"m{seed}", backbone, seed=seed, classes=tuple(f"c{i}" for i in range(3000)))
        for seed in range(10)
    ]
    expected = [load(model).probabilities(jpegs[0]) for model in models]
    size = sum(file.stat().st_size for file in models[0].iterdir()) / 1e6
    server = serving("--models-dir", str(tmp_path / "models"), "--memory-mb", str(int(3 * size) + 1))

    def ask(turn: int) -> bool:
        number = turn * 7 % 10 if turn % 3 else turn % 4
        target = {"x-amzn-sagemaker-target-model": f"m{number}", "content-type": "image/jpeg"}
        answer = server.client.post("/invocations", content=jpegs[0], headers=target)
        assert answer.status_code == 200, answer.text
        return bool(np.array_equal(np.array(answer.json(), np.float32), expected[number]))

    with ThreadPoolExecutor(12) as clients:
        assert all(clients.map(ask, range(400)))
    assert server.client.get("/ping").status_code == 200
    assert len(server.client.get("/models").json()["models"]) < 10


def change(model: Path, of_card: Callable[[dict[str, Any]], None], weight: Callable[[Any], Any]) -> None:
    """Rewrite a model's card and head, with hashes that fit."""
    card = json.loads((model / "model.json").read_text())
    arrays = safetensors.numpy.load((model / "head.safetensors").read_bytes())
    head = safetensors.numpy.save({**arrays, "weight": np.ascontiguousarray(weight(arrays["weight"]))})
    of_card(card)
    card["head_sha256"] = hashlib.sha256(head).hexdigest()
    (model / "head.safetensors").write_bytes(head)
    (model / "model.json").write_text(json.dumps(card))


def test_a_model_that_does_not_fit_its_backbone_is_not_loaded(folder: Path) -> None:
    def fewer(card: dict[str, Any]) -> None:
        card["backbone"]["features"] -= 1

    def larger(card: dict[str, Any]) -> None:
        card["preprocessing"]["size"] *= 2

    whole = artifact.load(folder / "a").card.backbone.features
    change(folder / "a", fewer, lambda weight: weight[:, :-1])
    change(folder / "b", larger, lambda weight: weight)
    backbones = Backbones(2)
    with pytest.raises(ModelError, match=f"does not fit its backbone: features {whole - 1:,}, where"):
        backbones.serve("a", "", artifact.load(folder / "a"))
    with pytest.raises(ModelError, match="does not fit its backbone: pictures of size"):
        backbones.serve("b", "", artifact.load(folder / "b"))
    assert not backbones.all()


def test_a_head_of_no_numbers_is_not_loaded(folder: Path) -> None:
    change(folder / "a", lambda card: None, lambda weight: weight * np.float32("nan"))
    with pytest.raises(ModelError, match="holds values that are no numbers"):
        artifact.load(folder / "a")
