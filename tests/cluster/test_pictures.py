"""Pictures that the cores of a cluster look at: the bits of one machine, and a cache that is warm afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla

from vizsla.data.scan import scan
from vizsla.data.scan_store import ScanStore
from vizsla.errors import DataError
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.feature_companion import FeatureCompanion
from vizsla.workflow.cluster_look import ClusterLook


@pytest.fixture
def photos(folder_of_photos: Callable[..., Path]) -> Path:
    folder = folder_of_photos({"red": 40, "green": 40})
    (folder / "red" / "broken.jpg").write_bytes(b"no picture")
    (folder / "red" / "empty.jpg").write_bytes(b"")
    return folder


def scanned(photos: Path, cache: Path, companion: Any, elsewhere: Any = None) -> Any:
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    return scan(
        photos,
        paths,
        cache=cache,
        threads=2,
        limits=Limits.from_settings(),
        with_quality=False,
        companion=companion,
        elsewhere=elsewhere,
    )


def test_records_errors_and_features_are_those_of_one_machine(
    photos: Path, tmp_path: Path, tiny_backbone: ExportedBackbone, ray_cluster: Any
) -> None:
    caches = tmp_path / "here", tmp_path / "there"
    engine = OnnxEngine(tiny_backbone.path)
    spaces = [FeatureSpace(cache, tiny_backbone, engine) for cache in caches]
    local = FeatureCompanion(spaces[0], engine, tiny_backbone.preprocessing)
    here = scanned(photos, caches[0], local)
    local.flush()
    look = ClusterLook("ray", tiny_backbone, tiny_backbone.path, caches[1])
    there = scanned(photos, caches[1], look, look)
    assert look.computed == 80
    assert there.records.tobytes() == here.records.tobytes()
    assert {row: (e.kind, e.what) for row, e in there.errors.items()} == {
        row: (e.kind, e.what) for row, e in here.errors.items()
    }
    assert len(there.errors) == 2
    rows, keys = np.flatnonzero(here.seen), here.records["sha256"]
    tables = []
    for space in spaces:
        table = np.zeros((len(keys), tiny_backbone.features), np.float32)
        for found, values in space.index().read(keys, rows):
            table[found] = values
        tables.append(table)
    assert tables[0].tobytes() == tables[1].tobytes()
    again = ClusterLook("ray", tiny_backbone, tiny_backbone.path, caches[1])
    assert scanned(photos, caches[1], again, again).inspected == 0
    assert again.computed == 0, "warm"


def test_fit_and_evaluate_over_the_cluster_give_the_same_model(
    photos: Path, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    for place in ("local", "ray"):
        monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / place))
        asked = ("fit", photos, "--backbone", "test_resnet", "--random-init", "--name", place, "--executor", place)
        done = vizsla(*asked, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        models.append((Path(answer["model"]) / "head.safetensors").read_bytes())
    assert models[0] == models[1]
    shutil.rmtree(tmp_path / "ray" / "features")
    shutil.rmtree(tmp_path / "ray" / "scans")
    measured = vizsla("evaluate", "ray", photos, "--split", "all", "--executor", "ray", "--json")
    assert measured.returncode == 0, measured.stderr
    alone = vizsla("evaluate", "ray", photos, "--split", "all", "--json")
    values = [json.loads(said.stdout.splitlines()[-1])["metrics"] for said in (measured, alone)]
    assert values[0] == values[1]


def test_a_node_that_dies_costs_its_batch(
    photos: Path, tmp_path: Path, tiny_backbone: ExportedBackbone, ray_cluster: Any
) -> None:
    node = ray_cluster.add(2)
    look = ClusterLook("ray", tiny_backbone, tiny_backbone.path, tmp_path / "cache")
    outcomes: Iterator[Any] = look(
        photos,
        sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.jpg")),
        np.arange(82),
        Limits.from_settings(),
        ScanStore(tmp_path / "cache"),
    )
    rows = [next(outcomes)[0]]
    ray_cluster.kill(node)
    rows += [row for row, _ in outcomes]
    assert sorted(rows) == list(range(82)), "each once"


def test_a_cache_that_nodes_do_not_share(
    photos: Path, tmp_path: Path, tiny_backbone: ExportedBackbone, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = ClusterLook("ray", tiny_backbone, tiny_backbone.path, tmp_path / "cache")
    monkeypatch.setattr("vizsla.workflow.cluster_look.write_json", lambda *_, **__: None)  # as if written elsewhere
    with pytest.raises(DataError, match=r"The cache cannot be seen on node ") as caught:
        list(look(photos, ["red/000.jpg"], np.arange(1), Limits.from_settings(), ScanStore(tmp_path / "cache")))
    assert caught.value.where == str(tmp_path / "cache")
    assert "put pictures and cache (VIZSLA_CACHE, or a bucket for it) where all nodes" in str(caught.value.do)
    assert settings().cache.is_dir()


def test_an_object_store_that_is_full_and_cannot_spill() -> None:
    code = (
        "import numpy, ray\nfrom vizsla.errors import VizslaError\nfrom vizsla.workflow.cluster_work import put\n"
        "ray.init(address='local', num_cpus=1, include_dashboard=False, object_store_memory=80 << 20,\n"
        "         log_to_driver=False, _system_config={'local_fs_capacity_threshold': 0.0})\n"
        "try:\n    put(ray, numpy.zeros(200 << 20, numpy.uint8))\nexcept VizslaError as error:\n    print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "Ray's object store is full, and so is the disk that it spills to." in done.stdout, done.stderr
    assert "do: free that disk (below /tmp/ray of the node), or start the nodes with a larger store" in done.stdout
