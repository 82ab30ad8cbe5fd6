"""A package beside the script is installed as SageMaker's toolkit does, into the job's own environment."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, source_of
from vizsla.jobs.executors.local import LocalExecutor

SETUP = """
from setuptools import setup, find_packages
setup(name="vizslaownpkg", version="0.1", package_dir={"": "src"}, packages=find_packages("src"), install_requires=[%s])
"""
PROJECT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT += '[project]\nname = "vizslaownpkg"\nversion = "0.1"\n[tool.setuptools.packages.find]\nwhere = ["src"]\n'
USES = "import vizslaownpkg; print('HI', vizslaownpkg.x)"


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build has what is installed, as on a machine without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def package(code: Path, setup: str = SETUP % "") -> None:
    (code / "src" / "vizslaownpkg").mkdir(parents=True)
    (code / "src" / "vizslaownpkg" / "__init__.py").write_text("x = 1")
    (code / "setup.py").write_text(setup)


def test_a_setup_py_is_installed_for_its_job_alone(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec(USES)
    package(source_of(spec))
    handle = executor.submit(spec, "x")
    state, _ = run_to_end(executor, handle, 120)
    log = (handle.path / "logs.txt").read_text()
    assert state.status == "Completed", log
    assert log.endswith("HI 1\n")
    assert importlib.util.find_spec("vizslaownpkg") is None
    assert not list(source_of(spec).rglob("*.egg-info")), "the folder of the person stays as it is"


def test_it_is_installed_beside_requirements_and_again_when_the_job_is_resumed(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = USES + "\nimport os, sys; mark = os.environ['SM_CHECKPOINT_DIR'] + '/x'\n"
    text += "first = not os.path.exists(mark); open(mark, 'w'); sys.exit(first)"
    spec = script_spec(text)
    package(source_of(spec), SETUP % '"numpy"')
    (source_of(spec) / "requirements.txt").write_text("numpy\n")
    handle = executor.submit(spec, "x")
    assert run_to_end(executor, handle, 120)[0].status == "Failed"
    assert run_to_end(executor, executor.resume(handle), 120)[0].status == "Completed"
    assert (handle.path / "logs.txt").read_text().count("HI 1\n") == 2


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("raise SystemExit('no compiler here')", "no compiler here"),
        ("raise RuntimeError('no CUDA here')", "RuntimeError: no CUDA here"),
        ("raise SystemExit('error: two packages lie here\\n\\nSee the docs.')", "error: two packages lie here"),
        (SETUP % '"vizslatestpkg==9"', "No matching distribution found for vizslatestpkg==9"),
    ],
)
def test_one_that_cannot_be_installed(executor: LocalExecutor, script_spec: MakeSpec, setup: str, words: str) -> None:
    spec = script_spec(USES)
    package(source_of(spec), setup)
    handle = executor.submit(spec, "x")
    state, _ = run_to_end(executor, handle, 120)
    failure = (handle.path / "output" / "failure").read_text()
    assert state.status == "Failed"
    assert f"setup.py could not be installed: {words}" in str(state.reason)
    assert f"where: {handle.path}/code/setup.py" in failure
    assert "without a network, install what it asks for beforehand" in failure


def test_a_pyproject_is_named_and_a_dot_in_the_requirements_installs_it(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip's way to say that there is none
    ends = []
    for requirements in (None, ".\n"):
        spec = script_spec(USES)
        package(source_of(spec))
        (source_of(spec) / "setup.py").unlink()
        (source_of(spec) / "pyproject.toml").write_text(PROJECT)
        if requirements is not None:
            (source_of(spec) / "requirements.txt").write_text(requirements)
        handle = executor.submit(spec, "x")
        state, _ = run_to_end(executor, handle, 120)
        log = (handle.path / "logs.txt").read_text()
        told = "[vizsla: the package of pyproject.toml is not installed, as SageMaker's" in log
        assert told == (requirements is None)
        ends.append((state.status, log.splitlines()[-1]))
    assert ends == [("Failed", "ModuleNotFoundError: No module named 'vizslaownpkg'"), ("Completed", "HI 1")]


def test_a_shell_script_and_a_pyproject_of_tools_install_nothing(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    spec = script_spec("echo HI", program="train.sh")
    package(source_of(spec), "raise SystemExit('not to be run')")
    tools = script_spec("print('HI')")
    (source_of(tools) / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    for asked in (spec, tools):
        handle = executor.submit(asked, "x")
        assert run_to_end(executor, handle)[0].status == "Completed"
        assert (handle.path / "logs.txt").read_text() == "HI\n"
