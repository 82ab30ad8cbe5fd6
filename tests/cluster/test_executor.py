"""Jobs on a real cluster: nodes that die, a controller that dies, and requests that cannot be met."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from vizsla import cluster
from vizsla.errors import JobError, UsageError
from vizsla.jobs.conformance.scripts import Scripts, run_to_end, says, stop_all, wait_for
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors import open_executor

EPOCHS = """
    import json, os, pathlib, time
    folder = pathlib.Path(os.environ["VIZSLA_JOB_DIR"], "checkpoints")
    done = max([int(p.stem) for p in folder.glob("*.txt")], default=0)
    print("begins after", done, flush=True)
    for epoch in range(done + 1, 6):
        print(json.dumps({"name": "epoch", "value": epoch}), flush=True)
        (folder / f"{epoch}.txt").write_text("done")
        while epoch == 3 and not (folder / "go").exists(): time.sleep(0.05)
"""
DEADLY = """
    import os, signal, time
    print("up", flush=True)
    pid = os.getpid()
    def stat(pid): return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    def name(pid): return open(f"/proc/{pid}/cmdline").read()
    while "raylet/raylet" not in name(pid).split("\\0")[0]: pid = int(stat(pid)[1])
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)
"""


@pytest.fixture
def script_spec(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def executor(tmp_path: Path, ray_cluster: Any) -> Iterator[Any]:
    made = open_executor("ray", tmp_path / "runs")
    yield made
    stop_all(made)


def test_a_job_whose_node_dies_goes_on_from_its_checkpoints_elsewhere(
    executor: Any, script_spec: Scripts, ray_cluster: Any
) -> None:
    node = ray_cluster.add(3)
    handle = executor.submit(script_spec(EPOCHS, instance="local-3cpu"), "moves")
    wait_for(lambda: executor.poll([handle]) and (handle.path / "checkpoints" / "3.txt").exists())
    other = ray_cluster.add(3)
    process = json.loads((handle.path / ".run" / "process.json").read_text())["group"]
    ray_cluster.kill(node)
    wait_for(lambda: not Path(f"/proc/{process}").exists())  # Ray ends what ran on the node
    (handle.path / "checkpoints" / "go").touch()
    try:
        state, events = run_to_end(executor, handle)
    finally:
        ray_cluster.kill(other)
    assert (state.status, state.attempts) == ("Completed", 1)
    assert [event.metric.value for event in events if hasattr(event, "metric")] == [1, 2, 3, 4, 5], "every epoch once"
    log = executor.logs(handle)[0]
    assert "begins after 3" in log
    assert "[vizsla: the job was lost with" in log
    assert "it goes on from its checkpoints on" in log
    assert "restart 1 of 3" in log


def test_a_job_that_takes_its_node_down_each_time_is_given_up(
    executor: Any, script_spec: Scripts, ray_cluster: Any
) -> None:
    spec = script_spec(DEADLY, instance="local-4cpu").model_copy(update={"retry_strategy": {"MaximumRetryAttempts": 1}})
    nodes = [ray_cluster.add(4), ray_cluster.add(4)]
    handle = executor.submit(spec, "deadly")
    with ray_cluster.reaping(nodes):
        state, _ = run_to_end(executor, handle)
    for node in nodes:
        ray_cluster.kill(node)
    assert state.status == "Failed"
    assert str(state.reason).startswith("its node was lost 2 times, and it is not started again by itself: ")
    assert f"`vizsla jobs resume {handle.name}` goes on from what was finished" in str(state.reason)
    assert "where a node ran out of memory, reserve some: an instance type such as local-2cpu-8gb" in str(state.reason)
    assert "restart 1 of 1" in executor.logs(handle)[0]


def test_the_commands_work_as_with_local_jobs(
    tmp_path: Path, script_spec: Scripts, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    script = tmp_path / "t.py"
    script.write_text(
        "import os; first = not os.path.exists('x'); open('x', 'w').close(); print(first); assert not first"
    )
    asked = ("train", "--script", script, "--executor", "ray", "--instance-type", "local-1cpu", "--name", "mine")
    failed = vizsla(*asked)
    assert failed.returncode == 1, failed.stderr
    (row,) = json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"]
    assert (row["name"], row["status"]) == ("mine", "Failed")
    shown = json.loads(vizsla("jobs", "show", "mine", "--json").stdout)
    assert shown["executor"] == "ray"
    again = vizsla("jobs", "resume", "mine")
    assert (again.returncode, "False\n" in again.stderr) == (0, True), again.stderr
    assert vizsla("jobs", "logs", "-f", "mine").stdout.splitlines()[-1] == "False"
    submitter = open_executor("ray", tmp_path / "runs")
    running = submitter.submit(script_spec("import time; time.sleep(600)"), "long")
    submitter.close()
    stopped = vizsla("jobs", "stop", running.name, "--grace", "1")
    assert f"{running.name} is Stopped: stopped by `vizsla jobs stop`" in stopped.stderr
    assert vizsla("jobs", "rm", "mine", running.name).returncode == 0


def test_a_job_outlives_the_process_that_submitted_it(executor: Any, script_spec: Scripts, tmp_path: Path) -> None:
    code = (
        "import json, pathlib, sys\n"
        "from vizsla.jobs.executors import open_executor\n"
        "from vizsla.jobs.spec import TrainingJobSpec\n"
        "executor = open_executor('ray', pathlib.Path(sys.argv[1]))\n"
        "print(executor.submit(TrainingJobSpec.read(json.loads(sys.argv[2])), 'x').name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    go = tmp_path / "go"
    text = f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    asked = [sys.executable, "-c", code, str(executor.home), json.dumps(script_spec(text).to_dict())]
    controller = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    name = controller.stdout.readline().strip()
    handle = Handle(name, executor.home / name)
    wait_for(lambda: says(executor, handle, "up"))
    controller.kill()
    controller.wait()
    time.sleep(1)
    assert executor.state(handle).status == "InProgress"
    executor.resume(handle)
    go.touch()
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.attempts) == ("Completed", 1), "the same attempt"
    assert executor.logs(handle)[0].count("up\n") == 1


@pytest.mark.slow
def test_a_job_outlives_another_version_of_vizsla(
    executor: Any, script_spec: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed where somebody looks at it, while it runs."""
    handle = executor.submit(script_spec("import time\nprint('up', flush=True)\ntime.sleep(600)"), "long")
    wait_for(lambda: executor.poll([handle]) and says(executor, handle, "up"))
    executor.close()
    for module in ("ray_keeper", "executors.ray"):
        monkeypatch.setattr(f"vizsla.jobs.{module}.VERSION", "99.0")
    later = open_executor("ray", executor.home)
    assert later.state(handle).status == "InProgress"
    later.resume(handle)
    time.sleep(1)
    later.poll([handle])
    assert later.state(handle).status == "InProgress"
    later.stop(handle, grace=0)
    assert run_to_end(later, handle)[0].status == "Stopped"


