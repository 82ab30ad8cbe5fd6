"""``vizsla aws``: what its commands print, and what a command that they run finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commandline import process, vizsla

from tests.aws.conftest import sdk2, sdk3
from tests.aws.s3.test_clients import command_line
from vizsla.aws import client_environment
from vizsla.aws.client_environment import STARTUP, environment, exports
from vizsla.aws.context import Context


def _hook() -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location("vizsla_aws_client", STARTUP / "vizsla_aws_client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_alone_it_says_what_runs(ctx: Context, client: Callable[[str], Any]) -> None:
    client("s3").create_bucket(Bucket="pictures")
    done = vizsla("aws")
    assert done.returncode == 0
    assert f"AWS at {ctx.address} (process {os.getpid()})" in done.stdout
    assert "pictures" in done.stdout
    assert "vizsla aws run -- COMMAND" in done.stderr
    facts = json.loads(vizsla("aws", "status", "--json").stdout.splitlines()[-1])
    assert facts["address"] == ctx.address
    assert facts["buckets"] == "pictures"


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    home = str(tmp_path / "other")
    assert "No server runs on" in vizsla("aws", "status", VIZSLA_HOME=home).stdout
    done = vizsla("aws", "env", VIZSLA_HOME=home)
    assert done.returncode == 2
    assert "`vizsla aws run` starts one" in done.stderr


def test_exports_point_a_shell_at_the_server(ctx: Context) -> None:
    done = vizsla("aws", "env")
    assert f"export AWS_ENDPOINT_URL={ctx.address}" in done.stdout
    assert done.stdout.startswith("unset AWS_PROFILE")
    script = (
        done.stdout + '\necho "$AWS_ENDPOINT_URL $VIZSLA_AWS $(test -f $SAGEMAKER_USER_CONFIG_OVERRIDE && echo there)"'
    )
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [ctx.address, ctx.address, "there"]


def test_a_second_server_on_one_home_is_refused(ctx: Context) -> None:
    done = vizsla("aws", "run")
    assert done.returncode == 2
    assert "A server runs on this home already" in done.stderr
    assert ctx.address in done.stderr


def test_a_command_runs_with_the_server_that_is_there(ctx: Context) -> None:
    """Its STS is this machine, although the SDK names AWS's address; its exit code is the command's."""
    code = (
        "import boto3, sys\n"
        "sts = boto3.client('sts', endpoint_url='https://sts.us-east-1.amazonaws.com')\n"
        "print(sts.get_caller_identity()['Arn'])\n"
        "import smdebug\nprint(smdebug.__file__)\nsys.exit(7)\n"
    )
    done = process("aws", "run", "--", sys.executable, "-c", code)
    assert done.returncode == 7, done.stderr
    arn, smdebug = done.stdout.splitlines()
    assert arn.startswith("arn:aws:sts::000000000000:assumed-role/")
    assert smdebug.endswith("vizsla/compat/smdebug/__init__.py")


@pytest.mark.slow
def test_a_command_has_a_server_for_its_time(tmp_path: Path) -> None:
    code = "import boto3\ns3 = boto3.client('s3')\ns3.create_bucket(Bucket='pictures')\n"
    code += "print(s3.list_buckets()['Buckets'])"
    done = process("aws", "run", "--", sys.executable, "-c", code, VIZSLA_HOME=str(tmp_path / "own"))
    assert done.returncode == 0, done.stderr
    assert "'pictures'" in done.stdout
    assert (tmp_path / "own" / "buckets" / "pictures").is_dir()
    assert not (tmp_path / "own" / "aws" / "server.json").exists()


def test_options_of_a_server_that_is_there_already(ctx: Context) -> None:
    done = vizsla("aws", "run", "--pass-through", "--", "true")
    assert done.returncode == 2
    assert f"A server runs on this home already, at {ctx.address}" in done.stderr


def test_a_command_that_is_not_there(ctx: Context) -> None:
    done = vizsla("aws", "run", "--", "no-such-command")
    assert done.returncode == 2
    assert "The command cannot be run: No such file or directory" in done.stderr


def test_a_kernel_is_added(ctx: Context, tmp_path: Path) -> None:
    done = vizsla("aws", "kernel", "install", "--prefix", tmp_path, "--python", "/opt/python")
    folder = tmp_path / "share" / "jupyter" / "kernels" / "vizsla"
    assert done.stdout.strip() == str(folder)
    document = json.loads((folder / "kernel.json").read_text())
    assert document["display_name"] == "Python (Vizsla)"
    assert document["argv"][0] == "/opt/python"
    assert document["env"]["AWS_ENDPOINT_URL"] == ctx.address


def test_images(ctx: Context, tmp_path: Path) -> None:
    (tmp_path / "hpo.py").write_text("")
    done = vizsla("aws", "image", "add", "my-image:latest", tmp_path, "hpo.py")
    assert done.stdout.startswith("my-image:latest runs hpo.py of")
    assert "my-image:latest" in vizsla("aws", "status").stdout
    done = vizsla("aws", "image", "add", "my-image", tmp_path, "nothing.py")
    assert done.returncode == 2
    assert "There is no script 'nothing.py'" in done.stderr


def test_what_would_lead_a_client_elsewhere_is_taken_away(ctx: Context) -> None:
    inherited = {"AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "t", "NO_PROXY": "example.com", "PYTHONPATH": "/mine"}
    found = environment(ctx, inherited)
    assert "AWS_PROFILE" not in found
    assert "AWS_SESSION_TOKEN" not in found
    assert found["NO_PROXY"] == "example.com,127.0.0.1,localhost"
    assert found["PYTHONPATH"] == f"{STARTUP}:/mine"
    assert Path(found["PIP_CONSTRAINT"]).read_text() == "sagemaker<3\n"
    assert "TelemetryOptOut: true" in Path(found["SAGEMAKER_USER_CONFIG_OVERRIDE"]).read_text()
    assert "export PYTHONPATH=" in exports(ctx, inherited)


def test_a_persons_own_configuration_of_the_sdk_is_kept(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sagemaker").mkdir()
    own = "SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      Session: {DefaultS3Bucket: mine}\n"
    (tmp_path / "sagemaker" / "config.yaml").write_text(own)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("SAGEMAKER_USER_CONFIG_OVERRIDE", raising=False)
    text = Path(client_environment.environment(ctx, {})["SAGEMAKER_USER_CONFIG_OVERRIDE"]).read_text()
    assert "DefaultS3Bucket: mine" in text
    assert "TelemetryOptOut: true" in text


def test_the_clock_of_the_sdk_sleeps_less_and_runs_on() -> None:
    clock: Any = _hook().Clock()
    before, began = clock.time(), time.monotonic()
    clock.sleep(30)
    assert time.monotonic() - began < 5
    assert clock.time() - before >= 30
    assert clock.monotonic() > 0  # all else is time's own


def test_who_gives_up_after_a_time_gives_up_after_that_time(ctx: Context) -> None:
    """A waiter counts its looks, a resource of version 3 its seconds: both look more often here, as long as at AWS."""
    clock: Any = _hook().Clock(runs_on=False)
    before = clock.time()
    clock.sleep(30)
    assert clock.time() - before < 5
    code = (
        "import boto3, time\nfrom botocore.exceptions import WaiterError\nbegan = time.monotonic()\n"
        "try:\n    boto3.client('s3').get_waiter('bucket_exists').wait(\n"
        "        Bucket='nobodys', WaiterConfig={'Delay': 1, 'MaxAttempts': 3})\n"
        "except WaiterError as error:\n    print(error, time.monotonic() - began)\n"
    )
    done = process("aws", "run", "--", sys.executable, "-c", code)
    words, _, seconds = done.stdout.strip().rpartition(" ")
    assert "Max attempts exceeded" in words, done.stderr
    assert 1.9 < float(seconds) < 10


@pytest.mark.parametrize(("sdk", "module"), [(sdk2, "sagemaker.utils"), (sdk3, "sagemaker.core.common_utils")])
def test_tuning_jobs_of_one_minute_have_names_of_their_own(ctx: Context, sdk: Callable[[], Path], module: str) -> None:
    """The SDK names them by the minute; here one ends within it, and the cell is run again."""
    code = (
        f"import re, {module} as utils\n"
        "name = utils.name_from_base('pytorch-training', 32, short=True)\n"
        "assert re.fullmatch(r'pytorch-training-\\d{6}-\\d{6}', name), name\n"
        "import boto3, logging\nlogging.basicConfig(level=logging.INFO)\nboto3.client('s3')\n"
    )
    done = process("aws", "run", "--", sdk(), "-c", code)
    assert done.returncode == 0, done.stderr
    assert "Found endpoint for" not in done.stderr, "nobody asked where clients find their address"


def test_a_sync_into_a_bucket_that_is_not_here_makes_it(ctx: Context, tmp_path: Path) -> None:
    """The list that it asks for comes before its first put."""
    (tmp_path / "one.txt").write_text("one")
    program = command_line()
    done = process("aws", "run", "--", program, "s3", "sync", "--dryrun", tmp_path, "s3://not-yet/set")
    assert done.returncode != 0
    done = process("aws", "run", "--", program, "s3", "sync", tmp_path, "s3://of-its-author/set")
    assert done.returncode == 0, done.stderr
    assert (ctx.home / "buckets" / "of-its-author" / "set" / "one.txt").read_text() == "one"
    assert not (ctx.home / "buckets" / "not-yet").exists()
    done = process("aws", "run", "--", program, "s3", "sync", "s3://not-yet/set", tmp_path)
    assert "aws s3 mb s3://not-yet" in done.stderr


def test_the_hook_changes_nothing_but_what_it_names() -> None:
    """A program that imports none of AWS's clients finds its own sitecustomize, and Python as it is."""
    variables = {"PYTHONPATH": str(STARTUP), "VIZSLA_AWS": "http://127.0.0.1:1", "PATH": os.environ["PATH"]}
    code = "import sys, time; print(time.__name__, 'botocore' in sys.modules, 'vizsla' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["time", "False", "False"]
    assert shown.stderr == ""
