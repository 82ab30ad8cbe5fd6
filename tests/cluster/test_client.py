"""What a person outside the cluster asks of it, through Ray's client: the same verbs, and the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import process

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address for ``--executor``."""
    monkeypatch.delenv("RAY_ADDRESS")
    return f"ray://127.0.0.1:{ray_cluster.client_port}"


def test_fit_and_evaluate(outside: str, folder_of_photos: Callable[..., Path], tmp_path: Path) -> None:
    photos = folder_of_photos({"red": 40, "green": 40})
    heads = []
    for name, executor in (("here", "local"), ("there", outside)):
        asked = ("fit", photos, "--backbone", "test_resnet", "--random-init", "--name", name, "--executor", executor)
        done = process(*asked, "--json", VIZSLA_CACHE=str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert answer["computed"] == 80
        heads.append((Path(answer["model"]) / "head.safetensors").read_bytes())
    assert heads[0] == heads[1]
    asked = ("evaluate", "there", photos, "--split", "all", "--executor", outside, "--json")
    measured = process(*asked, VIZSLA_CACHE=str(tmp_path / "empty"))
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout.splitlines()[-1])["metrics"]["accuracy"] > 0.4


def test_pictures_that_a_node_does_not_see(outside: str, ray_cluster: Any, tmp_path: Path, no_room: None) -> None:
    """What was wrong on a node comes through the client in its own words."""
    photos = tmp_path / "photos"
    for name in ("red", "green"):
        (photos / name).mkdir(parents=True)
        for number in range(8):
            (photos / name / f"{number}.jpg").write_bytes(b"no picture")
    with ray_cluster.apart(5, photos, tmp_path / "node.txt"):
        done = process("fit", photos, "--backbone", "test_resnet", "--random-init", "--executor", outside)
    assert done.returncode == 1
    assert "The pictures cannot be seen on node" in done.stderr
    assert "or leave out --executor ray" in done.stderr


def test_a_script(outside: str, tmp_path: Path) -> None:
    script = tmp_path / "source" / "t.py"
    script.parent.mkdir()
    script.write_text("print('up', flush=True)\n")
    asked = ("train", "--script", script, "--instance-type", "local-1cpu", "--executor", outside, "--name", "mine")
    done = process(*asked)
    assert done.returncode == 0, done.stderr
    assert "up\n" in done.stderr
    shown = json.loads(process("jobs", "show", "mine", "--json").stdout)
    assert (shown["executor"], shown["state"]["status"]) == (outside, "Completed")


def test_a_client_whose_process_dies_of_its_fork_is_connected_again(outside: str) -> None:
    """Of Ray's processes for clients some percent do: ray-project/ray#63202."""
    code = (
        "import sys, ray\nfrom vizsla.cluster import connect\ninit, calls = ray.init, []\n"
        "def once(**options):\n    calls.append(options)\n"
        "    if len(calls) == 1:\n        raise ConnectionAbortedError('Initialization failure from server:\\nwhy')\n"
        "    return init(**options)\n"
        "ray.init = once\nprint(connect(sys.argv[1]).nodes()[0]['Alive'], len(calls) > 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, outside], capture_output=True, text=True)
    assert done.stdout == "True True\n", done.stderr