@pytest.mark.slow
def test_a_search_goes_on_when_the_only_node_that_holds_its_trials_dies(
    executor: Any, script_spec: Scripts, ray_cluster: Any, tmp_path: Path
) -> None:
    """It asks for the room there is at each step; the node may come back."""
    node, go = ray_cluster.add(4), tmp_path / "go"
    text = f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    handle = executor.submit(script_spec(text, instance="local-4cpu"), "trial")
    wait_for(lambda: executor.poll([handle]) and says(executor, handle, "up"))
    assert executor.capacity().machine == (4, 0)
    ray_cluster.kill(node)
    wait_for(lambda: executor.capacity().cpus == 3)
    assert executor.capacity().machine == (4, 0)
    assert executor.capacity().free_cpus == 0
    go.touch()
    node = ray_cluster.add(4)
    try:
        assert run_to_end(executor, handle)[0].status == "Completed"
    finally:
        ray_cluster.kill(node)


def test_a_process_that_is_killed_on_a_node_takes_its_job_with_it(executor: Any, script_spec: Scripts) -> None:
    text = "import os, time\nprint(os.getpid(), flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)"
    handle = executor.submit(script_spec(text), "killed")
    wait_for(lambda: executor.poll([handle]) and executor.logs(handle)[0].endswith("\n"))
    first = int(executor.logs(handle)[0])
    (start,) = [json.loads(line) for line in (handle.path / ".run" / "ray-starts.jsonl").read_text().splitlines()]
    os.kill(start["pid"], signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{first}").exists())
    wait_for(lambda: executor.poll([handle]) and "restart 1 of 3" in executor.logs(handle)[0])
    (handle.path / "code" / "go").touch()
    assert run_to_end(executor, handle)[0].status == "Completed"


def test_no_node_that_is_large_enough_is_said_at_once(executor: Any, script_spec: Scripts) -> None:
    for instance, words in (("local-9cpu", "2 CPUs"), ("local-1cpu-1gpu", "2 CPUs"), ("local-1cpu-9999gb", "GB")):
        with pytest.raises(JobError, match=f"No node of the cluster is large enough for '{instance}'") as caught:
            executor.submit(script_spec("print(1)", instance=instance), "big")
        assert words in str(caught.value.allowed)
        assert caught.value.do == "ask for less, or add a larger node"
    assert not executor.home.exists()


def test_memory_is_asked_for(executor: Any, script_spec: Scripts) -> None:
    handle = executor.submit(script_spec("print('ran')", instance="local-1cpu-1gb"), "small")
    assert run_to_end(executor, handle)[0].status == "Completed"


def test_no_cluster_at_the_address(tmp_path: Path, script_spec: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom vizsla.jobs.executors import open_executor\n"
        "from vizsla.errors import VizslaError\n"
        "try:\n    open_executor(sys.argv[1], Path('x')).capacity()\nexcept VizslaError as error:\n    print(error)\n"
    )
    for name, address in (("ray://127.0.0.1:9", "ray://127.0.0.1:9"), ("ray", "127.0.0.1:9")):
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
        said = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=60).stdout
        assert f"There is no Ray cluster at {address}: " in said
        assert "do: start one by `ray start --head`, or correct the address" in said
    with pytest.raises(UsageError, match="There can be no Ray cluster at 'ray://nowhere'"):
        open_executor("ray://nowhere", tmp_path)
    with pytest.raises(UsageError, match="The executor local is at no address"):
        open_executor("local://x:1", tmp_path)


