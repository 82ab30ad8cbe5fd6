"""``vizsla train --script`` and ``vizsla jobs`` as a person uses them: real processes, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import vizsla

from tests.jobs.conftest import wait_for

SCRIPT = """
import argparse, os, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--sleep", type=float, default=0)
args = parser.parse_args()
print("Testing Loss:", args.lr, flush=True)
done = os.path.join(os.environ["VIZSLA_JOB_DIR"], "checkpoints", "done")
if not os.path.exists(done):
    open(done, "w").close()
    time.sleep(args.sleep)
open(os.path.join(os.environ["SM_MODEL_DIR"], "model.pth"), "w").write("weights")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script of a user."""
    path = tmp_path / "hpo.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_from_start_to_removal(script: Path, tmp_path: Path) -> None:
    metric = "average test loss=Testing Loss: ([0-9.]+)"
    done = vizsla("train", "--script", str(script), "--hp", "lr=0.25", "--metric", metric, "--name", "mine", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["name"], answer["status"], answer["metrics"]) == ("mine", "Completed", {"average test loss": 0.25})
    assert Path(answer["archive"]).is_file()
    assert "Testing Loss: 0.25" in done.stderr

    again = vizsla("train", "--script", str(script), "--name", "mine")
    assert again.returncode == 1
    assert "There is a job named 'mine' already" in again.stderr

    (listed,) = json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"]
    assert (listed["name"], listed["kind"], listed["status"]) == ("mine", "train", "Completed")
    script.write_text(f"raise ValueError({'why ' * 60!r})")
    assert vizsla("train", "--script", str(script), "--name", "a-name-that-is-rather-long").returncode == 1
    lines = vizsla("jobs", "list").stdout.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["mine", "a-name-that-is-rather-long"]
    assert "Failed" in lines[1]
    assert "ValueError: why" in lines[1]
    assert vizsla("jobs", "rm", "a-name-that-is-rather-long").returncode == 0
    assert f"folder                   {tmp_path / 'runs' / 'mine'}" in vizsla("jobs", "show", "mine").stdout
    shown = json.loads(vizsla("jobs", "show", "mine", "--json").stdout)
    assert shown["request"]["HyperParameters"]["lr"] == "0.25"
    assert shown["metrics"]["average test loss"]["value"] == 0.25
    assert vizsla("jobs", "logs", "mine").stdout == "Testing Loss: 0.25\n"
    stopped = vizsla("jobs", "stop", "mine")
    assert (stopped.returncode, "is Completed already" in stopped.stderr) == (1, True)
    line = json.loads(vizsla("jobs", "logs", "mine", "--json").stdout)
    assert line == {"name": "mine", "line": "Testing Loss: 0.25"}
    both = vizsla("jobs", "rm", "mine", "nobody's")
    assert (both.returncode, 'There is no job "nobody\'s"' in both.stderr) == (1, True)
    failure = tmp_path / "runs" / "mine" / "output" / "failure"
    failure.mkdir()  # by a script
    assert json.loads(vizsla("jobs", "show", "mine", "--json").stdout)["failure"] is None
    (tmp_path / "runs" / "link").symlink_to("mine")
    linked = vizsla("jobs", "rm", "link", "mine")
    assert (linked.returncode, "'link' is a link to a job" in linked.stderr) == (1, True)
    assert json.loads(vizsla("jobs", "rm", "mine", "mine", "--json").stdout) == {"removed": ["mine"]}
    missing = vizsla("jobs", "show", "mine")
    assert missing.returncode == 1
    assert "There is no job 'mine'" in missing.stderr
    assert "vizsla jobs list" in missing.stderr


def start(script: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A job that sleeps, and its controller."""
    words = ["train", "--script", str(script), "--hp", "lr=1,sleep=600", "--name", "long"]
    process = subprocess.Popen([sys.executable, "-m", "vizsla", *words], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "runs" / "long" / "checkpoints" / "done").exists())
    return process


