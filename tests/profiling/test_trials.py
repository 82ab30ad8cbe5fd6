"""Changes that are tried within a loop: each for real, and all as it was afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Dataset  # noqa: E402

from tests.profiling import loops  # noqa: E402
from tests.profiling.conftest import Watch  # noqa: E402
from vizsla.profiling import probe  # noqa: E402
from vizsla.profiling.timeline import waiting_for  # noqa: E402


class _OverError(Exception):
    """In the place of the end of a process that was started for the trials."""


class Photos(Dataset[Any]):  # type: ignore[misc]
    """Large JPEGs, opened by path."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "photo.jpg"
        Image.effect_noise((900, 900), 80).convert("RGB").save(self.path)

    def __len__(self) -> int:
        return 240

    def __getitem__(self, i: int) -> tuple[Any, int]:
        picture = Image.open(self.path).convert("RGB").resize((16, 16))
        return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(3, 16, 16) / 255, i % 3


class Seen(torch.nn.Module):  # type: ignore[misc]
    """A network that notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = loops.network(8)
        self.seen: set[tuple[str, bool, int]] = set()

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        if not torch.compiler.is_compiling():
            layout = self.body[0].weight.is_contiguous(memory_format=torch.channels_last)
            self.seen.add((str(y.dtype).removeprefix("torch."), layout, torch.get_num_threads()))
        return y


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Watch) -> Any:
    """Tries changes on a loop over what is drawn; what each came to, and the network."""

    def run(draw: Any, *changes: str) -> tuple[dict[str, dict[str, Any]], Seen]:
        out, model = tmp_path / "advice.json", Seen()
        asked = {"changes": changes, "out": str(out), "seconds": 60}
        monkeypatch.setenv(probe.ENVIRONMENT, json.dumps(asked))
        monkeypatch.setattr(probe, "_BLOCK_SECONDS", 0.01)

        def end(code: int) -> None:
            raise _OverError

        def loop() -> None:
            optimizer, loss_of = torch.optim.SGD(model.parameters(), 0.01), torch.nn.CrossEntropyLoss()
            for _ in range(30):
                for x, y in draw():
                    optimizer.zero_grad()
                    loss_of(model(x), y).backward()
                    optimizer.step()

        # In that module alone: a loader's workers end by it.
        monkeypatch.setattr(probe, "os", SimpleNamespace(environ=os.environ, _exit=end))
        with pytest.raises(_OverError):
            watch(loop)
        return {trial["change"]: trial for trial in json.loads(out.read_text())["changes"]}, model

    return run


def test_pictures_that_stay_decoded(trials: Any, tmp_path: Path) -> None:
    photos = Photos(tmp_path)
    found, _ = trials(lambda: DataLoader(photos, 2), "cached_pixels")
    assert found["cached_pixels=True"]["gain"] > 1, found


def test_what_is_done_around_the_calls_of_a_model(trials: Any) -> None:
    threads = torch.get_num_threads()
    found, model = trials(
        lambda: DataLoader(loops.Pictures(), 4), "threads=1", "channels_last", "precision=bfloat16", "batch_size=8"
    )
    assert [trial["why"] for trial in found.values()] == [""] * 4
    assert all(trial["steps"] >= 24 and trial["before"] > 0 for trial in found.values())
    assert ("bfloat16", False, threads) in model.seen
    assert ("float32", True, threads) in model.seen
    assert ("float32", False, 1) in model.seen
    assert torch.get_num_threads() == threads
    assert not model.body[0].weight.is_contiguous(memory_format=torch.channels_last), "all is as it was"


def test_workers_that_fetch_more_ahead(trials: Any) -> None:
    data = loops.Pictures(loops.compute(0.001))
    found, _ = trials(lambda: DataLoader(data, 4, num_workers=1), "prefetch_factor=4")
    assert found["prefetch_factor=4"]["why"] == ""


def test_a_loop_that_draws_without_a_loader_of_torch(trials: Any) -> None:
    def draw() -> Iterator[Any]:
        drawn = 0
        for batch in waiting_for(iter([torch.zeros(4, 3, 32, 32)] * 40)):
            drawn += 1
            yield batch, torch.zeros(4, dtype=torch.int64)
        assert drawn == 40, "none is lost"

    found, model = trials(draw, "threads=1", "num_workers=2")
    assert found["threads=1"]["why"] == ""
    assert "draws its batches without one" in found["num_workers=2"]["why"]
    assert {threads for _, _, threads in model.seen} == {1, torch.get_num_threads()}


def test_a_model_that_is_in_the_other_layout_already_stays_so(trials: Any) -> None:
    before = Seen.__init__

    def made(self: Seen) -> None:
        before(self)
        self.to(memory_format=torch.channels_last)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Seen, "__init__", made)
        found, model = trials(lambda: DataLoader(loops.Pictures(), 4), "channels_last")
    assert found["channels_last=True"]["why"] == ""
    assert {layout for _, layout, _ in model.seen} == {True}


@pytest.mark.slow
def test_a_compiled_model(trials: Any) -> None:
    found, model = trials(lambda: DataLoader(loops.Pictures(), 4), "compile")
    assert found["compile=True"]["why"] == ""
    assert model.seen