@pytest.mark.parametrize("through", ["node", "client"])
@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ("ray.__version__ = '1.2.3'", "; here it is Ray 1.2.3 on Python 3."),
        ("utils.compute_version_info = lambda: (ray.__version__, '3.9.7')", " on Python 3.9.7."),
    ],
    ids=["Ray", "Python"],
)
def test_another_version(ray_cluster: Any, tmp_path: Path, through: str, change: str, ours: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import ray\nimport ray._private.utils as utils\n{change}\n")
    address = ray_cluster.address if through == "node" else f"ray://127.0.0.1:{ray_cluster.client_port}"
    code = (
        "import sys\nfrom vizsla.cluster import connect\nfrom vizsla.errors import VizslaError\n"
        "try:\n    connect(sys.argv[1])\nexcept VizslaError as error:\n    print(error)\n"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    said = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    ).stdout
    assert f"The cluster at {address} runs Ray 2." in said
    assert ours in said
    assert "do: install the versions of the cluster here" in said


def test_a_cluster_that_wants_a_token(ray_cluster: Any, tmp_path: Path) -> None:
    code = (
        "from vizsla.cluster import connect\nfrom vizsla.errors import VizslaError\n"
        "try:\n    connect()\nexcept VizslaError as error:\n    print(error)\n"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout
    assert f"There is no way to the Ray cluster at {ray_cluster.address}: " in said
    assert "do: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, which whoever runs the cluster knows" in said


def test_a_host_that_is_silent_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for each job of a cluster that was shut down, in a list of them."""
    monkeypatch.setattr(cluster, "_KNOCK_SECONDS", 1.0)
    with contextlib.ExitStack() as sockets:
        silent = sockets.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):  # nobody takes them: there is no room for another
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(JobError, match=r"There is no Ray cluster at .*: timed out"):
                cluster._knock(f"127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 2


def test_a_cluster_without_a_node_for_jobs(tmp_path: Path) -> None:
    """A head alone, whose workers are not up yet."""
    (tmp_path / "data").mkdir()
    (tmp_path / "hpo.py").write_text("print('loss=1')")
    code = (
        "import sys, ray\nfrom vizsla.cli.main import main\n"
        "ray.init(address='local', num_cpus=0, include_dashboard=False, log_to_driver=False)\nmain()\n"
    )
    asked = ["tune", f"training={tmp_path / 'data'}", "lr=0.1,0.2", "--script", str(tmp_path / "hpo.py")]
    asked += ["--metric", "loss=loss=(.*)", "--minimize", "--executor", "ray"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    assert "No node of the Ray cluster has a CPU for work." in done.stderr
    assert "do: add a node (`ray start --address=HOST:6379` on it), or wait until one is up" in done.stderr


def test_a_job_has_the_gpus_that_ray_gives_it(executor: Any, script_spec: Scripts, ray_cluster: Any) -> None:
    node = ray_cluster.cluster.add_node(num_cpus=3, num_gpus=3, object_store_memory=100 << 20)
    text = "import os\nprint(f\"{os.environ['CUDA_VISIBLE_DEVICES']!r} {os.environ['SM_NUM_GPUS']}\")"
    logs = []
    for instance in ("local-3cpu-2gpu", "local-3cpu"):
        handle = executor.submit(script_spec(text, instance=instance), "gpus")
        state, _ = run_to_end(executor, handle)
        assert state.status == "Completed", state.reason
        logs.append(executor.logs(handle)[0].split())
    ray_cluster.kill(node)
    assert logs[0][0] in ("'0,1'", "'0,2'", "'1,2'")
    assert logs[0][1] == "2"
    assert logs[1] == ["''", "0"]


@pytest.fixture
def apart(ray_cluster: Any, tmp_path: Path) -> Iterator[str]:
    """The size of a node that sees another folder of the jobs."""
    with ray_cluster.apart(5, tmp_path / "runs", tmp_path / "node.txt"):
        yield "local-5cpu"


def test_a_home_that_nodes_do_not_share(executor: Any, script_spec: Scripts, apart: str) -> None:
    handle = executor.submit(script_spec("print(1)", instance=apart), "unseen")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert "The folder of the jobs is not shared with node" in str(state.reason)
    assert (
        "set VIZSLA_HOME to a folder that all nodes have at the same path"
        in handle.path.joinpath("output", "failure").read_text()
    )


def test_data_that_a_node_does_not_see(executor: Any, script_spec: Scripts, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    spec = script_spec("print(1)", data={"training": folder}, instance="local")
    first = executor.submit(script_spec("import time; time.sleep(600)", instance="local"), "first")
    second = executor.submit(spec, "second")
    folder.rmdir()
    executor.stop(first, grace=0)
    state, _ = run_to_end(executor, second)
    assert state.status == "Failed"
    assert "does not see the data of channel 'training'" in str(state.reason)


def test_a_search_runs_its_trials_over_the_nodes(
    tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    script = tmp_path / "hpo.py"
    script.write_text(
        "import argparse, os, time\np = argparse.ArgumentParser(); p.add_argument('--lr', type=float)\n"
        "lr = p.parse_args().lr\n"
        "for epoch in range(4):\n    print(f'loss={abs(lr - 0.3) / (epoch + 1)}', flush=True); time.sleep(0.1)\n"
    )
    (tmp_path / "data").mkdir()
    said = vizsla(
        *("tune", f"training={tmp_path / 'data'}", "lr=0.1,0.2,0.3,0.4,0.5,0.6", "--script", script),
        *("--name", "search"),
        *("--metric", r"loss=loss=([\d.e-]+)", "--minimize", "--strategy", "grid", "--executor", "ray"),
        *("--trials", 6, "--json"),
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1])["tuning"]["BestHyperParameters"]["lr"] == 0.3
    trials = [JobDirectory.open(path.parent) for path in (tmp_path / "runs").glob("search-*/job.json")]
    assert {trial.executor for trial in trials} == {"ray"}
    assert len(trials) == 6
    begun = sorted((trial.state.started, trial.state.ended) for trial in trials)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(begun)), "side by side"
