"""Channels in a bucket: a real S3-compatible server, real jobs."""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import vizsla

from tests.jobs.conftest import MakeSpec, run_to_end, source_of, wait_for
from vizsla.errors import JobError
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.spec_input import channels
from vizsla.s3_session import connect

pytestmark = pytest.mark.s3
obstore = pytest.importorskip("obstore")

WALKS = """
    import json, os
    found = {}
    for name in json.loads(os.environ["SM_CHANNELS"]):
        root = os.environ["SM_CHANNEL_" + name.upper()]
        for folder, _, files in os.walk(root):
            for file in files:
                path = os.path.join(folder, file)
                found[name + "/" + os.path.relpath(path, root)] = open(path).read()
    json.dump(found, open(os.environ["SM_OUTPUT_DATA_DIR"] + "/found.json", "w"))
"""


@pytest.fixture(autouse=True)
def endpoint(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return s3_server


def put(prefix: str, **objects: str) -> None:
    """Write objects; ``__`` in a name stands for ``/``."""
    for name, text in objects.items():
        obstore.put(connect("other", None), f"{prefix}/{name.replace('__', '/')}", text.encode())


def with_data(spec: TrainingJobSpec, *texts: str) -> TrainingJobSpec:
    """The spec with the channels that ``--data`` would name."""
    return spec.model_copy(update={"input_data_config": channels(texts)})


def test_a_script_finds_everything_that_lies_under_an_address(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    put("set", train__a="1", train__b__c="2", labels="x", empty="")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "notes").write_text("here")
    data = ("training=s3://other/set/", "labels=s3://other/set/labels", f"local={tmp_path / 'local'}")
    handle = executor.submit(with_data(script_spec(WALKS), *data), "walks")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state
    assert json.loads((handle.path / "output" / "data" / "found.json").read_text()) == {
        "training/train/a": "1",
        "training/train/b/c": "2",
        "training/labels": "x",
        "training/empty": "",
        "labels/labels": "x",
        "local/notes": "here",
    }
    assert "[vizsla: channel training: 4 objects fetched, 0 in the cache" in (handle.path / "logs.txt").read_text()
    assert (handle.path / "input" / "data" / "training" / "train" / "a").read_text() == "1", (
        "on the disk, not in memory"
    )


def test_only_what_changed_is_fetched_and_a_job_keeps_what_it_had(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    put("changing", a="1", b="2")
    first = executor.submit(with_data(script_spec(WALKS), "train=s3://other/changing"), "first")
    run_to_end(executor, first)
    put("changing", b="3")
    obstore.delete(connect("other", None), "changing/a")
    second = executor.submit(with_data(script_spec(WALKS), "train=s3://other/changing"), "second")
    run_to_end(executor, second)
    assert "1 objects fetched, 0 in the cache" in (second.path / "logs.txt").read_text()
    assert json.loads((second.path / "output" / "data" / "found.json").read_text()) == {"train/b": "3"}
    had = {path.name: path.read_text() for path in (first.path / "input" / "data" / "train").iterdir()}
    assert had == {"a": "1", "b": "2"}


def test_a_script_that_writes_into_its_data_spoils_no_other_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    put("written", a="good", b="good")
    spoils = "import os; os.write(os.open(os.environ['SM_CHANNEL_TRAIN'] + '/a', os.O_WRONLY), b'evil')"
    run_to_end(executor, executor.submit(with_data(script_spec(spoils), "train=s3://other/written"), "spoils"))
    handle = executor.submit(with_data(script_spec(WALKS), "train=s3://other/written"), "walks")
    run_to_end(executor, handle)
    assert "0 objects fetched, 2 in the cache" in (handle.path / "logs.txt").read_text()
    found = json.loads((handle.path / "output" / "data" / "found.json").read_text())
    assert found == {"train/a": "good", "train/b": "good"}


def test_what_a_resumed_job_has_already_is_not_asked_for_again(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("resumed", a="1")
    fails_once = "import os; os.path.exists('x') or (open('x', 'w').close(), os._exit(3))"
    handle = executor.submit(with_data(script_spec(fails_once), "train=s3://other/resumed"), "again")
    assert run_to_end(executor, handle)[0].status == "Failed"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert run_to_end(executor, executor.resume(handle))[0].status == "Completed"


def test_names_may_become_folders_and_parts_of_files_stay_behind(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    def found() -> dict[str, str]:
        handle = executor.submit(with_data(script_spec(WALKS), "train=s3://other/shapes"), "x")
        assert run_to_end(executor, handle)[0].status == "Completed", (handle.path / "logs.txt").read_text()
        return dict(json.loads((handle.path / "output" / "data" / "found.json").read_text()))

    put("shapes", a="1", b__c="2")
    assert found() == {"train/a": "1", "train/b/c": "2"}
    for name in ("a", "b/c"):
        obstore.delete(connect("other", None), f"shapes/{name}")
    put("shapes", a__x="3", b="4")
    for mirror in (tmp_path / "cache" / "sources").glob("all-*/shapes"):
        (mirror / ".model.bin.0011aabb.part").write_text("half")
    assert found() == {"train/a/x": "3", "train/b": "4"}


def test_an_object_that_is_a_file_and_a_folder_at_once(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    put("both", a="1", a__b="2")
    handle = executor.submit(with_data(script_spec("print(1)"), "train=s3://other/both"), "x")
    state, _ = run_to_end(executor, handle)
    assert "Object 'a' would be a file and a folder at once" in str(state.reason)


def test_a_script_named_as_a_module_of_pythons_own(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    put("named", a="1")
    spec = script_spec("import queue; assert queue.mine")
    folder = source_of(spec)
    (folder / "queue.py").write_text("mine = True")
    handle = executor.submit(with_data(spec, "train=s3://other/named"), "named")
    assert run_to_end(executor, handle)[0].status == "Completed", (handle.path / "logs.txt").read_text()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            "s3://other/nothing/here",
            "Nothing lies under this address.\n  where: s3://other/nothing/here at {url}\n"
            "  do: check the prefix (upper and lower case count)",
        ),
        (
            "s3://no-such-bucket/x",
            "There is no such bucket.\n  where: s3://no-such-bucket/x at {url}\n"
            "  do: check the bucket's name (and AWS_ENDPOINT_URL_S3)",
        ),
    ],
)
def test_data_that_cannot_be_had_are_the_reason(
    executor: LocalExecutor, script_spec: MakeSpec, address: str, words: str, s3_server: str
) -> None:
    handle = executor.submit(with_data(script_spec("print('ran')"), f"train={address}"), "x")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert words.partition("\n")[0] in str(state.reason)
    assert (handle.path / "output" / "failure").read_text() == words.format(url=s3_server)
    assert "ran" not in (handle.path / "logs.txt").read_text()


def test_a_fetch_that_breaks_off_is_gone_on_with_by_resuming_the_job(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    handle = executor.submit(with_data(script_spec("print('ran')"), "train=s3://other/x"), "x")
    run_to_end(executor, handle)
    assert (handle.path / "output" / "failure").read_text() == (
        "The endpoint cannot be reached.\n  where: s3://other/x at http://127.0.0.1:9\n"
        f"  do: check the network and AWS_ENDPOINT_URL_S3, then `vizsla jobs resume {handle.name}`: it goes on where "
        "it stopped"
    )


def test_a_bash_script_gets_its_data_and_its_signal(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    put("bash", a="1")
    text = '#!/bin/bash\ntrap : TERM\ncat "$SM_CHANNEL_TRAIN/a"; echo " up"\nsleep 600\n'
    spec = script_spec("", program="train.sh")
    folder = source_of(spec)
    (folder / "train.sh").write_text(text)
    handle = executor.submit(with_data(spec, "train=s3://other/bash"), "bash")
    wait_for(lambda: (handle.path / "logs.txt").exists() and "1 up" in (handle.path / "logs.txt").read_text())
    executor.stop(handle, grace=20)
    state, _ = run_to_end(executor, handle, 15)
    assert state.status == "Stopped"


def test_code_in_an_archive_as_the_sdk_uploads_it(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    """``sagemaker_submit_directory`` is s3://.../sourcedir.tar.gz, or such a file here."""
    folder = source_of(script_spec("import part; print('part', part.value)"))
    (folder / "part.py").write_text("value = 7")
    archive = tmp_path / "sourcedir.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
    obstore.put(connect("other", None), "job/source/sourcedir.tar.gz", archive.read_bytes())
    for address in ("s3://other/job/source/sourcedir.tar.gz", str(archive)):
        hyper = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": json.dumps(address)}
        handle = executor.submit(TrainingJobSpec.read({"HyperParameters": hyper}), "sdk")
        assert run_to_end(executor, handle)[0].status == "Completed"
        assert (handle.path / "logs.txt").read_text() == "part 7\n"
    whole, spec = archive.read_bytes(), TrainingJobSpec.read({"HyperParameters": hyper})
    for damaged in (whole[:100], whole[:-6] + b"######", lzma.compress(b"x" * 2000)[:60]):
        archive.write_bytes(damaged)
        with pytest.raises(JobError, match="The archive with the script's code cannot be unpacked"):
            executor.submit(spec, "cut")
    with tarfile.open(archive, "w:gz") as tar:  # an environment packed by mistake
        for number in range(50_001):
            tar.addfile(tarfile.TarInfo(f"env/{number}"))
    with pytest.raises(JobError) as caught:
        executor.submit(spec, "many")
    assert "unpacks to more than is allowed" in caught.value.what
    assert caught.value.allowed == "at most 2.2 GB and 50,000 files"
    assert caught.value.do == "leave data, environments and caches out of it; data belong in a channel"


def test_the_builtin_training_reads_an_address_itself(
    folder_of_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    root = folder_of_photos({"red": 10, "green": 10})
    for file in root.rglob("*.jpg"):
        obstore.put(connect("photos", None), f"trained/{file.relative_to(root).as_posix()}", file.read_bytes())
    words = ["train", "s3://photos/trained", "--hp", "backbone=test_resnet,random_init=true,epochs=2", "--json"]
    done = vizsla(*words)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["status"], Path(answer["job"]).name[:14]) == ("Completed", "train-trained-")
