"""Jobs within this process: breakpoints work, and nothing of a job stays behind in the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import commandline
import pytest

import vizsla
from tests.jobs.conftest import MakeSpec, run_to_end, source_of, wait_for
from vizsla.errors import JobError, UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.debug import DebugExecutor
from vizsla.jobs.spec import AlgorithmSpecification, TrainingJobSpec


@pytest.fixture
def debug(tmp_path: Path) -> DebugExecutor:
    """An executor within this process."""
    return DebugExecutor(tmp_path / "runs")


def command(script: Path, *words: str) -> list[str]:
    """``vizsla train --script`` within its own process."""
    return [sys.executable, "-m", "vizsla", "train", "--script", str(script), "--executor", "debug", *words]


def test_a_breakpoint_stops_the_script_and_a_person_may_look_around(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys\nrate = float(sys.argv[2])\nbreakpoint()\nprint('rate', rate)\n")
    done = subprocess.run(
        command(script, "--hp", "lr=0.5", "--name", "mine"),
        input="p rate * 3\nrate = 2\ncontinue\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1.5" in done.stdout
    assert done.stdout.count("rate 2") == 1, "what is on the terminal is not told again"
    assert "mine is Completed" in done.stderr
    assert "rate 2" in (tmp_path / "runs" / "mine" / "logs.txt").read_text()
    shown = commandline.vizsla("jobs", "show", "mine")
    assert "executor                 debug" in shown.stdout


def test_ctrl_c_interrupts_the_script_and_resume_goes_on_here(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os, time\nif not os.path.exists('x'):\n    open('x', 'w')\n    time.sleep(600)\nprint('end')"
    )
    process = subprocess.Popen(command(script, "--name", "mine"), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "runs" / "mine" / "code" / "x").exists())
    process.send_signal(signal.SIGINT)
    words = process.communicate(timeout=30)[1]
    assert "mine is Stopped: interrupted from the keyboard" in words
    resumed = subprocess.run([sys.executable, "-m", "vizsla", "jobs", "resume", "mine"], capture_output=True, text=True)
    assert (resumed.returncode, resumed.stdout.splitlines()[0]) == (0, "end")


def test_from_python_it_runs_in_this_very_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text("import os, vizsla\nvizsla.log_metric('pid', os.getpid())\nprint('hello')")
    result = vizsla.train(script, executor="debug")
    assert result.metrics == {"pid": os.getpid()}
    assert capsys.readouterr().out == "hello\n"
    heard: list[str] = []
    vizsla.train(script, executor="debug", on_log=heard.append)
    assert heard == ["hello\n"]
    with pytest.raises(UsageError, match="There is no executor 'rey'") as caught:
        vizsla.train(script, executor="rey")
    assert caught.value.where == "parameter executor"


def test_nothing_of_a_job_stays_in_the_process(debug: DebugExecutor, script_spec: MakeSpec) -> None:
    before = os.getcwd(), dict(os.environ), list(sys.argv), list(sys.path), sys.stdout, signal.getsignal(15)
    for word in ("one", "two"):
        spec = script_spec(
            """
            import logging, settings_of_job
            print(settings_of_job.WORD)
            logging.basicConfig(level=logging.INFO)
            logging.info("said by %s", settings_of_job.WORD)
            raise ValueError("here")
            """
        )
        (source_of(spec) / "settings_of_job.py").write_text(f"WORD = {word!r}")
        handle = debug.submit(spec, word)
        assert run_to_end(debug, handle)[0].status == "Failed"
        log = debug.logs(handle)[0]
        assert log.splitlines()[0] == word
        assert log.splitlines()[1] == f"INFO:root:said by {word}"
        first = next(line for line in log.splitlines() if line.startswith("  File"))
        assert str(source_of(spec) / "train.py") in first, "the traceback begins in the script, where it lies"
    assert before == (os.getcwd(), dict(os.environ), sys.argv, sys.path, sys.stdout, signal.getsignal(15))
    assert "settings_of_job" not in sys.modules


def test_a_module_runs_as_the_local_executor_runs_it(debug: DebugExecutor) -> None:
    algorithm = AlgorithmSpecification(
        container_entrypoint=["python", "-m", "json.tool"], container_arguments=["--help"]
    )
    handle = debug.submit(TrainingJobSpec(algorithm_specification=algorithm), "module")
    assert run_to_end(debug, handle)[0].status == "Completed"
    assert "json.tool" in debug.logs(handle)[0]


@pytest.mark.parametrize("entrypoint", [None, ["bash", "-c", "true"], ["python", "-c", "1"]])
def test_what_is_not_python_is_refused(
    debug: DebugExecutor, script_spec: MakeSpec, entrypoint: list[str] | None
) -> None:
    spec = script_spec("echo", program="train.sh")
    if entrypoint is not None:
        spec = TrainingJobSpec(algorithm_specification=AlgorithmSpecification(container_entrypoint=entrypoint))
    with pytest.raises(JobError, match="The debug executor runs Python only") as caught:
        debug.submit(spec, "x")
    assert caught.value.allowed == "a .py script, or python -m MODULE"
    assert not debug.home.exists()


def test_a_model_is_packed_and_requirements_are_not_installed(debug: DebugExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("import os; open(os.path.join(os.environ['SM_MODEL_DIR'], 'w'), 'w').write('w')")
    (source_of(spec) / "requirements.txt").write_text("no-such-package-anywhere")
    handle = debug.submit(spec, "packs")
    assert run_to_end(debug, handle)[0].reason is None
    assert (JobDirectory(handle.path).output / "model.tar.gz").is_file()
    assert "requirements.txt is not installed" in debug.logs(handle)[0]
