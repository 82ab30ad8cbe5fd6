"""The queue of pictures: whose turn it is, who waits for whom, and that no way of running changes a bit."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vizsla.errors import ImageError
from vizsla.images import Limits
from vizsla.images.header import pixel_size
from vizsla.models import artifact
from vizsla.models.model import load
from vizsla.serving import backbones as backbones_module
from vizsla.serving import workers as workers_module
from vizsla.serving.answers import Answer
from vizsla.serving.backbones import Backbones, ServedModel
from vizsla.serving.faults import ClientGoneError, RequestError
from vizsla.serving.workers import Workers, is_heavy

LIMITS = Limits(64_000_000, 100_000_000, 20)


@pytest.fixture
def served(models_dir: Path, tmp_path: Path) -> list[ServedModel]:
    """Four heads on one backbone."""
    backbones = Backbones(2)
    models = [backbones.serve(f"m{i}", "", artifact.load(models_dir / f"m{i}", at_hand=backbones)) for i in range(4)]
    assert len(backbones.all()) == 1
    return models


def test_heads_on_one_backbone_answer_each_for_itself_and_every_bit_stays(
    served: list[ServedModel], models_dir: Path, jpegs: list[bytes]
) -> None:

    async def ask() -> list[Answer]:
        workers = Workers(2, LIMITS)
        workers.start()
        tasks = [workers.submit([jpegs[i % 12]], served[i % 4], {}, explain=False)[0] for i in range(48)]
        answers = await asyncio.gather(*(task.future for task in tasks))
        workers.close()
        return answers

    answers = asyncio.run(ask())
    expected = [load(models_dir / f"m{i}") for i in range(4)]
    for i, answer in enumerate(answers):
        assert np.array_equal(answer.probabilities, expected[i % 4].probabilities(jpegs[i % 12]))


def test_a_bad_picture_fails_alone_and_the_gone_are_skipped(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> list[Any]:
        workers = Workers(1, LIMITS)
        tasks = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "_loop", asyncio.get_running_loop(), raising=False)
            tasks = [
                workers.submit([data], served[0], {"vizsla.gone": gone}, explain=False)[0]
                for data, gone in ((jpegs[0], False), (b"nonsense", False), (jpegs[1], True), (jpegs[2], False))
            ]
        workers.start()
        results = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
        workers.close()
        return results

    first, bad, gone, last = asyncio.run(ask())
    assert isinstance(gone, ClientGoneError)
    assert isinstance(first, Answer)
    assert isinstance(bad, ImageError)
    assert isinstance(last, Answer)


def test_heavy_pictures_leave_a_worker_to_the_others(
    served: list[ServedModel], jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heavy pictures are stuck; with two workers the small ones still pass."""
    release = threading.Event()
    answer = workers_module._answer

    def stuck(task: Any, *rest: Any) -> None:
        if task.heavy:
            release.wait(120)
        answer(task, *rest)

    monkeypatch.setattr(workers_module, "_answer", stuck)

    async def ask() -> None:
        workers = Workers(2, LIMITS)
        workers.start()
        heavy = [workers.submit([bytes(2_000_000)], served[0], {}, explain=False)[0] for _ in range(2)]
        light = [workers.submit([jpeg], served[0], {}, explain=False)[0] for jpeg in jpegs]
        async with asyncio.timeout(60):
            await asyncio.gather(*(task.future for task in light))
        assert not any(task.future.done() for task in heavy)
        release.set()
        results = await asyncio.gather(*(task.future for task in heavy), return_exceptions=True)
        assert all(isinstance(result, ImageError) for result in results)
        workers.close()

    asyncio.run(ask())


