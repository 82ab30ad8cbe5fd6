"""What sources keep in the cache: several real processes at once, sizes, removal of what nobody uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vizsla.cache import bound, remove, sources
from vizsla.data.archives import unpack


@pytest.fixture
def archive(folder_of_photos, tmp_path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "flowers"), "zip", folder_of_photos({"red": 60, "green": 60})))


_UNPACK = """
import sys, time; from pathlib import Path; from vizsla.data.archives import unpack
began = []
def seen(done, total):
    if not began: print("unpacking", flush=True); began.append(1)
    time.sleep(0.005)
folder = unpack(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=seen)
print(folder, sum(1 for _ in folder.rglob("*.jpg")), flush=True)
sys.stdin.read()
"""


def start(archive: Path, cache: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", _UNPACK, str(archive), str(cache)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_unpacks_and_both_read(archive, tmp_path):
    cache = tmp_path / "cache"
    processes = [start(archive, cache) for _ in range(3)]
    said = [process.communicate("")[0].split("\n") for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum("unpacking" in lines for lines in said) == 1
    assert len({lines[-2] for lines in said}) == 1
    assert said[0][-2].endswith(" 120")


def test_a_killed_unpacking_is_cleared_away_and_done_anew(archive, tmp_path):
    cache = tmp_path / "cache"
    process = start(archive, cache)
    assert process.stdout is not None
    assert process.stdout.readline() == "unpacking\n"
    process.kill()
    process.wait()
    assert list((cache / "sources").glob(".*.partial"))
    assert len(list(unpack(archive, cache).rglob("*.jpg"))) == 120
    assert not list((cache / "sources").glob(".*.partial"))


def test_what_a_process_reads_from_is_not_removed(archive, tmp_path):
    cache = tmp_path / "cache"
    process = start(archive, cache)
    assert process.stdout is not None
    assert process.stdout.readline() == "unpacking\n"
    folder = Path(process.stdout.readline().rsplit(" ", 1)[0])
    (entry,) = sources(cache)
    assert (entry.source, entry.path) == ("flowers.zip", folder)
    assert entry.bytes == sum(file.stat().st_size for file in folder.rglob("*.jpg"))
    assert bound(cache, 0) == 0
    assert folder.is_dir()
    process.communicate("")
    assert bound(cache, entry.bytes) == 0
    assert bound(cache, 0) == entry.bytes
    assert sources(cache) == []


def test_an_older_unpacking_of_the_same_archive_goes(archive, tmp_path):
    cache = tmp_path / "cache"
    process = start(archive, cache)
    process.communicate("")
    (old,) = sources(cache)
    os.utime(archive, (1, 1))
    folder = unpack(archive, cache)
    assert [entry.path for entry in sources(cache)] == [folder]
    assert folder != old.path
    assert not remove(folder)  # this process reads from it


def test_the_command_shows_sources(archive, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from vizsla.cli.main import app

    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    process = start(archive, tmp_path / "cache")
    process.communicate("")
    result = CliRunner().invoke(app, ["cache", "--json"])
    assert "flowers.zip" in result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    (source,) = told["sources"]
    assert source["bytes"] == told["bytes"] > 0
    result = CliRunner().invoke(app, ["cache", "--bound", "0", "--json"])
    assert json.loads(result.stdout.splitlines()[-1])["sources"] == []


def test_pictures_for_training_are_shown_bounded_and_what_a_kill_left_goes(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from vizsla.cli.main import app

    cache = tmp_path / "cache"
    monkeypatch.setenv("VIZSLA_CACHE", str(cache))
    for name in ("pixels/a.pixels", "pixels/.b.pixels.0123.tmp", "pixels/.c.pixels.0123.tmp", "activations/d.f16"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(bytes(1000))
    long_ago = time.time() - 7200
    os.utime(cache / "pixels/.b.pixels.0123.tmp", (long_ago, long_ago))
    os.utime(cache / "pixels/a.pixels", (long_ago, long_ago))
    result = CliRunner().invoke(app, ["cache", "--json"])
    assert "decoded pictures" in result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert {store["holds"]: store["bytes"] for store in told["stores"]} == {
        "decoded pictures": 1000,
        "activations for depth last": 1000,
    }
    assert told["bytes"] == 2000
    CliRunner().invoke(app, ["cache", "--bound", "0.0000015"])
    left = sorted(path.name for path in cache.rglob("*") if path.is_file())
    assert left == [".c.pixels.0123.tmp", "d.f16"], "what was used last stays, and what is being written"
