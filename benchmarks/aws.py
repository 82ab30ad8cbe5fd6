"""What the AWS door costs: ``fit`` and ``deploy`` of SDK version 2, and a hundred clients that poll.

``python -m benchmarks.aws`` needs an environment with ``sagemaker<3`` (VIZSLA_SAGEMAKER2_PYTHON). Uploads are measured
by ``benchmarks.s3_door``.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import spread, table
from vizsla.aws import client_environment, server

ROUNDS = 3
CLIENTS, POLL_SECONDS, LOAD_SECONDS = 100, 5.0, 40.0
SCRIPT = """
import json, sys, time
import sagemaker
from sagemaker.pytorch import PyTorch
import sagemaker.session as module

folder, rounds = sys.argv[1], int(sys.argv[2])
session = sagemaker.Session()
session.default_bucket()
role = sagemaker.get_execution_role()
rows = []
for _ in range(rounds):
    estimator = PyTorch(
        entry_point="train.py", source_dir=folder, role=role, framework_version="1.8", py_version="py36",
        instance_count=1, instance_type="ml.m5.large", sagemaker_session=session,
    )
    began, skipped = time.monotonic(), module.time._skipped
    estimator.fit(wait=True)
    fit, fit_skipped = time.monotonic() - began, module.time._skipped - skipped
    began, skipped = time.monotonic(), module.time._skipped
    predictor = estimator.deploy(1, "ml.m5.large")
    rows.append([fit, fit_skipped, time.monotonic() - began, module.time._skipped - skipped])
    predictor.delete_endpoint()
print("\\n" + json.dumps(rows))
"""
TRAIN = "def model_fn(folder):\n    return None\n\ndef predict_fn(data, model):\n    return [1]\n"
NOTHING = "import os\nopen(os.path.join(os.environ['SM_MODEL_DIR'], 'model.txt'), 'w').close()\n"


def sdk(address_environment: dict[str, str], folder: Path) -> list[list[float]]:
    """Seconds of fit and of deploy, and of the sleeps that each left out, for each round."""
    code = folder / "code"
    code.mkdir()
    (code / "train.py").write_text(TRAIN + "\nif __name__ == '__main__':\n    " + NOTHING.replace("\n", "\n    "))
    python = os.environ.get("VIZSLA_SAGEMAKER2_PYTHON") or str(Path.home() / ".cache/vizsla/sagemaker2/bin/python")
    done = subprocess.run(
        [python, "-c", SCRIPT, str(code), str(ROUNDS)],
        env=address_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    rows: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def polled(address: str, job: str) -> float:
    """Share of a core that the server, this process, takes while clients poll."""
    over = threading.Event()
    body = json.dumps({"TrainingJobName": job})
    headers = {"X-Amz-Target": "SageMaker.DescribeTrainingJob", "Content-Type": "application/x-amz-json-1.1"}

    def poll(at: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        over.wait(at * POLL_SECONDS / CLIENTS)
        while not over.is_set():
            connection.request("POST", "/", body, headers)
            connection.getresponse().read()
            over.wait(POLL_SECONDS)

    before = cpu()
    pid = os.fork()
    if pid == 0:  # the clients' own work is not the server's
        threads = [threading.Thread(target=poll, args=(at,), daemon=True) for at in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(LOAD_SECONDS)
        os._exit(0)
    os.waitpid(pid, 0)
    return (cpu() - before) / LOAD_SECONDS


def cpu() -> float:
    """Seconds of processor time that this process has taken."""
    times = os.times()
    return times.user + times.system


def main() -> None:
    """Print the tables."""
    os.environ["VIZSLA_TRACKING"] = "off"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with server.serving(folder / "runs", port=0) as ctx:
            rows = sdk(client_environment.environment(ctx, inherited), folder)
            fit, fit_left, deploy, deploy_left = (list(column) for column in zip(*rows, strict=True))
            table(
                ["SDK version 2", "seconds, median (least to most)", "sleeps of the SDK left out, seconds"],
                [["fit of a script that does nothing", spread(fit), spread(fit_left)],
                 ["deploy to InService", spread(deploy), spread(deploy_left)]],
            )  # fmt: skip
            job = next(path.name for path in ctx.home.iterdir() if (path / "job.json").is_file())
            share = polled(ctx.address, job)
            table(["clients that poll every 5 s", "share of a core"], [[CLIENTS, f"{100 * share:.1f} %"]])


if __name__ == "__main__":
    main()
