"""A service that speaks as SageMaker and CloudWatch Logs do, and runs the jobs it is sent, their data in a bucket."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.session import get_session
from botocore.validate import ParamValidator


class SageMaker:
    """The jobs, by name. ``requests`` are all that came, operation and parameters, each found valid by the service's
    own model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.refusal: tuple[str, str] | None = None
        self._model = get_session().get_service_model("sagemaker")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
        if self.refusal is not None:
            raise _Refusal(*self.refusal)
        if operation in ("DescribeLogStreams", "GetLogEvents"):
            return self._log(operation, fields)
        report = ParamValidator().validate(fields, self._model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
        self.requests.append((operation, fields))
        kind = "Transform" if "Transform" in operation else "Training"
        name = fields.get(f"{kind}JobName", "")
        if operation.startswith("Create") and operation != "CreateModel":
            if name in self.jobs:
                raise _Refusal("ResourceInUse", f"{name} exists")
            self.jobs[name] = {**fields, f"{kind}JobStatus": "InProgress"}
            threading.Thread(target=self._run, args=(name,), daemon=True).start()
        elif operation.startswith(("Describe", "Stop")):
            if name not in self.jobs:
                raise _Refusal("ValidationException", "Requested resource not found.")
            if operation.startswith("Stop"):
                if self.jobs[name][f"{kind}JobStatus"] != "InProgress":
                    raise _Refusal("ValidationException", "it is over")
                self.jobs[name][f"{kind}JobStatus"] = "Stopping"
                self.processes[name].terminate()
                return {}
            return {k: v for k, v in self.jobs[name].items() if k != "Environment"}
        return {"TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}"}

    def _run(self, name: str) -> None:
        job = self.jobs[name]
        if "TrainingJobName" not in job:
            self._transform(name)
            return
        place = self.folder / name
        for folder in ("code", "model", "input"):
            (place / folder).mkdir(parents=True)
        if "sagemaker_program" not in job.get("HyperParameters", {}):
            self._run_container(name, place)
            return
        hyper = {key: json.loads(value) for key, value in job["HyperParameters"].items()}
        with tarfile.open(fileobj=io.BytesIO(self._get(hyper["sagemaker_submit_directory"]))) as archive:
            archive.extractall(place / "code", filter="data")
        environment = os.environ | {"SM_MODEL_DIR": str(place / "model"), "PYTHONUNBUFFERED": "1"}
        for channel in job.get("InputDataConfig", ()):
            folder = place / "input" / channel["ChannelName"]
            self._fetch(channel["DataSource"]["S3DataSource"]["S3Uri"], folder)
            environment[f"SM_CHANNEL_{channel['ChannelName'].upper()}"] = str(folder)
        own = {key: value for key, value in hyper.items() if not key.startswith("sagemaker_")}
        words = [word for key, value in sorted(own.items()) for word in (f"--{key}", str(value))]
        process = subprocess.Popen(
            [sys.executable, hyper["sagemaker_program"], *words],
            cwd=place / "code",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._follow(name, process, place)

    def _run_container(self, name: str, place: Path) -> None:
        """As the image of the built-in training does, its /opt/ml in ``place``."""
        job = self.jobs[name]
        assert "ContainerEntrypoint" not in job["AlgorithmSpecification"]
        (place / "input" / "config").mkdir()
        (place / "input" / "config" / "hyperparameters.json").write_text(json.dumps(job.get("HyperParameters", {})))
        for channel in job["InputDataConfig"]:
            folder = place / "input" / "data" / channel["ChannelName"]
            self._fetch(channel["DataSource"]["S3DataSource"]["S3Uri"], folder)
        code = "import sys; from pathlib import Path; from vizsla.workflow.container import train\n"
        code += "sys.exit(train(Path(sys.argv[1])))"
        asked = [sys.executable, "-c", code, str(place)]
        self._follow(name, subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), place)

    def _follow(self, name: str, process: subprocess.Popen[bytes], place: Path) -> None:
        job = self.jobs[name]
        self.processes[name] = process
        lines = self.logs.setdefault(f"{name}/algo-1-1700000000", [])
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.decode().rstrip("\n"))
        code = process.wait()
        if any((place / "model").iterdir()):
            memory = io.BytesIO()
            with tarfile.open(fileobj=memory, mode="w:gz") as archive:
                archive.add(place / "model", arcname=".")
            where = f"{job['OutputDataConfig']['S3OutputPath']}/{name}/output/model.tar.gz"
            bucket, key = _parts(where)
            boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=memory.getvalue())
            job["ModelArtifacts"] = {"S3ModelArtifacts": where}
        status = "Stopped" if job["TrainingJobStatus"] == "Stopping" else "Failed" if code else "Completed"
        if status == "Failed":
            job["FailureReason"] = f"AlgorithmError: ExecuteUserScriptError: ExitCode {code}\n" + "\n".join(lines[-5:])
        job["TrainingJobStatus"] = status

    def _transform(self, name: str) -> None:
        """Each input is answered by its length."""
        job = self.jobs[name]
        source, target = self.folder / name / "in", job["TransformOutput"]["S3OutputPath"]
        self._fetch(job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"], source)
        bucket, key = _parts(target)
        for path in sorted(source.rglob("*")):
            if path.is_file():
                answer = json.dumps({"bytes": path.stat().st_size}).encode()
                name_there = f"{key}/{path.relative_to(source).as_posix()}.out"
                boto3.client("s3").put_object(Bucket=bucket, Key=name_there, Body=answer)
        self.logs[f"{name}/i-0123456789abcdef0-1"] = ["answered"]
        job["TransformJobStatus"] = "Completed"

    def _get(self, address: str) -> bytes:
        bucket, key = _parts(address)
        return bytes(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def _fetch(self, address: str, folder: Path) -> None:
        bucket, prefix = _parts(address)
        shutil.rmtree(folder, ignore_errors=True)
        for page in boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                path = folder / entry["Key"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._get(f"s3://{bucket}/{entry['Key']}"))

    def _log(self, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
        if operation == "DescribeLogStreams":
            names = [name for name in self.logs if name.startswith(fields["logStreamNamePrefix"])]
            return {"logStreams": [{"logStreamName": name} for name in names]}
        lines = self.logs[fields["logStreamName"]]
        at = int(fields.get("nextToken", "f/0")[2:])
        page = lines[at : at + 100]
        moment = int(time.time() * 1000)
        return {
            "events": [{"message": line, "timestamp": moment, "ingestionTime": moment} for line in page],
            "nextForwardToken": f"f/{at + len(page)}",
            "nextBackwardToken": f"b/{at}",
        }


class _Refusal(Exception):  # noqa: N818
    pass


def _parts(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.netloc, parts.path.lstrip("/")


def _handler(service: SageMaker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, service.answer(self.headers["X-Amz-Target"].rpartition(".")[2], body)
            except _Refusal as refusal:
                status, answer = 400, {"__type": refusal.args[0], "message": refusal.args[1]}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
