"""Features once: cached by content, safe against kills, other processes, changed files and a full disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vizsla.cache import bound, clear
from vizsla.errors import StorageError
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.training import cache
from vizsla.training.features import Extraction, extract

Folder = Callable[..., Path]


@pytest.fixture
def engine(tiny_backbone: ExportedBackbone) -> OnnxEngine:
    return OnnxEngine(tiny_backbone.path)


def run(
    root: Path, paths: list[Path], backbone: ExportedBackbone, engine: OnnxEngine, deadline: float | None = None
) -> Extraction:
    space = cache.FeatureSpace(root, backbone, engine)
    return extract(paths, space, backbone.preprocessing, engine, threads=2, deadline=deadline)


def expected(paths: list[Path], backbone: ExportedBackbone, engine: OnnxEngine) -> np.ndarray:  # type: ignore[type-arg]
    limits = Limits.from_settings()
    return np.stack([engine.features(backbone.preprocessing(p.read_bytes(), limits)[None])[0] for p in paths])


def rows_of(extraction: Extraction) -> np.ndarray:  # type: ignore[type-arg]
    return extraction.table.take(np.arange(len(extraction.table)))


def test_a_second_pass_computes_nothing_and_gives_the_same_bits(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    first = run(tmp_path / "cache", paths, tiny_backbone, engine)
    again = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert (first.computed, again.computed) == (len(paths), 0)
    assert first.images_per_second is not None
    assert again.images_per_second is None
    assert np.array_equal(rows_of(first), rows_of(again))
    assert np.array_equal(rows_of(first), expected(paths, tiny_backbone, engine))


def test_a_copy_costs_nothing_and_a_changed_file_is_computed_again(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    run(tmp_path / "cache", paths, tiny_backbone, engine)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(paths[0].read_bytes())
    assert run(tmp_path / "cache", [copy], tiny_backbone, engine).computed == 0
    stat = paths[0].stat()
    paths[0].write_bytes(paths[1].read_bytes()[:-2] + b"\xff\xd9")  # the same size of name and time: content decides
    paths[0].write_bytes(paths[-1].read_bytes() + b"\0")
    os.utime(paths[0], (stat.st_atime, stat.st_mtime))
    changed = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert changed.computed == 1
    assert np.array_equal(rows_of(changed), expected(paths, tiny_backbone, engine))


def test_other_preprocessing_or_weights_are_other_features(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    import dataclasses

    paths = sorted(folder_of_photos().rglob("*.jpg"))[:4]
    run(tmp_path / "cache", paths, tiny_backbone, engine)
    cropped = dataclasses.replace(
        tiny_backbone, preprocessing=dataclasses.replace(tiny_backbone.preprocessing, resize=200)
    )
    assert run(tmp_path / "cache", paths, cropped, engine).computed == 4
    other = dataclasses.replace(tiny_backbone, sha256="0" * 64)
    assert run(tmp_path / "cache", paths, other, engine).computed == 4
    assert len(cache.usage(tmp_path / "cache")) == 3


def test_damaged_pictures_are_told_apart_and_never_replaced(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    paths[3].write_bytes(paths[3].read_bytes()[:300])
    paths[5].write_text("words")
    paths[7].unlink()
    found = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert {row: error.kind for row, error in found.damaged.items()} == {
        3: "truncated",
        5: "not-an-image",
        7: "unreadable",
    }
    assert not found.usable[[3, 5, 7]].any()
    assert found.usable.sum() == len(paths) - 3
    good = [p for i, p in enumerate(paths) if i not in (3, 5, 7)]
    assert np.array_equal(rows_of(found)[found.usable], expected(good, tiny_backbone, engine))


def test_a_damaged_shard_is_computed_again(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    run(tmp_path / "cache", paths, tiny_backbone, engine)
    (shard,) = (tmp_path / "cache").rglob("*.features")
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    again = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert again.computed == len(paths)
    assert np.array_equal(rows_of(again), expected(paths, tiny_backbone, engine))
    assert not shard.exists()


def test_a_deadline_leaves_pictures_unreached_and_the_next_run_goes_on(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    none = run(tmp_path / "cache", paths, tiny_backbone, engine, deadline=time.monotonic() - 1)
    assert none.computed == 0
    assert len(none.unreached) == len(paths)
    assert not none.usable.any()
    assert run(tmp_path / "cache", paths, tiny_backbone, engine).computed == len(paths)


CHILD = """
import os, sys, time
from pathlib import Path
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training import cache
from vizsla.training.features import extract
import vizsla.training.features as features
features._SHARD_PICTURES = 8

