"""What a script finds around it: its folder, its channels, what it requires, its share of the machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from wheels import wheel

from tests.jobs.conftest import MakeSpec, run_to_end, source_of, wait_for
from vizsla.errors import JobError
from vizsla.jobs import overlay, source_code, spec_input
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.environment import _named, environment
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.handover import ENVIRONMENT


def test_the_folder_of_the_jobs_may_lie_within_the_code(tmp_path: Path) -> None:
    source = tmp_path / "project"
    (source / "package").mkdir(parents=True)
    (source / "package" / "part.py").write_text("value = 7")
    (source / "train.py").write_text("from package.part import value; print('value', value)")
    executor = LocalExecutor(source / "package" / "jobs", cpus=2)
    spec = spec_input.script_spec("train.py", source_dir=source)
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
    (source / "old-job" / ".run").mkdir()
    (source / "old-job" / ".run" / "lock").touch()
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        (source / "train.py").write_text("import runs.part, venv.part; print(runs.part.value, venv.part.value)")
        executor = LocalExecutor(tmp_path / "jobs", cpus=2)
        handle = executor.submit(spec_input.script_spec("train.py", source_dir=source), "names")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    assert (handle.path / "logs.txt").read_text() == "runs venv\n"
    assert sorted(p.name for p in (handle.path / "code").iterdir()) == ["runs", "train.py", "venv"]


def test_links_that_lead_out_of_the_folder_mean_the_same_in_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "project" / "src"
    source.mkdir(parents=True)
    (tmp_path / "project" / "photos.txt").write_text("photos")
    (source / "data.txt").symlink_to("../photos.txt")
    (source / "own.txt").symlink_to("train.py")
    (source / "train.py").write_text("import os; print(open('data.txt').read(), os.readlink('own.txt'))")
    executor = LocalExecutor(tmp_path / "jobs", cpus=2)
    handle = executor.submit(spec_input.script_spec("train.py", source_dir=source), "links")
    run_to_end(executor, handle)
    assert (handle.path / "logs.txt").read_text() == "photos train.py\n"


def test_a_shell_script_runs_in_the_shell_that_it_names(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """\
        #!/bin/bash
        set -o pipefail
        [[ -n $SM_MODEL_DIR ]] && python -c "import sys; print(sys.executable)"
    """
    handle = executor.submit(script_spec(text, program="train.sh"), "bash")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    assert Path((handle.path / "logs.txt").read_text().strip()) == overlay.program(handle.path / ENVIRONMENT)


def test_hyperparameters_that_the_toolkit_keeps_to_itself_and_those_it_spells_its_own_way(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = "import os, sys; print(sys.argv[1:], os.environ['SM_HP_BATCH-SIZE'], os.environ['SM_HP_BATCH_SIZE'])"
    values = {"_tuning_objective_metric": "loss", "batch-size": 8, "none": None, "some": {"b": 2, "a": 1}}
    handle = executor.submit(script_spec(text, values), "toolkit")
    run_to_end(executor, handle)
    said = (handle.path / "logs.txt").read_text().strip()
    assert said == "['--batch-size', '8', '--none', '', '--some', 'a=1,b=2'] 8 8"


def test_a_file_of_the_code_that_cannot_be_read(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("becomes another user, which root alone can")
    with tempfile.TemporaryDirectory() as name:
        code = Path(name, "code")
        (code / "sub").mkdir(parents=True)
        (code / "train.py").write_text("print(1)")
        (code / "secret.py").write_text("print(1)")
        for path in (Path(name), code):
            path.chmod(0o777)
        for locked, mode in ((code / "secret.py", 0o600), (code / "sub", 0o700)):
            locked.chmod(mode)
            os.seteuid(65534)
            try:
                with pytest.raises(JobError, match="The script's code cannot be read") as caught:
                    source_code.copy_code(code, Path(name, locked.name))
            finally:
                os.seteuid(0)
            assert caught.value.where == str(locked)
            assert "chmod" in str(caught.value.do)
            locked.chmod(0o755)


def test_a_linked_shell_script_that_was_taken_away_fails_in_words(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    spec = script_spec("exit 3", program="train.sh", name="gone")
    with open(source_of(spec) / "large.bin", "wb") as file:
        file.truncate(51 << 20)
    handle = executor.submit(spec, "x")
    assert (handle.path / "code").is_symlink()
    assert run_to_end(executor, handle)[0].reason == "it ended with exit code 3 and said nothing"
    (source_of(spec) / "train.sh").unlink()
    executor.resume(handle)
    state = run_to_end(executor, handle)[0]
    assert state.status == "Failed"
    assert "train.sh" in (state.reason or "")


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
    handle = executor.submit(spec_input.script_spec("train.py", source_dir=source), "big")
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


def test_requirements_are_installed_once_for_the_same_content(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    wheel(tmp_path, "1.5")
    text = "import numpy, vizslatestpkg, vizsla; print('version', vizslatestpkg.version)"
    requirements = f"--no-index\n--find-links {tmp_path}\nvizslatestpkg==1.5\nnumpy\n"
    for turn in ("first", "second"):
        spec = script_spec(text)
        (source_of(spec) / "requirements.txt").write_text(requirements)
        handle = executor.submit(spec, turn)
        state, _ = run_to_end(executor, handle, 120)
        log = (handle.path / "logs.txt").read_text()
        assert state.status == "Completed", log
        assert "version 1.5" in log
        assert ("Successfully installed vizslatestpkg-1.5" in log) == (turn == "first")
    assert len(list((tmp_path / "cache" / "environments").glob("*/ready"))) == 1
    probe = subprocess.run([sys.executable, "-c", "import vizslatestpkg"], capture_output=True, check=False)
    assert probe.returncode, "nothing was installed into the environment of vizsla"


def test_an_environment_sees_what_a_pth_file_brings_to_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As editable installs are, also that of Vizsla itself."""
    wheel(tmp_path, "1.5")
    base, editable = tmp_path / "base" / "site-packages", tmp_path / "it's editable"
    for folder in (base, editable):
        folder.mkdir(parents=True)
    (base / "editable.pth").write_text(f"{editable}\n")
    (editable / "vizslaeditable.py").write_text("")
    monkeypatch.syspath_prepend(str(base))
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"--no-index\n--find-links {tmp_path}\nvizslatestpkg==1.5\n")
    program = overlay.program(environment(requirements, tmp_path / "cache"))
    subprocess.run([program, "-c", "import vizslaeditable, vizslatestpkg, numpy"], check=True)


