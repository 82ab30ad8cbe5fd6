"""Where pictures are looked at, as it is asked for; what a cluster does with them is tested in tests/cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import vizsla

from vizsla.cluster import own_error
from vizsla.errors import JobError, SourceError, UsageError
from vizsla.workflow.cluster_look import is_elsewhere
from vizsla.workflow.cluster_work import is_seen


def test_pictures_are_looked_at_here_or_on_a_cluster() -> None:
    assert not is_elsewhere("local")
    assert is_elsewhere("ray")
    assert is_elsewhere("ray://head:10001")
    with pytest.raises(UsageError, match="Pictures are not looked at by 'debug'") as caught:
        is_elsewhere("debug")
    assert caught.value.allowed == "local, ray, ray://HOST:PORT"
    assert caught.value.do == "`vizsla train DATA` runs all of a training there"


def test_our_own_error_is_found_in_what_ray_shows_of_a_node() -> None:
    """As of Ray 2.58: the traceback of the node, then that of Ray Data."""
    shown = (
        "ray::MapBatches(Transformer)() (pid=7, ip=10.0.0.2)\n"
        '  File "vizsla/batch/outputs.py", line 92, in put\n    with s3_session.in_words(where):\n'
        "vizsla.errors.SourceError: The store is full.\n  where: s3://b/a.out\n  do: make room there: then go on\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "ray.exceptions.UserCodeException: UDF failed to process a data block."
    )
    error = own_error(shown)
    assert isinstance(error, SourceError)
    assert (error.what, error.where) == ("The store is full.", "s3://b/a.out")
    assert error.do == "make room there: then go on"
    other = own_error("vizsla.serving.faults.RequestError: There is no model 's3://b/m'.")
    assert isinstance(other, JobError)
    assert other.what == "There is no model 's3://b/m'."
    assert own_error("ray.exceptions.ActorDiedError: The actor died unexpectedly.") is None


def test_a_folder_that_is_not_mounted_is_empty(tmp_path: Path) -> None:
    for name in ("mounted", "not"):
        (tmp_path / name).mkdir()
    (tmp_path / "mounted" / "a.jpg").touch()
    assert is_seen(tmp_path / "mounted" / "removed-since.jpg")
    assert not is_seen(tmp_path / "not" / "a.jpg")
    assert not is_seen(tmp_path / "nowhere" / "a.jpg")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is there: this is `make test-ray`")
def test_without_ray_the_extra_is_named(folder_of_photos: Callable[..., Path]) -> None:
    photos = folder_of_photos({"red": 4, "green": 4})
    script = photos / "t.py"
    script.write_text("print(1)")
    said = vizsla("train", "--script", script, "--executor", "ray")
    assert said.returncode == 1
    assert "pip install 'vizsla[ray]'" in said.stderr
    assert "--executor ray needs the package 'ray', which is not installed" in said.stderr
