"""An installed Vizsla, outside any job: notebooks read what jobs recorded by ``import smdebug``."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.jobs.executors.local import LocalExecutor

pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")

ROOT = Path(__file__).resolve().parents[2]


def run(python: Path, text: str) -> str:
    """What the program says, with nothing on its path but what is installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", text], capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a new environment with the wheel of this checkout, and below it those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (wheel,) = folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "venv"), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (packages / "zz_base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return packages


def python_of(site: Path) -> Path:
    return site.parents[2] / "bin" / "python"


def test_a_notebook_reads_a_jobs_trial(site: Path, executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import torch, smdebug.pytorch as smd
        hook, loss = smd.get_hook(create_if_not_exists=True), torch.nn.CrossEntropyLoss()
        hook.register_loss(loss)
        for step in range(3): loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    """
    handle = executor.submit(script_spec(text), "debugged")
    assert run_to_end(executor, handle)[0].status == "Completed", (handle.path / "logs.txt").read_text()
    folder = handle.path / "output" / "debug"
    said = run(
        python_of(site),
        "import smdebug; from smdebug.trials import create_trial; "
        f"print(smdebug.__file__); print(create_trial({str(folder)!r}).tensor_names())",
    )
    assert said.splitlines() == [f"{site}/vizsla/compat/smdebug/__init__.py", "['CrossEntropyLoss_output_0']"]


def test_another_smdebug_that_is_installed_comes_first(site: Path) -> None:
    other = site / "smdebug"
    other.mkdir()
    (other / "__init__.py").write_text("")
    try:
        assert run(python_of(site), "import smdebug; print(smdebug.__file__)") == f"{other}/__init__.py"
    finally:
        (other / "__init__.py").unlink()
        other.rmdir()
