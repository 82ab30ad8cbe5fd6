"""Scripts and requests that cannot go well: each ends in words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, metrics_of, run_to_end, wait_for
from vizsla.errors import JobError, UsageError
from vizsla.jobs import request
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.environment import _named
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.processes import Process
from vizsla.jobs.request import channels, hyper_parameters, metric_definitions
from vizsla.jobs.spec import Channel, ResourceConfig, TrainingJobSpec, decoded, encoded


def test_a_script_that_does_not_exist(tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("print(1)")
    folder, _ = spec.script or (tmp_path, "")
    (folder / "train.py").rename(folder / "other.py")
    with pytest.raises(JobError, match=r"There is no script 'train.py'") as caught:
        executor.submit(spec, "nothing")
    assert "other.py" in str(caught.value.allowed)
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


def test_a_script_that_exits_3(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec("import sys; print('bye'); sys.exit(3)"), "three")
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.exit_code, state.reason) == ("Failed", 3, "exit code 3; last line: bye")


def test_the_last_lines_of_the_traceback_are_the_reason(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "def load():\n    raise KeyError('learning rate')\nprint('x' * 9000)\nload()"
    handle = executor.submit(script_spec(text), "trace")
    state, _ = run_to_end(executor, handle)
    assert state.reason == "KeyError: 'learning rate' (exit code 1)"
    failure = (handle.path / "output" / "failure").read_text()
    assert "Traceback (most recent call last)" in failure
    assert 'train.py", line 2, in load' in failure
    assert "xxx" not in failure


def test_a_script_that_writes_its_own_failure(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import os, sys
        open(os.path.join(os.environ["SM_OUTPUT_DIR"], "failure"), "w").write("No pictures of class 3.\\nMore.")
        sys.exit(1)
    """
    handle = executor.submit(script_spec(text), "own")
    state, _ = run_to_end(executor, handle)
    assert state.reason == "No pictures of class 3. (exit code 1)"
    assert (handle.path / "output" / "failure").read_text() == "No pictures of class 3.\nMore."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise MemoryError('no room for 9 GB')", "it ran out of memory (exit code 1): MemoryError: no room for 9 GB"),
        ("print('skipped 3 pictures: out of memory'); raise KeyError('a')", "KeyError: 'a' (exit code 1)"),
        (
            "print('out of memory? No space left on device? no.'); import sys; sys.exit(3)",
            "exit code 3; last line: out",
        ),
        (
            "import sys, traceback\ntry: raise MemoryError\nexcept MemoryError: traceback.print_exc()\n"
            "print('gives up', file=sys.stderr); sys.exit(3)",
            "exit code 3; last line: gives up",
        ),
        (
            "import os\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('my words')\nraise MemoryError",
            "my words (exit code 1)",
        ),
        ("class Stop(Exception): pass\nraise Stop('no data')", "Stop: no data (exit code 1)"),
        ("import os; os.abort()", "it crashed: native code gave up (SIGABRT)"),
        ("import ctypes; ctypes.string_at(0)", "it crashed: a segmentation fault in native code (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 15)", "it was asked to end (SIGTERM) by someone else than its controller"),
        ("import sys; sys.exit(7)", "it ended with exit code 7 and said nothing"),
    ],
)
def test_ends_in_words(executor: LocalExecutor, script_spec: MakeSpec, text: str, words: str) -> None:
    state, _ = run_to_end(executor, executor.submit(script_spec(text), "end"))
    assert state.status == "Failed"
    assert str(state.reason).startswith(words)


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path, script_spec: MakeSpec) -> None:
    text = """
        print("first line")
        for i in range(40_000):
            print(f"line {i:06} " + "x" * 88)
            if i == 20_000: print("Testing Loss: 0.5")
        print("last line")
    """
    executor = LocalExecutor(tmp_path / "runs", cpus=2, log_bytes=(100_000, 100_000))
    handle = executor.submit(script_spec(text, metrics={"loss": "Testing Loss: ([0-9.]+)"}), "long")
    state, events = run_to_end(executor, handle)
    assert state.status == "Completed"
    log = (handle.path / "logs.txt").read_text()
    assert 150_000 < len(log) < 201_000
    assert log.startswith("first line\nline 000000")
    assert log.endswith("last line\n")
    assert "bytes of the log left out here]" in log
    assert metrics_of(events) == [("loss", 0.5)], "found in what was left out"
    assert not list((handle.path / ".run").glob("tail.*"))