def test_pip_does_not_meet_the_code_but_means_its_folder(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    spec = script_spec("import vizslatestpkg; print('version', vizslatestpkg.version)")
    code = source_of(spec)
    (code / "queue.py").write_text("raise SystemExit(1)")
    wheel(code, "1.5")
    (name,) = [path.name for path in code.glob("*.whl")]
    (code / "requirements.txt").write_text(f"--no-index\n./{name}\n")
    handle = executor.submit(spec, "x")
    state, _ = run_to_end(executor, handle, 120)
    assert state.status == "Completed", (handle.path / "logs.txt").read_text()


def test_pip_that_says_nothing_still_has_a_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    pip = tmp_path / "site-packages" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(pip.parent))
    requirements.write_text("--no-index\nvizslatestpkg==9\n")
    for said, cause in (("", "pip ended with 1 and said nothing"), ("no room\n\n", "no room")):
        (pip / "__main__.py").write_text(f"print({said!r}, end='')\nraise SystemExit(1)")
        with pytest.raises(JobError) as caught:
            environment(requirements, tmp_path / "cache")
        assert caught.value.what.splitlines()[0] == f"requirements.txt could not be installed: {cause}"


def test_requirements_that_cannot_be_installed(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    spec = script_spec("print('never')")
    (source_of(spec) / "requirements.txt").write_text("--no-index\nvizslatestpkg==9\n")
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
