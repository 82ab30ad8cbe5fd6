"""The scan: what it keeps, what it looks at again, what a kill costs; and the search for copies."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vizsla.data import quality
from vizsla.data.duplicates import exact, near
from vizsla.data.inspection import inspect
from vizsla.data.phash import phash
from vizsla.data.scan import scan
from vizsla.data.sources import list_source
from vizsla.errors import ImageError
from vizsla.images import Limits

LIMITS = Limits(10**8, 10**8, 20)


def look(root: Path, cache: Path, **options):
    listing = list_source(root)
    return listing.paths, scan(listing.root, listing.paths, cache=cache, threads=2, limits=LIMITS, **options)


def age(root: Path) -> None:
    """Make files look older than the moment: what has just changed is not trusted."""
    for file in root.rglob("*.jpg"):
        os.utime(file, ns=(1, time.time_ns() - 60 * 10**9))


def test_the_second_time_nothing_is_looked_at(folder_of_photos, tmp_path):
    root = folder_of_photos()
    age(root)
    _, first = look(root, tmp_path / "cache")
    _, second = look(root, tmp_path / "cache")
    assert (first.inspected, second.inspected) == (40, 0)
    assert first.records.tobytes() == second.records.tobytes()


def test_a_changed_file_is_looked_at_again_and_a_moved_one_is_not(folder_of_photos, tmp_path, paint):
    root = folder_of_photos()
    age(root)
    look(root, tmp_path / "cache")
    paint(999).save(root / "red/000.jpg")
    shutil.move(root / "red/001.jpg", root / "green/moved.jpg")
    _, again = look(root, tmp_path / "cache")
    assert again.inspected == 1
    assert again.seen.all()


def test_a_file_changed_within_the_same_second_is_not_missed(folder_of_photos, tmp_path, paint):
    root = folder_of_photos()
    paths, first = look(root, tmp_path / "cache")
    file = root / paths[0]
    stat, size = file.stat(), file.stat().st_size
    other = io.BytesIO()
    paint(999).save(other, "JPEG", quality=50)
    data = other.getvalue()
    file.write_bytes(data[:size] + bytes(max(0, size - len(data))))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    _, again = look(root, tmp_path / "cache")
    assert not np.array_equal(first.records["sha256"][0], again.records["sha256"][0])


def test_unreadable_pictures_are_tried_each_time(folder_of_photos, tmp_path):
    root = folder_of_photos()
    (root / "red/000.jpg").write_bytes(b"nothing")
    age(root)
    for _ in range(2):
        paths, result = look(root, tmp_path / "cache")
        assert [(paths[row], error.kind) for row, error in result.errors.items()] == [("red/000.jpg", "not-an-image")]
        assert result.readable.sum() == result.seen.sum() == 39


def test_after_the_deadline_nothing_is_begun(folder_of_photos, tmp_path):
    _, result = look(folder_of_photos(), tmp_path / "cache", deadline=time.monotonic() - 1)
    assert len(result.unreached) == 40
    assert not result.errors
    assert not result.seen.any()


def test_a_kill_loses_little_and_breaks_nothing(flowers: Path, tmp_path):
    script = (
        "import sys; from pathlib import Path; from vizsla.data.scan import scan\n"
        "from vizsla.data.sources import list_source; from vizsla.images import Limits\n"
        f"listing = list_source({str(flowers / 'train')!r})\n"
        "def tell(done, total): print(done, flush=True)\n"
        f"scan(listing.root, listing.paths, cache=Path({str(tmp_path)!r}), threads=2, "
        "limits=Limits(10**8, 10**8, 20), on_progress=tell)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) > 700:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    listing = list_source(flowers / "train")
    some = listing.paths[:800]
    result = scan(listing.root, some, cache=tmp_path, threads=2, limits=LIMITS)
    assert 0 < result.inspected <= 800 - 512
    assert result.seen.all()


@pytest.mark.skipif(not quality.available(), reason="needs cleanvision")
def test_scores_and_thresholds_are_cleanvisions(flowers: Path):
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

    defaults = ImagePropertyIssueManager().get_default_params()
    assert tuple(defaults[issue]["threshold"] for issue in quality.ISSUES) == quality.THRESHOLDS


def test_a_large_photo_inspected_at_a_reduced_scale_has_the_same_record_but_for_a_few_bits(flowers: Path):
    parts = [Image.open(file).convert("RGB") for file in sorted((flowers / "test/daisy").glob("*.jpg"))[:30]]
    for start in range(0, 30, 6):
        canvas = Image.new("RGB", (1500, 1000))
        for i, part in enumerate(parts[start : start + 6]):
            canvas.paste(part.resize((500, 500)), (i % 3 * 500, i // 3 * 500))
        file = io.BytesIO()
        canvas.save(file, "JPEG")
        reduced = inspect(file.getvalue(), LIMITS, with_quality=False).record
        full = inspect(file.getvalue(), LIMITS, with_quality=quality.available()).record
        other = phash(Image.open(file).convert("RGB")) ^ reduced["phash"]
        assert np.unpackbits(other.view(np.uint8)).sum() <= 4
        for name in ("sha256", "bytes", "width", "height", "format", "mode", "animated"):
            assert np.array_equal(reduced[name], full[name])
        with pytest.raises(ImageError, match="ends too early"):
            inspect(file.getvalue()[:-5000], LIMITS, with_quality=False)


def test_pictures_that_look_the_same_have_close_hashes(flowers: Path):
    files = sorted((flowers / "test/daisy").glob("*.jpg"))[:25]
    hashes = []
    for file in files:
        image = Image.open(file).convert("RGB")
        small = io.BytesIO()
        image.resize((image.width * 3 // 5, image.height * 3 // 5)).save(small, "JPEG", quality=60)
        hashes += [phash(image), phash(Image.open(small))]
    clusters, bits = near(np.array(hashes), np.ones(50, bool))
    assert len(clusters) == 25
    assert all(rows.tolist() == [2 * i, 2 * i + 1] for i, rows in enumerate(sorted(clusters.members(), key=min)))
    assert bits.max() <= 24
    assert not phash(Image.new("RGB", (90, 60), "green")).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 15))
def test_every_pair_within_fifteen_bits_is_found(seed, flips):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(1, 2**64, (60, 4), dtype=np.uint64)
    bits = np.unpackbits(hashes[:20].copy().view(np.uint8), axis=1)
    for row in bits:
        row[rng.choice(256, flips, replace=False)] ^= 1
    hashes[20:40] = np.packbits(bits, axis=1).view(np.uint64)
    clusters, distance = near(hashes, np.ones(60, bool))
    assert (clusters.of[:20] == clusters.of[20:40]).all()
    assert (clusters.of[:20] >= 0).all()
    assert (clusters.of[40:] == -1).all()
    assert (distance[:40] == flips).all()


def test_copies_are_found_by_their_bytes_and_only_among_readable_ones():
    sha = np.random.default_rng(0).integers(0, 256, (10, 32), dtype=np.uint8)
    sha[[3, 7]] = sha[1]
    sha[9] = sha[2]
    readable = np.ones(10, bool)
    readable[9] = False
    assert [rows.tolist() for rows in exact(sha, readable).members()] == [[1, 3, 7]]


def test_a_thousand_copies_and_a_chain():
    rng = np.random.default_rng(1)
    hashes = rng.integers(1, 2**64, (3000, 4), dtype=np.uint64)
    hashes[:1000] = hashes[0]
    hashes[1001] = hashes[1000] ^ np.array([0xFFF, 0, 0, 0], np.uint64)
    hashes[1002] = hashes[1001] ^ np.array([0, 0xFFF, 0, 0], np.uint64)
    clusters, _ = near(hashes, np.ones(3000, bool), bits=15)
    assert sorted(len(rows) for rows in clusters.members()) == [3, 1000]
