"""``model/`` becomes ``model.tar.gz``, whatever a script left there."""

from __future__ import annotations

import tarfile

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.spec import OutputDataConfig

ODD = """
    import os, pathlib, socket
    model = pathlib.Path(os.environ["SM_MODEL_DIR"])
    (model / "checkpoints" / "1").mkdir(parents=True)
    (model / "checkpoints" / "1" / "w").write_text("weights")
    (model / "latest").symlink_to("checkpoints/1")
    (model / "best").symlink_to("checkpoints/7")
    (model / "checkpoints" / "up").symlink_to("..")
    (model / "checkpoints" / "1" / "more").symlink_to("../../other")
    (model / "other").mkdir()
    (model / "other" / "back").symlink_to("../checkpoints")
    (model / "itself").symlink_to("itself")
    os.mkfifo(model / "pipe")
    socket.socket(socket.AF_UNIX).bind("socket") or os.rename("socket", model / "socket")
"""


def test_links_are_followed_and_what_leads_nowhere_is_left_out(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec(ODD), "odd")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    assert state.reason == (
        "left out of model.tar.gz (links to nothing or in a circle, sockets, pipes): "
        "best, checkpoints/1/more/back, checkpoints/up, itself, latest/more/back, other/back/1/more, other/back/up, "
        "pipe, socket"
    )
    with tarfile.open(executor.fetch(handle, "output/model.tar.gz")) as archive:
        assert archive.getnames() == [
            *("checkpoints", "checkpoints/1", "checkpoints/1/more", "checkpoints/1/w"),
            *("latest", "latest/more", "latest/w"),
            *("other", "other/back", "other/back/1", "other/back/1/w"),
        ]
        assert not any(member.issym() or member.islnk() for member in archive.getmembers())


def test_a_link_to_nothing_is_no_model(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(
        script_spec("import os; os.symlink('nothing', os.environ['SM_MODEL_DIR'] + '/best')"), "no"
    )
    state, _ = run_to_end(executor, handle)
    assert (state.status, "it wrote no model" in str(state.reason)) == ("Completed", True)


def test_a_model_that_is_wanted_as_a_folder_is_not_packed(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("import os; open(os.environ['SM_MODEL_DIR'] + '/w', 'w').write('weights')")
    as_folder = OutputDataConfig(s3_output_path="s3://elsewhere/", compression_type="NONE")
    handle = executor.submit(spec.model_copy(update={"output_data_config": as_folder}), "folder")
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.reason) == ("Completed", None)
    assert (handle.path / "model" / "w").read_text() == "weights"
    assert not (handle.path / "output" / "model.tar.gz").exists()


SAVES_ON_SIGTERM = """
    import os, signal, sys, time
    def save(*_):
        open(os.environ["SM_MODEL_DIR"] + "/weights", "w").write("w")
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("limit", [None, 1])
def test_a_model_saved_on_sigterm_is_packed(executor: LocalExecutor, script_spec: MakeSpec, limit: int | None) -> None:
    handle = executor.submit(script_spec(SAVES_ON_SIGTERM, limit=limit), "saves")
    log = handle.path / "logs.txt"
    wait_for(lambda: log.exists() and log.read_text())
    if limit is None:
        executor.stop(handle)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Stopped"
    with tarfile.open(executor.fetch(handle, "output/model.tar.gz")) as archive:
        assert archive.getnames() == ["weights"]


def test_packing_ends_when_somebody_stops_the_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "import os; os.truncate(os.open(os.environ['SM_MODEL_DIR'] + '/w', os.O_CREAT | os.O_RDWR), 1 << 40)"
    handle = executor.submit(script_spec(text), "huge")
    wait_for(lambda: list((handle.path / "output").glob(".model.tar.gz.*")))
    executor.stop(handle, grace=0.5)
    state, _ = run_to_end(executor, handle, 20)
    assert state.status == "Stopped"
    assert "its model could not be packed: there was no time left for it" in str(state.reason)
    assert not list((handle.path / "output").glob(".model.tar.gz.*"))
    assert (handle.path / "model" / "w").exists()


def test_a_script_that_writes_no_model_completes_and_says_so(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec("print('trained')"), "none")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    assert "it wrote no model" in str(state.reason)
    assert "SM_MODEL_DIR" in str(state.reason)
    assert not (handle.path / "output" / "model.tar.gz").exists()