def test_a_queue_that_is_full_says_so(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        workers = Workers(1, LIMITS, max_waiting=3)
        workers._loop = asyncio.get_running_loop()
        tasks = [workers.submit([jpegs[0]], served[0], {}, explain=False)[0] for _ in range(3)]
        with pytest.raises(RequestError) as full:
            workers.submit([jpegs[0]], served[0], {}, explain=False)
        assert full.value.kind == "overloaded"
        workers.start()
        await asyncio.gather(*(task.future for task in tasks))
        workers.close()

    asyncio.run(ask())


def test_a_list_is_queued_whole_or_not_at_all(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        workers = Workers(1, LIMITS, max_waiting=4)
        workers._loop = asyncio.get_running_loop()
        with pytest.raises(RequestError) as full:
            workers.submit(jpegs[:5], served[0], {}, explain=False)
        assert full.value.kind == "overloaded"
        assert workers.waiting == 0
        assert len(workers.submit(jpegs[:4], served[0], {}, explain=False)) == workers.waiting == 4

    asyncio.run(ask())


def test_a_list_takes_turns_with_single_pictures(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        workers = Workers(1, LIMITS)
        workers._loop = asyncio.get_running_loop()
        listed = workers.submit([jpegs[1]] * 100, served[0], {}, explain=False)
        single = [workers.submit([jpegs[2]], served[0], {}, explain=False)[0] for _ in range(3)]
        order = [workers._take() for _ in range(103)]
        assert [order.index(task) for task in single] == [1, 2, 3]
        assert [task for task in order if task in listed] == listed

        listed = workers.submit([jpegs[1]] * 10, served[0], {}, explain=False)
        late = []
        for _ in range(40):  # single pictures that never stop coming do not stop the list either
            workers.submit([jpegs[2]], served[0], {}, explain=False)
            late.append(workers._take())
        assert set(listed) <= set(late)

    asyncio.run(ask())


def test_what_counts_as_heavy(jpegs: list[bytes]) -> None:
    flat = io.BytesIO()
    Image.new("L", (9000, 9000)).save(flat, "PNG")
    assert flat.tell() < 200_000
    assert is_heavy(flat.getvalue())
    assert not is_heavy(jpegs[1])
    assert is_heavy(b"\xff\xd8" + bytes(1_000_000))
    assert is_heavy(np.zeros((3000, 3000, 3), np.uint8))


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "PNG", "TIFF", "JPEG", "lossy WEBP", "VP8X"])
def test_many_pixels_in_few_bytes_are_heavy_in_every_format(kind: str) -> None:
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": kind == "WEBP", "exif": b"Exif" * (kind == "VP8X")} if "W" in kind else {}
    if kind == "TIFF":
        options = {"compression": "tiff_lzw"}
    name = kind.removeprefix("lossy ").replace("VP8X", "WEBP")
    Image.new("1" if kind == "BMP" else "RGB", (5000, 4100)).save(file, name, **options)
    data = file.getvalue()
    assert is_heavy(data[:200_000])
    if kind != "TIFF":
        assert pixel_size(data) == (5000, 4100)
    for length in range(40):
        pixel_size(data[:length])  # never an error


def test_all_cores_for_one_picture_are_not_used_where_that_changes_a_bit(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rounding(backbones_module.OnnxEngine):
        """Its answers depend on the number of threads, as some engines' do."""

        def __init__(self, backbone: Path | bytes, *, threads: int = 1) -> None:
            super().__init__(backbone, threads=threads)
            self._off = np.float32(1e-6 * (threads > 1))

        def features(self, pixels: Any) -> Any:
            return super().features(pixels) + self._off

        def shrink(self, pixels: Any) -> Any:
            return super().shrink(pixels) + self._off

    monkeypatch.setattr(backbones_module, "OnnxEngine", Rounding)
    served = Backbones(2).serve("m0", "", artifact.load(models_dir / "m0"))
    pixels = np.random.default_rng(1).integers(0, 256, (1, *[served.preprocessing.size] * 2, 3), dtype=np.uint8)
    one, all_cores = (served.backbone.features(pixels, alone=alone) for alone in (False, True))
    assert np.array_equal(one, all_cores)


def test_a_head_that_fails_fails_its_own_requests(served: list[ServedModel], jpegs: list[bytes]) -> None:
    class Broken:
        def probabilities(self, features: object) -> object:
            raise ValueError("no head")

    broken = dataclasses.replace(served[1], head=Broken())  # type: ignore[arg-type]

    async def ask() -> list[Any]:
        workers = Workers(1, LIMITS)
        workers._loop = asyncio.get_running_loop()
        models = [served[0], broken, served[2], served[3]]
        tasks = [workers.submit([jpegs[0]], model, {}, explain=False)[0] for model in models]
        workers.start()
        answers = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
        workers.close()
        return answers

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [Answer, ValueError, Answer, Answer]


def test_many_heavy_pictures_lock_no_light_one_out(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        workers = Workers(2, LIMITS)
        workers._loop = asyncio.get_running_loop()
        for picture in [np.zeros((2100, 2000, 3), np.uint8)] * 100:
            workers.submit([picture], served[0], {}, explain=False)
        light = workers.submit([jpegs[0]], served[0], {}, explain=False)[0]
        workers._heavy_running = 1  # the one worker that may has one
        assert workers._take() is light
        assert workers._take() is None
        assert workers.waiting == 100

    asyncio.run(ask())
