"""Jobs whose home is a bucket: mirror and prefix, who controls a job, and what the commands say."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.commandline import vizsla
from tests.conftest import S3_LOGIN, free_port, start_s3
from tests.jobs.conftest import MakeSpec, run_to_end
from tests.patience import come
from vizsla.errors import JobError, SourceError
from vizsla.jobs import bucket as buckets
from vizsla.jobs.bucket import BucketHome
from vizsla.jobs.executors import open_executor
from vizsla.jobs.lease import Lease
from vizsla.jobs.mirror import LEASE, Mirror
from vizsla.jobs.node_folder import NodeFolder
from vizsla.workflow.models import locate_model

pytestmark = pytest.mark.s3
HOME = "s3://other/team/runs"
LONG = """
import time
from vizsla.jobs.here import running_here
with running_here("tune", "x", {"TrainingJobDefinition": {"AlgorithmSpecification": {}}}, name="NAME"):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server of its own, which the environment names; the home is a bucket."""
    port = free_port()
    process = start_s3(tmp_path / "s3", port)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_LOGIN[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_LOGIN[1])
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    on_machine(monkeypatch, tmp_path, "a")
    monkeypatch.setenv("VIZSLA_HOME", HOME)
    monkeypatch.setattr(buckets, "TURN_SECONDS", 0.3)
    yield tmp_path / "s3"
    process.terminate()
    process.wait(10)


def on_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Go on as on another machine: nothing of the mirror is there."""
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / name))
    buckets.opened.cache_clear()