@pytest.mark.slow
def test_two_gigabytes_of_log_are_cut_to_64_mb(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import sys
        block = ("y" * 99 + "\\n") * 10_000
        for i in range(2_000): sys.stdout.write(block)
        print("Testing Loss: 0.125")
    """
    handle = executor.submit(script_spec(text, metrics={"loss": "Testing Loss: ([0-9.]+)"}), "two")
    state, events = run_to_end(executor, handle, 300)
    assert state.status == "Completed"
    assert (handle.path / "logs.txt").stat().st_size < 66 << 20
    assert metrics_of(events) == [("loss", 0.125)]


def test_over_its_time_it_is_stopped(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec("import time; time.sleep(60)", limit=1), "slow")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Stopped"
    assert "ran longer than StoppingCondition.MaxRuntimeInSeconds allows (1 s)" in str(state.reason)


def test_an_expression_without_end_does_not_disable_the_time_limit(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = "import time\nwhile True: print('a' * 60, 'x=1', flush=True); time.sleep(0.1)"
    handle = executor.submit(script_spec(text, metrics={"endless": r"(a+a+)+b", "x": r"x=(\d)"}, limit=2), "endless")
    state, events = run_to_end(executor, handle)
    assert "it ran longer than" in str(state.reason)
    assert len([value for name, value in metrics_of(events) if name == "x"]) > 5
    assert "[vizsla: metric 'endless' is not looked for any longer" in (handle.path / "logs.txt").read_text()


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


def test_children_that_a_script_leaves_behind_are_ended(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    pids = tmp_path / "pids"
    text = f"""
        import os, subprocess, sys
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleep)
        daemon = subprocess.Popen(sleep, start_new_session=True)
        open({str(pids)!r}, "w").write(f"{{child.pid}} {{daemon.pid}}")
    """
    handle = executor.submit(script_spec(text), "forks")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not Process.of(pid).alive)


def test_hyperparameters_reach_the_script_as_they_were(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    values = {
        "spaces": "a b  c ",
        "quotes": 'it\'s "quoted"',
        "newlines": "one\ntwo\r\n",
        "dollar": "$HOME `ls` \\ * é 日本",
        "quoted-number": '"7"',
        "empty": "",
        "lr": "0.010",
        "flag": True,
        "list": [1, 2],
    }
    text = "import json, os, sys; print(json.dumps([sys.argv[1:], json.loads(os.environ['SM_HPS'])]))"
    handle = executor.submit(script_spec(text, values), "odd")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    arguments, hps = json.loads((handle.path / "logs.txt").read_text())
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given == {f"--{k}": v for k, v in values.items() if isinstance(v, str)} | {
        "--flag": "True",
        "--list": "[1, 2]",
    }
    assert hps["spaces"] == values["spaces"]
    assert hps["lr"] == 0.01


@pytest.mark.parametrize("value", ["plain", "7", '"7"', "0.10", "true", "a\nb", '"', "{}", "", None, 3, 1e-5, [1, "x"]])
def test_values_survive_the_strings_of_the_document(value: object) -> None:
    (text,) = encoded({"x": value}).values()
    (back,) = decoded({"x": text}).values()
    assert back == value or (isinstance(value, str) and text == value)


def test_a_null_byte_in_a_hyperparameter_is_refused(script_spec: MakeSpec) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        TrainingJobSpec.read({"HyperParameters": {"x": "a\0b"}})


def test_a_name_that_exists_is_refused(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    first = executor.submit(script_spec("print(1)", name="mine"), "x")
    with pytest.raises(JobError, match="There is a job named 'mine' already") as caught:
        executor.submit(script_spec("print(2)", name="mine"), "x")
    assert "vizsla jobs resume mine" in str(caught.value.do)
    state, _ = run_to_end(executor, first)
    assert state.status == "Completed"
    assert (first.path / "logs.txt").read_text() == "1\n"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ü", "x" * 64, "../x"])
def test_names_that_are_not_allowed(executor: LocalExecutor, script_spec: MakeSpec, name: str) -> None:
    with pytest.raises(JobError, match="cannot be the name of a job") as caught:
        executor.submit(script_spec("print(1)", name=name), "x")
    assert "1 to 63 letters" in str(caught.value.allowed)


def test_channels_whose_data_are_missing_or_elsewhere(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    with pytest.raises(JobError, match="There are no data for channel 'train'"):
        executor.submit(script_spec("print(1)", data={"train": tmp_path / "nowhere"}), "x")
    spec = script_spec("print(1)").model_copy(
        update={
            "input_data_config": [
                Channel.model_validate({"ChannelName": "t", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/p"}}})
            ]
        }
    )
    with pytest.raises(JobError, match="The data of channel 't' are not on this machine") as caught:
        executor.submit(spec, "x")
    assert caught.value.where == "s3://b/p"


def test_a_field_that_no_training_job_has() -> None:
    with pytest.raises(UsageError, match="There is no field 'Hyperparameters'") as caught:
        TrainingJobSpec.read({"Hyperparameters": {"lr": "1"}})
    assert "CreateTrainingJob" in str(caught.value.allowed)
    with pytest.raises(UsageError) as caught:
        TrainingJobSpec.read({"HyperParameters": {"lr": 1}})
    assert caught.value.where == "HyperParameters.lr"


@pytest.mark.parametrize("kind", ["local-0cpu", "local-99cpu", "local-1cpu-9gpu", "locale"])
def test_instance_types_that_this_machine_has_not(kind: str) -> None:
    with pytest.raises(UsageError, match=r"instance type|more than this machine") as caught:
        ResourceConfig(instance_type=kind).share(2, 0)
    assert "local-Ncpu" in str(caught.value.allowed)


def test_what_is_typed_on_the_command_line() -> None:
    assert hyper_parameters(["lr=0.01,batch-size=64", "note=a, b", '{"n": 1}', "layers=1,2"]) == {
        "lr": "0.01",
        "batch-size": "64",
        "note": "a, b",
        "n": 1,
        "layers": "1,2",
    }
    for bad in ("lr", "=3", "{"):
        with pytest.raises(UsageError, match=r"hyperparameter|JSON object"):
            hyper_parameters([bad])
    assert metric_definitions(["average test loss=Testing Loss: ([0-9.]+)"])[0].name == "average test loss"
    with pytest.raises(UsageError, match="is not a metric") as caught:
        metric_definitions(["loss=no group"])
    assert "with a group around the number" in str(caught.value.allowed)
    with pytest.raises(UsageError, match="cannot be read: unterminated"):
        metric_definitions(["loss=(["])
    with pytest.raises(UsageError, match="is given twice"):
        channels(["a=/", "a=/"])
    with pytest.raises(UsageError, match="There are no data for channel 'training'"):
        channels(["/nowhere"])
    with pytest.raises(JobError, match="There is no script"):
        request.script_spec("nowhere.py", None, [], [], [], "local", None, None)


def test_the_folder_of_the_jobs_may_lie_within_the_code(tmp_path: Path) -> None:
    source = tmp_path / "project"
    (source / "package").mkdir(parents=True)
    (source / "package" / "part.py").write_text("value = 7")
    (source / "train.py").write_text("from package.part import value; print('value', value)")
    executor = LocalExecutor(source / "package" / "jobs", cpus=2)
    spec = request.script_spec("train.py", source, [], [], [], "local", None, None)
    handle = executor.submit(spec, "within")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    assert (handle.path / "logs.txt").read_text() == "value 7\n"
    assert sorted(p.name for p in (handle.path / "code" / "package").iterdir() if p.suffix) == ["part.py"]


def test_packages_called_runs_and_pipes_in_the_folder(tmp_path: Path) -> None:
    source = tmp_path / "project"
    for name in ("runs", "venv", "old-job", "env"):
        (source / name).mkdir(parents=True)
        (source / name / "part.py").write_text(f"value = {name!r}")
        (source / name / "__init__.py").touch()
    (source / "env" / "pyvenv.cfg").write_text("home = /usr")
    (source / "old-job" / "job.json").write_text("{}")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        (source / "train.py").write_text("import runs.part, venv.part; print(runs.part.value, venv.part.value)")
        executor = LocalExecutor(tmp_path / "jobs", cpus=2)
        handle = executor.submit(request.script_spec("train.py", source, [], [], [], "local", None, None), "names")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    assert (handle.path / "logs.txt").read_text() == "runs venv\n"
    assert sorted(p.name for p in (handle.path / "code").iterdir()) == ["runs", "train.py", "venv"]


def test_channels_of_one_variable(executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="The channels 'train' and 'Train' would have the same variable, SM_CHANNEL_TR"):
        executor.submit(script_spec("print(1)", data={"train": tmp_path, "Train": tmp_path}), "x")


def test_included_files_and_local_packages_make_another_environment(tmp_path: Path) -> None:
    def key() -> list[tuple[Path, str]]:
        return list(_named(tmp_path / "requirements.txt", set()))

    package = tmp_path / "package"
    package.mkdir()
    (package / "setup.py").write_text("1")
    (tmp_path / "requirements.txt").write_text("-r base.txt\nnumpy==2; python_version > '3'\n./package[all]\n")
    (tmp_path / "base.txt").write_text("-c limits.txt\nscipy\n")
    (tmp_path / "limits.txt").write_text("scipy<2")
    keys = [key()]
    assert [path.name for path, _ in keys[0]] == ["base.txt", "limits.txt", "package"]
    for path, text in ((tmp_path / "limits.txt", "scipy<1"), (package / "setup.py", "22")):
        path.write_text(text)
        keys.append(key())
        assert keys[-1] != keys[-2]
    assert key() == key()


def test_much_more_than_code_in_the_folder_is_linked_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "project"
    source.mkdir()
    (source / "train.py").write_text("import os; print(os.path.getsize('data.bin'))")
    with open(source / "data.bin", "wb") as file:
        file.truncate(60 << 20)
    executor = LocalExecutor(tmp_path / "jobs", cpus=2)
    handle = executor.submit(request.script_spec("train.py", source, [], [], [], "local", None, None), "big")
    run_to_end(executor, handle)
    assert (handle.path / "logs.txt").read_text() == f"{60 << 20}\n"
    assert (handle.path / "code").is_symlink()


def test_a_job_that_cannot_be_started_fails_alone(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nowhere/python")
        handle = executor.submit(script_spec("print(1)"), "unstartable")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert "it could not be started: [Errno 2] No such file or directory: '/nowhere/python'" in str(state.reason)
    state, _ = run_to_end(executor, executor.submit(script_spec("print(1)"), "next"))
    assert state.status == "Completed"


def wheel(folder: Path, version: str) -> None:
    """A package of one module, as pip installs it."""
    info = f"vizslatestpkg-{version}.dist-info"
    with zipfile.ZipFile(folder / f"vizslatestpkg-{version}-py3-none-any.whl", "w") as file:
        file.writestr("vizslatestpkg.py", f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: vizslatestpkg\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def test_requirements_are_installed_once_for_the_same_content(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    wheel(tmp_path, "1.5")
    text = "import numpy, vizslatestpkg, vizsla; print('version', vizslatestpkg.version)"
    requirements = f"--no-index\n--find-links {tmp_path}\nvizslatestpkg==1.5\nnumpy\n"
    for turn in ("first", "second"):
        spec = script_spec(text)
        (spec.script or (tmp_path, ""))[0].joinpath("requirements.txt").write_text(requirements)
        handle = executor.submit(spec, turn)
        state, _ = run_to_end(executor, handle, 120)
        log = (handle.path / "logs.txt").read_text()
        assert state.status == "Completed", log
        assert "version 1.5" in log
        assert ("Successfully installed vizslatestpkg-1.5" in log) == (turn == "first")
    assert len(list((tmp_path / "cache" / "environments").glob("*/ready"))) == 1
    probe = subprocess.run([sys.executable, "-c", "import vizslatestpkg"], capture_output=True, check=False)
    assert probe.returncode, "nothing was installed into the environment of vizsla"


def test_requirements_that_cannot_be_installed(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    spec = script_spec("print('never')")
    (spec.script or (tmp_path, ""))[0].joinpath("requirements.txt").write_text("--no-index\nvizslatestpkg==9\n")
    handle = executor.submit(spec, "bad")
    state, _ = run_to_end(executor, handle, 120)
    assert state.status == "Failed"
    assert "requirements.txt could not be installed" in str(state.reason)
    assert "No matching distribution found for vizslatestpkg==9" in (handle.path / "output" / "failure").read_text()


def test_what_a_script_finds_around_it(executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "x.csv").write_text("1")
    text = "import json, os; print(json.dumps(dict(os.environ)))"
    spec = script_spec(text, {"batch-size": 8}, data={"train": data, "table": data / "x.csv"})
    handle = executor.submit(spec, "env")
    run_to_end(executor, handle)
    env = json.loads((handle.path / "logs.txt").read_text())
    job = str(handle.path)
    assert env["SM_CHANNEL_TRAIN"] == f"{job}/input/data/train"
    assert env["SM_CHANNEL_TABLE"] == f"{job}/input/data/table"
    assert json.loads(env["SM_CHANNELS"]) == ["table", "train"]
    assert (env["SM_MODEL_DIR"], env["SM_OUTPUT_DATA_DIR"]) == (f"{job}/model", f"{job}/output/data")
    assert (env["SM_NUM_CPUS"], env["SM_NUM_GPUS"], env["SM_CURRENT_HOST"]) == ("1", "0", "algo-1")
    assert json.loads(env["SM_HOSTS"]) == ["algo-1"]
    assert env["SM_HP_BATCH_SIZE"] == "8"
    assert json.loads(env["SM_USER_ARGS"]) == ["--batch-size", "8"]
    training = json.loads(env["SM_TRAINING_ENV"])
    assert training["hyperparameters"] == {"batch-size": 8}
    assert training["channel_input_dirs"]["train"] == env["SM_CHANNEL_TRAIN"]
    assert training["job_name"] == handle.name
    assert env["OMP_NUM_THREADS"] == "1"
    assert os.path.isfile(os.path.join(env["SM_CHANNEL_TABLE"], "x.csv"))
    assert json.loads((handle.path / "input/config/inputdataconfig.json").read_text())["train"]["TrainingInputMode"]


def test_jobs_of_one_cpu_run_side_by_side_and_others_wait(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "import time; print('up', flush=True); time.sleep(600)"
    handles = [executor.submit(script_spec(text), f"side-{i}") for i in range(3)]
    states = [JobDirectory(handle.path).state.status for handle in handles]
    assert states == ["InProgress", "InProgress", "Pending"]
    capacity = executor.capacity()
    assert (capacity.cpus, capacity.free_cpus, capacity.waiting) == (2, 0, 1)
    executor.stop(handles[0], grace=1)
    run_to_end(executor, handles[0])
    wait_for(lambda: executor.poll(handles) and JobDirectory(handles[2].path).state.status == "InProgress")
    for handle in handles[1:]:
        executor.stop(handle, grace=0)
