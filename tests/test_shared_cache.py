"""The cache in a bucket: against the S3 door as a real process, each machine with a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from commandline import process, vizsla

from vizsla import s3_session, shared_cache
from vizsla.errors import SourceError
from vizsla.settings import settings

pytestmark = pytest.mark.s3
obstore = pytest.importorskip("obstore")
ADDRESS = "s3://photos/caches/ours"


@pytest.fixture
def machine(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Go on as another machine, which sees the bucket only; the folder of its cache."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "S3RVER",
        "AWS_SECRET_ACCESS_KEY": "S3RVER",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "VIZSLA_CACHE": f"{ADDRESS}/{tmp_path.name}/",
    }.items():
        monkeypatch.setenv(name, value)

    def use(name: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return settings().cache

    return use


def keys(address: str) -> list[str]:
    bucket, prefix = s3_session.parse(address)
    found = obstore.list(s3_session.connect(bucket, None), prefix).collect()
    return sorted(entry["path"].removeprefix(f"{prefix}/") for entry in found)


def test_an_address_gives_a_folder_of_this_machine(machine: Callable[[str], Path], tmp_path: Path) -> None:
    cache = machine("one")
    assert cache.is_relative_to(tmp_path / "one" / "vizsla" / "caches")
    assert settings().cache_address == f"{ADDRESS}/{tmp_path.name}"
    assert not cache.exists()


def test_a_file_is_in_the_bucket_first_and_fetched_where_it_lacks(
    machine: Callable[[str], Path], tmp_path: Path
) -> None:
    one = machine("one")
    shared_cache.write(one / "features" / "space" / "a.features", b"aa")
    shared_cache.write(one / "features" / "space" / "b.features", b"bb")
    two = machine("two")
    shared_cache.fetch(two / "features" / "space")
    assert {path.name: path.read_bytes() for path in (two / "features/space").iterdir()} == {
        "a.features": b"aa",
        "b.features": b"bb",
    }
    shared_cache.remove(two / "features" / "space" / "a.features")
    assert keys(settings().cache_address) == ["features/space/b.features"]
    shared_cache.fetch_files(two / "features" / "space", ["b.features", "nowhere.features"])
    shared_cache.fetch(two / "features" / "another")
    assert not (two / "features" / "another").exists()


def test_a_folder_as_cache_asks_no_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    shared_cache.fetch(settings().cache / "features" / "space")
    shared_cache.write(settings().cache / "features" / "space" / "a.features", b"aa")
    shared_cache.remove(settings().cache / "features" / "space" / "a.features")
    assert settings().cache_address == str(tmp_path / "cache")


def test_a_second_machine_computes_nothing(
    machine: Callable[[str], Path], folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 16, "green": 16})
    machine("one")
    words = ("fit", photos, "--backbone", "test_resnet", "--random-init", "--json", "--name")
    first = answer(vizsla(*words, "first"))
    assert first["computed"] == 32
    machine("two")
    second = answer(process(*words, "second"))
    assert second["computed"] == 0
    assert second["metrics"]["accuracy"] == first["metrics"]["accuracy"]
    stored = keys(settings().cache_address)
    assert {key.split("/")[0] for key in stored} == {"backbones", "features", "scans"}
    (shard,) = [key for key in stored if key.endswith(".features")]
    store = s3_session.connect("photos", None)
    obstore.put(store, f"caches/ours/{tmp_path.name}/{shard}", b"damaged")
    machine("three")
    assert answer(vizsla(*words, "third"))["computed"] == 32
    assert shard not in keys(settings().cache_address)
    assert answer(vizsla("cache", "--json"))["bucket"] == settings().cache_address


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(
    machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one")
    monkeypatch.setenv("VIZSLA_CACHE", "s3://nobody-made-this/cache")
    with pytest.raises(SourceError, match="There is no such bucket") as caught:
        shared_cache.fetch(settings().cache / "features" / "space")
    assert "s3://nobody-made-this/cache" in str(caught.value)


def answer(done: CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
