"""Batches: who shares one, who goes alone, and that no way of running changes a bit."""

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
from vizsla.models import artifact
from vizsla.models.model import load
from vizsla.serving import batcher as batcher_module
from vizsla.serving.answers import Answered
from vizsla.serving.backbones import Backbones, ServedModel
from vizsla.serving.batcher import Batcher, is_heavy, pixel_size
from vizsla.serving.faults import ClientGoneError, RequestError
from vizsla.serving.plan import Plan, load_plan, measure, store_plan

LIMITS = Limits(64_000_000, 100_000_000, 20)


@pytest.fixture
def served(models_dir: Path, tmp_path: Path) -> list[ServedModel]:
    """Four heads on one backbone, batches of four."""
    backbones = Backbones(2, tmp_path / "plans.json")
    models = [backbones.serve(f"m{i}", "", artifact.load(models_dir / f"m{i}", at_hand=backbones)) for i in range(4)]
    assert len(backbones.all()) == 1
    models[0].backbone.plan = Plan(batch=4, spread=True)
    return models


def test_heads_on_one_backbone_share_batches_and_every_bit_stays(
    served: list[ServedModel], models_dir: Path, jpegs: list[bytes]
) -> None:
    sizes: list[int] = []

    async def ask() -> list[Answered]:
        batcher = Batcher(1, LIMITS)
        batcher.on_batch = sizes.append
        batcher.start()
        tasks = [batcher.submit(jpegs[i % 12], served[i % 4], {}, explain=False) for i in range(48)]
        answers = await asyncio.gather(*(task.future for task in tasks))
        batcher.close()
        return answers

    answers = asyncio.run(ask())
    expected = [load(models_dir / f"m{i}") for i in range(4)]
    for i, answer in enumerate(answers):
        assert np.array_equal(answer.probabilities, expected[i % 4].probabilities(jpegs[i % 12]))
    assert max(sizes) == 4


def test_a_bad_picture_fails_alone_and_the_gone_are_skipped(served: list[ServedModel], jpegs: list[bytes]) -> None:
    worked: list[int] = []

    async def ask() -> list[Any]:
        batcher = Batcher(1, LIMITS)
        batcher.on_batch = worked.append
        tasks = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batcher, "_loop", asyncio.get_running_loop(), raising=False)
            tasks = [
                batcher.submit(data, served[0], {"vizsla.gone": gone}, explain=False)
                for data, gone in ((jpegs[0], False), (b"nonsense", False), (jpegs[1], True), (jpegs[2], False))
            ]
        batcher.start()
        results = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
        batcher.close()
        return results

    first, bad, gone, last = asyncio.run(ask())
    assert isinstance(gone, ClientGoneError)
    assert isinstance(first, Answered)
    assert isinstance(bad, ImageError)
    assert isinstance(last, Answered)
    assert sum(worked) == 3