def there(name: str) -> bytes | None:
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
    try:
        return bytes(s3.get_object(Bucket="other", Key=f"team/runs/{name}")["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


def names_there() -> set[str]:
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
    found = s3.list_objects_v2(Bucket="other", Prefix="team/runs/").get("Contents", [])
    return {entry["Key"].removeprefix("team/runs/") for entry in found}


@pytest.mark.usefixtures("server")
def test_only_what_changed_is_moved(tmp_path: Path) -> None:
    here, other = Mirror(f"{HOME}/j", tmp_path / "1" / "j"), Mirror(f"{HOME}/j", tmp_path / "2" / "j")
    for name, text in {
        "logs.txt": "one\n",
        "model/m.bin": "model",
        ".run/.x.tmp": "half",
        "input/data/t/p": "x",
    }.items():
        (here.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (here.folder / name).write_text(text)
    (here.folder / "model" / "link").symlink_to(tmp_path)
    here.send()
    assert names_there() == {"j/logs.txt", "j/model/m.bin"}
    assert other.fetch() == ["logs.txt"], "a model is not wanted by who only looks"
    assert other.fetch() == []
    assert other.fetch("") == ["model/m.bin"]
    before = (other.folder / "model" / "m.bin").stat()
    with open(here.folder / "logs.txt", "a") as log:
        log.write("two\n")
    here.send(last=True)
    assert other.fetch() == ["logs.txt"]
    assert (other.folder / "logs.txt").read_text() == "one\ntwo\n"
    assert (other.folder / "model" / "m.bin").stat() == before
    other.send()
    assert here.fetch("") == [], "what came is not sent back"


@pytest.mark.usefixtures("server")
def test_what_is_taken_away(tmp_path: Path) -> None:
    here, other = Mirror(f"{HOME}/j", tmp_path / "1" / "j"), Mirror(f"{HOME}/j", tmp_path / "2" / "j")
    for name in (".run/exit.json", "model/m.bin"):
        (here.folder / name).parent.mkdir(parents=True)
        (here.folder / name).write_text("{}")
    here.send(last=True)
    other.fetch("")
    (here.folder / ".run" / "exit.json").unlink()
    (here.folder / "model" / "m.bin").unlink()
    here.send()
    assert names_there() == {"j/model/m.bin"}, "a mirror that was cleared takes no model away"
    other.fetch()
    assert not (other.folder / ".run" / "exit.json").exists()
    assert (other.folder / "model" / "m.bin").exists()


@pytest.mark.usefixtures("server")
def test_an_attempt_that_comes_to_its_node_again_takes_nothing_away(tmp_path: Path) -> None:
    for attempt in (1, 2):
        node = NodeFolder(f"{HOME}/j", tmp_path / "node" / "j")
        node.begin()
        if attempt == 1:
            (node.folder / "state.json").write_text("{}")
            (node.folder / "checkpoints" / "1.txt").write_text("work")  # and it is killed
            Mirror(f"{HOME}/j", node.folder, whole=True).send()
    with node.sending():
        assert (node.folder / "checkpoints" / "1.txt").read_text() == "work"
    assert names_there() == {"j/state.json", "j/checkpoints/1.txt"}


@pytest.mark.usefixtures("server")
def test_where_both_changed_the_bucket_stays(tmp_path: Path) -> None:
    here, other = Mirror(f"{HOME}/j", tmp_path / "1" / "j"), Mirror(f"{HOME}/j", tmp_path / "2" / "j")
    here.folder.mkdir(parents=True)
    (here.folder / "state.json").write_text("1")
    here.send()
    other.fetch()
    (other.folder / "state.json").write_text("newer")
    other.send()
    (here.folder / "state.json").write_text("of a machine that was away")
    here.fetch()
    here.send()
    assert there("j/state.json") == b"newer"


@pytest.mark.usefixtures("server")
def test_a_database_is_sent_whole_while_it_is_written(tmp_path: Path) -> None:
    mirror = Mirror(f"{HOME}/j", tmp_path / "j")
    mirror.folder.mkdir()
    with contextlib.closing(sqlite3.connect(mirror.folder / "study.db")) as database:
        database.execute("create table t (x)")
        database.commit()
        database.execute("insert into t values (1)")
        mirror.send()
        database.commit()
    copy = tmp_path / "copy.db"
    copy.write_bytes(there("j/study.db") or b"")
    with contextlib.closing(sqlite3.connect(copy)) as database:
        assert database.execute("select count(*) from t").fetchone() == (0,)


@pytest.mark.usefixtures("server")
def test_one_controller_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Lease(Mirror(f"{HOME}/j", tmp_path / name / "j")) for name in "12")
    assert first.take() is None
    holder = second.take()
    assert holder is not None
    assert holder.words.startswith(f"process {os.getpid()} on ")
    first.release()
    assert second.take() is None
    monkeypatch.setattr("vizsla.jobs.lease.LEASE_SECONDS", -60.0)  # as if it were silent for long
    assert first.take() is None
    monkeypatch.setattr("vizsla.jobs.lease._RENEW_SECONDS", 0.0)
    assert not second.renew(), "it learns that it has lost it"
    assert first.renew()


def test_a_job_of_another_machine(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script_spec: MakeSpec
) -> None:
    executor = open_executor("debug")
    text = "import vizsla\nprint('hello')\nvizsla.log_metric('loss', 0.5)\n"
    text += "import os; open(os.environ['SM_MODEL_DIR'] + '/w.bin', 'w').write('w')\n"
    handle = executor.submit(script_spec(text, name="mine"), "x")
    assert run_to_end(executor, handle)[0].status == "Completed"
    assert json.loads(there("mine/state.json") or b"{}")["status"] == "Completed"
    assert there("mine/logs.txt") == b"hello\n"
    assert LEASE not in {name.removeprefix("mine/") for name in names_there()}
    on_machine(monkeypatch, tmp_path, "b")
    (row,) = json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"]
    assert (row["name"], row["status"]) == ("mine", "Completed")
    shown = vizsla("jobs", "show", "mine").stdout
    assert "loss (last)              0.5" in shown
    assert f"address                  {HOME}/mine" in shown
    assert vizsla("jobs", "logs", "mine").stdout == "hello\n"
    assert (locate_model("mine") / "model" / "w.bin").read_text() == "w", "its model comes when it is wanted"
    again = vizsla("train", "--script", tmp_path / "source-1" / "train.py", "--executor", "debug", "--name", "mine")
    assert "There is a job named 'mine' already." in again.stderr
    assert vizsla("jobs", "rm", "mine").returncode == 0
    assert names_there() == set()
    on_machine(monkeypatch, tmp_path, "a")
    assert json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"] == [], "the mirror forgets it, too"


def start_controller(name: str) -> subprocess.Popen[str]:
    """A job that runs in a process of its own, and is in the bucket by now."""
    asked = [sys.executable, "-c", LONG.replace("NAME", name)]
    controller = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    assert controller.stdout is not None
    assert controller.stdout.readline() == "up\n"
    assert come(lambda: json.loads(there(f"{name}/state.json") or b"{}").get("status") == "InProgress")
    return controller


@pytest.mark.usefixtures("server")
def test_a_controller_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = start_controller("killed")
    on_machine(monkeypatch, tmp_path, "b")
    time.sleep(3)
    assert status_of("killed") == "InProgress", "it is looked at while its controller is there"
    controller.kill()
    controller.wait()
    assert come(lambda: status_of("killed") == "Failed")
    assert "its process was killed and left no word" in vizsla("jobs", "show", "killed").stdout
    assert json.loads(there("killed/state.json") or b"{}")["status"] == "Failed"


def status_of(name: str) -> str:
    """As the command says."""
    return str(json.loads(vizsla("jobs", "show", name, "--json").stdout)["state"]["status"])


@pytest.mark.usefixtures("server")
def test_a_job_within_a_process_is_stopped_from_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = start_controller("far")
    on_machine(monkeypatch, tmp_path, "b")
    stopped = vizsla("jobs", "stop", "far")
    assert "far is Stopped: stopped " in stopped.stderr
    assert controller.wait(30) == 1


def test_credentials_that_expire_in_the_middle(server: Path, tmp_path: Path, script_spec: MakeSpec) -> None:
    node = NodeFolder(f"{HOME}/j", tmp_path / "node" / "j", patience=0.5)
    node.begin()

    def work() -> None:
        with node.sending():
            (node.folder / "checkpoints" / "1.txt").write_text("work")
            (server / "expired").touch()

    with pytest.raises(JobError, match=f"could not be sent to {HOME}/j. The credentials have expired.") as caught:
        work()
    assert f"{node.folder} on node " in str(caught.value.where)
    assert "a job that is resumed on it sends this first" in str(caught.value.do)
    assert (node.folder / "checkpoints" / "1.txt").read_text() == "work"
    (server / "expired").unlink()
    NodeFolder(f"{HOME}/j", node.folder).begin()
    assert there("j/checkpoints/1.txt") == b"work"


def test_a_channel_that_one_node_has_fetched_is_not_there_on_another(server: Path, tmp_path: Path) -> None:
    """What says so stays where the data are: an attempt elsewhere would train on an empty folder."""
    node = NodeFolder(f"{HOME}/j", tmp_path / "node" / "j", patience=0.0)
    node.begin()
    with node.sending():
        (node.folder / ".run" / "fetched-training.json").write_text("{}")
        (node.folder / ".run" / "process.json").write_text("{}")
    assert there("j/.run/process.json") == b"{}"
    assert there("j/.run/fetched-training.json") is None


def test_odd_files_of_a_script_keep_nothing_from_being_sent(server: Path, tmp_path: Path) -> None:
    """A pipe, links, a name that is no text, and files that end as those of SQLite do: of dbm or LMDB, or torn."""
    contents = {"index.db": b"of another kind", "none.db": b"", "torn.db": b"SQLite format 3\0torn"}
    contents[os.fsdecode(b"caf\xe9.txt")] = b"latin"
    node = NodeFolder(f"{HOME}/j", tmp_path / "node" / "j", patience=0.0)
    node.begin()
    with node.sending():
        os.mkfifo(node.folder / "model" / "pipe")
        (node.folder / "model" / "last.db").symlink_to("index.db")
        (node.folder / "model" / "elsewhere").symlink_to(tmp_path)
        (node.folder / "model" / "passwd").symlink_to("/etc/passwd")
        for name, content in contents.items():
            (node.folder / "model" / name).write_bytes(content)
    sent = [there(f"j/model/{name}") for name in ("index.db", "none.db", "torn.db", "caf\ufffd.txt", "pipe")]
    assert sent == [*contents.values(), None]
    assert there("j/model/last.db") == contents["index.db"], "as of a framework that links its last checkpoint"
    assert there("j/model/passwd") is None


def test_a_node_whose_disk_is_full_sends_what_there_is(small_disk: Path, server: Path) -> None:
    node = NodeFolder(f"{HOME}/j", small_disk / "j", patience=0.0)
    node.begin()
    with node.sending():
        (node.folder / "checkpoints" / "1.txt").write_text("work")
        with pytest.raises(OSError, match="No space left"):
            (node.folder / "model" / "w.bin").write_bytes(bytes(1 << 20))
    assert there("j/checkpoints/1.txt") == b"work"
    assert not node.folder.exists()


def test_a_store_that_is_full(small_disk: Path, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    full = start_s3(small_disk, port)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    node = NodeFolder(f"{HOME}/j", tmp_path / "node" / "j", patience=0.0)
    node.begin()

    def work() -> None:
        with node.sending():
            (node.folder / "model" / "w.bin").write_bytes(os.urandom(1 << 20))

    with pytest.raises(JobError, match=f"could not be sent to {HOME}/j. The store is full"):
        work()
    assert (node.folder / "model" / "w.bin").stat().st_size == 1 << 20
    full.terminate()
    full.wait(10)


def test_a_controller_says_that_its_credentials_expired(
    server: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(buckets, "_PATIENCE", 0.5)
    monkeypatch.setattr(buckets, "TURN_SECONDS", 0.2)
    home = BucketHome(HOME, tmp_path / "mirror")
    home.hold("j")
    (server / "expired").touch()

    time.sleep(3)
    with pytest.raises(SourceError, match="The credentials have expired") as caught:
        home.check()
    assert "jobs that run go on, and `vizsla jobs resume JOB` follows one again" in str(caught.value.do)
    (server / "expired").unlink()
    home.let_go("j")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("train", "--script", "t.py"), "A job of the executor local"),
        (("endpoints", "list"), "An endpoint in the background"),
        (("aws", "run"), "The AWS door"),
        (("models", "list"), "The registry, without a server at VIZSLA_TRACKING,"),
    ],
)
def test_what_needs_a_folder_says_so(
    words: tuple[str, ...], who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").write_text("print(1)")
    said = vizsla(*words)
    assert said.returncode == 2
    assert f"{who} needs a folder of this machine, and VIZSLA_HOME is a bucket." in said.stderr
    assert f"where: {HOME}" in said.stderr
    assert "allowed: with a bucket: train, tune, transform with --executor ray or sagemaker" in said.stderr
    assert "do: set VIZSLA_HOME to a folder for it" in said.stderr


def test_no_bucket_of_that_name(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_HOME", "s3://nobodys/x")
    said = vizsla("jobs", "list")
    assert "There is no such bucket.\n  where: s3://nobodys/x" in said.stderr
    monkeypatch.setenv("VIZSLA_HOME", "s3://")
    assert "'s3:' names no bucket" in vizsla("jobs", "list").stderr