def test_stop_from_another_terminal_and_resume(script: Path, tmp_path: Path) -> None:
    assert vizsla("train", "--script", str(script), "--hp", "lr=1", "--name", "done").returncode == 0
    process = start(script, tmp_path)
    refused = vizsla("jobs", "rm", "done", "long")
    assert refused.returncode == 1
    assert (tmp_path / "runs" / "done").is_dir(), "none is removed where one of the names is wrong"
    assert "stop it first: `vizsla jobs stop long`" in refused.stderr
    stopped = vizsla("jobs", "stop", "long", "--json")
    assert json.loads(stopped.stdout)["status"] == "Stopped", stopped.stderr
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert "long is Stopped: stopped by `vizsla jobs stop`" in process.stderr.read()
    resumed = vizsla("jobs", "resume", "long", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["status"] == "Completed"


@pytest.mark.parametrize("controlled", [True, False])
def test_a_job_that_takes_its_time_to_stop_is_stopping(script: Path, tmp_path: Path, controlled: bool) -> None:
    script.write_text("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SCRIPT)
    process = start(script, tmp_path)
    if not controlled:
        process.kill()
        process.wait()
    stop = subprocess.Popen([sys.executable, "-m", "vizsla", "jobs", "stop", "long", "--grace", "8"])
    state = tmp_path / "runs" / "long" / "state.json"
    wait_for(lambda: json.loads(state.read_text())["status"] == "Stopping")
    assert json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"][0]["status"] == "Stopping"
    assert vizsla("jobs", "stop", "long", "--grace", "0").returncode == 0  # now without patience
    assert stop.wait(30) == 0
    assert json.loads(state.read_text())["status"] == "Stopped"
    process.wait(30)


def test_ctrl_c_stops_the_job(script: Path, tmp_path: Path) -> None:
    process = start(script, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    state = json.loads((tmp_path / "runs" / "long" / "state.json").read_text())
    assert state["status"] == "Stopped"
    assert state["reason"].startswith("interrupted from the keyboard")


def test_a_killed_controller_and_resume_takes_the_job_over(script: Path, tmp_path: Path) -> None:
    process = start(script, tmp_path)
    process.kill()
    process.wait()
    assert json.loads(vizsla("jobs", "show", "long", "--json").stdout)["state"]["status"] == "InProgress"
    running = json.loads((tmp_path / "runs" / "long" / ".run" / "process.json").read_text())
    follower = subprocess.Popen([sys.executable, "-m", "vizsla", "jobs", "logs", "-f", "long"], stdout=subprocess.PIPE)
    os.killpg(running["group"], signal.SIGKILL)
    assert follower.communicate(timeout=30)[0] == b"Testing Loss: 1.0\n"
    state = json.loads(vizsla("jobs", "show", "long", "--json").stdout)["state"]
    assert (state["status"], state["exit_code"]) == ("Failed", -9)
    assert vizsla("jobs", "resume", "long").returncode == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Nothing to train"),
        (["photos", "--script", "x.py"], "More than one thing to train: DATA 'photos' and --script 'x.py'"),
        (["hpo.py"], "'hpo.py' is a script, and DATA are pictures."),
        (["--script", "hpo.py", "--hp", "--lr=0.1"], "The name of hyperparameter '--lr' begins with a hyphen"),
        (["--script", "nowhere.py"], "There is no script 'nowhere.py'"),
        (["--request", "nowhere.json"], "The request cannot be read"),
        (["--script", "hpo.py", "--instance-type", "local-99cpu"], "is more than this machine has"),
        (["--script", "hpo.py", "--tracking-uri", "htp://x"], "Jobs cannot be recorded at 'htp://x'"),
        (["photos", "--metric", "a=(b)"], "--metric would have no effect here"),
        (["photos", "--source-dir", "src", "--data", "x"], "--source-dir, --data would have no effect here"),
        (["--request", "r.json", "--hp", "lr=1"], "--hyperparameters would have no effect here"),
        (["--request", "r.json", "--minutes", "5"], "--minutes would have no effect here"),
        (["--request", "r.json", "--instance-type", "local"], "--instance-type would have no effect here"),
    ],
)
def test_what_cannot_be_meant(
    script: Path, tmp_path: Path, words: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = vizsla("train", *words)
    assert done.returncode in (1, 2)
    assert text in done.stderr
    assert "Traceback" not in done.stderr


LOUD = """
import os, sys
mark = os.path.join(os.environ["VIZSLA_JOB_DIR"], "checkpoints", "mark")
turn = "second" if os.path.exists(mark) else "first"
open(mark, "w").close()
sys.stdout.write("".join(f"{turn} attempt, line {i:07}" + "." * 70 + "\\n" for i in range(60_000)))
for i in range(60_000): print('{"name": "i", "value": %d}' % i)
print(f"the end of the {turn} attempt")
sys.exit(turn == "first")
"""


def test_the_end_of_a_long_log_is_printed_and_a_resume_prints_its_own_part(tmp_path: Path) -> None:
    path = tmp_path / "loud.py"
    path.write_text(LOUD)
    first = vizsla("train", "--script", str(path), "--name", "loud", "--json")
    assert first.returncode == 1
    assert first.stderr.count("first attempt, line ") == 60_000
    assert "the end of the first attempt\n" in first.stderr
    assert json.loads(first.stdout)["metrics"] == {"i": 59_999}
    second = vizsla("jobs", "resume", "loud", "--json")
    assert second.returncode == 0
    assert second.stderr.count("second attempt, line ") == 60_000
    assert "the end of the second attempt\n" in second.stderr
    assert "first attempt" not in second.stderr


def test_a_state_that_no_job_has() -> None:
    done = vizsla("jobs", "list", "--status", "Borked")
    assert done.returncode == 2
    assert "There is no state 'Borked'" in done.stderr
    assert "InProgress" in done.stderr


def test_a_document_from_a_file(script: Path, tmp_path: Path) -> None:
    document = {
        "TrainingJobName": "from-aws",
        "AlgorithmSpecification": {"TrainingImage": "pytorch", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::1:role/x",
        "HyperParameters": {
            "lr": "0.5",
            "sagemaker_program": '"hpo.py"',
            "sagemaker_submit_directory": json.dumps(str(script.parent)),
        },
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    }
    path = tmp_path / "request.json"
    path.write_text(json.dumps(document))
    done = vizsla("train", "--request", str(path), "--json")
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "runs" / "from-aws" / "job.json").read_text())["document"]
    assert {name: kept[name] for name in document} == document