def test_heavy_pictures_leave_a_worker_to_the_others(
    served: list[ServedModel], jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heavy pictures are stuck; with two workers the small ones still pass."""
    release = threading.Event()
    answer = batcher_module._answer

    def stuck(tasks: list[Any], *rest: Any) -> None:
        if tasks[0].heavy:
            release.wait(120)
        answer(tasks, *rest)

    monkeypatch.setattr(batcher_module, "_answer", stuck)

    async def ask() -> None:
        batcher = Batcher(2, LIMITS)
        batcher.start()
        heavy = [batcher.submit(bytes(2_000_000), served[0], {}, explain=False) for _ in range(2)]
        light = [batcher.submit(jpeg, served[0], {}, explain=False) for jpeg in jpegs]
        async with asyncio.timeout(60):
            await asyncio.gather(*(task.future for task in light))
        assert not any(task.future.done() for task in heavy)
        release.set()
        results = await asyncio.gather(*(task.future for task in heavy), return_exceptions=True)
        assert all(isinstance(result, ImageError) for result in results)
        batcher.close()

    asyncio.run(ask())


def test_a_queue_that_is_full_says_so(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        batcher = Batcher(1, LIMITS, max_waiting=3)
        batcher._loop = asyncio.get_running_loop()
        tasks = [batcher.submit(jpegs[0], served[0], {}, explain=False) for _ in range(3)]
        with pytest.raises(RequestError) as full:
            batcher.submit(jpegs[0], served[0], {}, explain=False)
        assert full.value.kind == "overloaded"
        batcher.start()
        await asyncio.gather(*(task.future for task in tasks))
        batcher.close()

    asyncio.run(ask())


def test_a_list_is_queued_whole_or_not_at_all(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> None:
        batcher = Batcher(1, LIMITS, max_waiting=4)
        batcher._loop = asyncio.get_running_loop()
        with pytest.raises(RequestError) as full:
            batcher.submit_all(jpegs[:5], served[0], {}, explain=False)
        assert full.value.kind == "overloaded"
        assert batcher.waiting == 0
        assert len(batcher.submit_all(jpegs[:4], served[0], {}, explain=False)) == batcher.waiting == 4

    asyncio.run(ask())


def test_a_list_takes_turns_with_single_pictures(served: list[ServedModel], jpegs: list[bytes]) -> None:
    served[0].backbone.plan = Plan(batch=1)

    async def ask() -> None:
        batcher = Batcher(1, LIMITS)
        batcher._loop = asyncio.get_running_loop()
        listed = batcher.submit_all([jpegs[1]] * 100, served[0], {}, explain=False)
        single = [batcher.submit(jpegs[2], served[0], {}, explain=False) for _ in range(3)]
        order = [batcher._take()[0] for _ in range(103)]
        assert [order.index(task) for task in single] == [1, 2, 3]
        assert [task for task in order if task in listed] == listed

        listed = batcher.submit_all([jpegs[1]] * 10, served[0], {}, explain=False)
        late = []
        for _ in range(40):  # single pictures that never stop coming do not stop the list either
            batcher.submit(jpegs[2], served[0], {}, explain=False)
            late += batcher._take()
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


def test_models_of_two_picture_sizes_share_no_batch(served: list[ServedModel], jpegs: list[bytes]) -> None:
    """One of a size that is not its backbone's fails, and fails alone."""
    broken = dataclasses.replace(
        served[1], preprocessing=dataclasses.replace(served[1].preprocessing, size=served[1].preprocessing.size + 7)
    )

    async def ask() -> list[Any]:
        batcher = Batcher(1, LIMITS)
        batcher._loop = asyncio.get_running_loop()
        tasks = [batcher.submit(jpegs[1], (served[0], broken)[i % 2], {}, explain=False) for i in range(4)]
        batcher.start()
        results = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
        batcher.close()
        return results

    assert [isinstance(result, Answered) for result in asyncio.run(ask())] == [True, False, True, False]


class _Rounding:
    """An engine whose answers depend on the batch, as some engines' do."""

    name, precision = "rounding", "fp32"

    def features(self, pixels: Any) -> Any:
        return np.full((len(pixels), 4), 1 + 1e-6 * (len(pixels) > 2), np.float32)

    def features_and_map(self, pixels: Any) -> Any:
        raise NotImplementedError


def test_a_batch_that_changes_a_bit_is_never_used() -> None:
    engine = _Rounding()
    plan = measure(engine, engine, 8, 1, lambda: False)
    assert plan is not None
    assert plan.batch <= 2


def test_requests_in_between_spoil_the_measurement() -> None:
    engine = _Rounding()
    assert measure(engine, engine, 8, 1, lambda: True) is None


def test_a_file_of_plans_that_is_none_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "plans.json"
    for text in ("[]", "3", "{"):
        file.write_text(text)
        assert load_plan(file, "key") is None
        store_plan(file, "key", Plan(4, True))
        assert load_plan(file, "key") == Plan(4, True)


def test_a_head_that_fails_fails_its_own_requests(served: list[ServedModel], jpegs: list[bytes]) -> None:
    class Broken:
        def probabilities(self, features: object) -> object:
            raise ValueError("no head")

    broken = dataclasses.replace(served[1], head=Broken())  # type: ignore[arg-type]

    async def ask() -> list[Any]:
        batcher = Batcher(1, LIMITS)
        batcher._loop = asyncio.get_running_loop()
        models = [served[0], broken, served[2], served[3]]
        tasks = [batcher.submit(jpegs[0], model, {}, explain=False) for model in models]
        batcher.start()  # all four in one batch
        answers = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
        batcher.close()
        return answers

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [Answered, ValueError, Answered, Answered]


def test_many_heavy_pictures_lock_no_light_one_out(served: list[ServedModel], jpegs: list[bytes]) -> None:
    async def ask() -> int:
        batcher = Batcher(2, LIMITS)
        batcher._loop = asyncio.get_running_loop()
        for picture in [np.zeros((2100, 2000, 3), np.uint8)] * 100:
            batcher.submit(picture, served[0], {}, explain=False)
        batcher.submit(jpegs[0], served[0], {}, explain=False)
        batcher._heavy_running = 1  # the one worker that may has one
        return len(batcher._take())

    assert asyncio.run(ask()) == 1
