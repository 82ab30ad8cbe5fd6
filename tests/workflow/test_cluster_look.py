"""Where pictures are looked at, as it is asked for; what a cluster does with them is tested in tests/cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import vizsla

from vizsla.errors import UsageError
from vizsla.workflow.cluster_look import is_elsewhere


def test_pictures_are_looked_at_here_or_on_a_cluster() -> None:
    assert not is_elsewhere("local")
    assert is_elsewhere("ray")
    assert is_elsewhere("ray://head:10001")
    with pytest.raises(UsageError, match="Pictures are not looked at by 'debug'") as caught:
        is_elsewhere("debug")
    assert caught.value.allowed == "local, ray, ray://HOST:PORT"


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is there: this is `make test-ray`")
def test_without_ray_the_extra_is_named(folder_of_photos: Callable[..., Path]) -> None:
    photos = folder_of_photos({"red": 4, "green": 4})
    script = photos / "t.py"
    script.write_text("print(1)")
    said = vizsla("train", "--script", script, "--executor", "ray")
    assert said.returncode == 1
    assert "pip install 'vizsla[ray]'" in said.stderr
    assert "--executor ray needs the package 'ray', which is not installed" in said.stderr