class Slow(OnnxEngine):
    def features(self, pixels):
        time.sleep({pause})
        return super().features(pixels)

backbone = ensure_exported(BackboneSpec.resolve("test_resnet", random_init=True), settings().cache)
engine = Slow(backbone.path)
space = cache.FeatureSpace(Path(sys.argv[1]), backbone, engine)
paths = sorted(Path(sys.argv[2]).rglob("*.jpg"))
print("ready", flush=True)
print(extract(paths, space, backbone.preprocessing, engine, threads=2,
              on_progress=lambda done, total: os.write(1, b'%d\\n' % done)).computed, flush=True)
"""


def child(root: Path, photos: Path, pause: float) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD.replace("{pause}", str(pause)))
    return subprocess.Popen([sys.executable, "-c", code, str(root), str(photos)], stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


def test_killed_at_any_moment_nothing_is_lost_but_the_last_shard(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    photos = folder_of_photos({"red": 40, "green": 40})
    paths = sorted(photos.rglob("*.jpg"))
    stored = 0
    for stop_at in (11, 30, 31):
        process = child(tmp_path / "cache", photos, 0.03)
        for line in lines(process):
            if line == str(stop_at):
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()  # type: ignore[union-attr]
        index = cache.FeatureSpace(tmp_path / "cache", tiny_backbone, engine).index()
        assert len(index) >= stored
        stored = len(index)
    assert 8 <= stored < len(paths)
    rest = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert rest.computed == len(paths) - stored
    assert np.array_equal(rows_of(rest), expected(paths, tiny_backbone, engine))


def test_two_processes_at_once_fill_one_cache(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    photos = folder_of_photos({"red": 30, "green": 30})
    both = [child(tmp_path / "cache", photos, 0.005) for _ in range(2)]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    paths = sorted(photos.rglob("*.jpg"))
    after = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert after.computed == 0
    assert np.array_equal(rows_of(after), expected(paths, tiny_backbone, engine))


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_is_an_error_in_words_and_what_was_stored_stays(
    small_disk: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    first = run(small_disk, paths[:10], tiny_backbone, engine)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(StorageError, match="The disk is full") as error:
        run(small_disk, paths, tiny_backbone, engine)
    assert "what was finished is kept" in str(error.value)
    filler.unlink()
    after = run(small_disk, paths, tiny_backbone, engine)
    assert after.computed <= len(paths) - 10
    assert np.array_equal(rows_of(after)[:10], rows_of(first))


def test_the_cache_is_shown_bounded_and_cleared(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    root = tmp_path / "cache"
    run(root, paths[:20], tiny_backbone, engine)
    old = next(root.rglob("*.features"))
    os.utime(old, (1, 1))
    run(root, paths[20:], tiny_backbone, engine)
    (space,) = [used for used in cache.usage(root) if used.pictures is not None]
    assert (space.backbone, space.pictures) == ("test_resnet", len(paths))
    assert space.bytes == sum(p.stat().st_size for p in root.rglob("*.features"))
    assert bound(root, space.bytes) == 0
    assert bound(root, space.bytes - 1) > 0
    assert not old.exists()
    assert run(root, paths[20:], tiny_backbone, engine).computed == 0
    assert run(root, paths[:20], tiny_backbone, engine).computed == 20
    assert clear(root) > 0
    assert cache.usage(root) == []


def test_backbones_are_bounded_too_but_the_one_in_use_stays(tmp_path: Path) -> None:
    requests = [BackboneSpec.resolve("test_resnet", random_init=True, seed=seed) for seed in (11, 12)]
    first, second = (ensure_exported(request, tmp_path) for request in requests)
    os.utime(first.path, (1, 1))
    sizes = {used.path: used.bytes for used in cache.usage(tmp_path)}
    assert set(sizes) == {first.path, second.path}
    assert bound(tmp_path, 0) == sizes[first.path]
    assert not first.path.exists()
    assert ensure_exported(requests[0], tmp_path) == first


def test_a_pipe_among_the_pictures_holds_nothing_up(
    tmp_path: Path, folder_of_photos: Folder, tiny_backbone: ExportedBackbone, engine: OnnxEngine
) -> None:
    paths = sorted(folder_of_photos().rglob("*.jpg"))
    paths[4].unlink()
    os.mkfifo(paths[4])
    found = run(tmp_path / "cache", paths, tiny_backbone, engine)
    assert found.damaged[4].what == "This is not a regular file."
