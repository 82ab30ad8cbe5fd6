"""What somebody's code installs is its own: the environment that runs Vizsla, and those of others, stay as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import wheel

import vizsla
from jobs.conftest import MakeSpec, run_to_end, source_of
from vizsla.jobs import overlay
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.handover import ENVIRONMENT

WAYS = {
    "in the process": "import pip; assert pip.main(install) == 0",
    "as a program": "import subprocess, sys; subprocess.check_call([sys.executable, '-m', 'pip', *install])",
    "by its name": "import subprocess; subprocess.check_call(['pip', *install])",
    "in a shell": "import os, shlex; assert os.system('pip3 ' + shlex.join(install)) == 0",
}


def _version(python: Path | str) -> str:
    """Of the package that the tests install, as another Python sees it; empty where there is none."""
    words = "import vizslatestpkg; print(vizslatestpkg.version)"
    return subprocess.run([python, "-c", words], capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_installs_changes_nothing_else(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)  # as in a shell that has activated it
    wheel(tmp_path, "1.5")
    install = ["install", "--no-index", "--find-links", str(tmp_path), "vizslatestpkg"]
    spec = script_spec(
        f"install = {install!r}\n{WAYS[way]}\n"
        "import os, sys, numpy, vizslatestpkg\n"
        "print('it has', vizslatestpkg.version, os.environ['VIRTUAL_ENV'] == sys.prefix)\n"
    )
    handle = executor.submit(spec, "x")
    state, _ = run_to_end(executor, handle, 120)
    log = (handle.path / "logs.txt").read_text()
    assert state.status == "Completed", log
    assert "it has 1.5 True" in log
    assert _version(sys.executable) == ""
    assert not (handle.path / ENVIRONMENT).exists(), "it goes with the job, as a container would"


def test_what_a_job_installs_is_not_in_what_its_requirements_share(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    for version in ("1.5", "2.0"):
        wheel(tmp_path, version)
    seen = []
    for _ in range(2):
        spec = script_spec(
            f"""
            import subprocess, sys, vizslatestpkg
            print("first", vizslatestpkg.version, flush=True)
            pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", {str(tmp_path)!r}]
            subprocess.check_call([*pip, "vizslatestpkg==2.0"])
            said = subprocess.check_output([sys.executable, "-c", "import vizslatestpkg as v; print(v.version)"])
            print("then", said.decode())
            """
        )
        requirements = f"--no-index\n--find-links {tmp_path}\nvizslatestpkg==1.5\n"
        (source_of(spec) / "requirements.txt").write_text(requirements)
        handle = executor.submit(spec, "x")
        state, _ = run_to_end(executor, handle, 120)
        log = (handle.path / "logs.txt").read_text()
        assert state.status == "Completed", log
        seen.append([line for line in log.splitlines() if line.startswith(("first", "then"))])
    assert seen == [["first 1.5", "then 2.0"]] * 2


def test_what_lies_below_is_neither_changed_nor_removed(tmp_path: Path) -> None:
    """Also where what lies below is such an environment itself, as for a job that a job starts."""
    base = overlay.make(tmp_path / "base")
    for version in ("1.5", "2.0"):
        wheel(tmp_path, version)
    environment = {**os.environ, "PYTHONPATH": str(Path(vizsla.__file__).parents[1])}

    def pip(python: Path, *words: str) -> None:
        given = ["--disable-pip-version-check", *words]
        subprocess.run([python, "-m", "pip", *given], check=True, env=environment, capture_output=True)

    pip(base, "install", "--no-index", "--find-links", str(tmp_path), "vizslatestpkg==1.5")
    words = "import sys; from pathlib import Path; from vizsla.jobs import overlay; overlay.make(Path(sys.argv[1]))"
    subprocess.run([base, "-c", words, str(tmp_path / "it's above")], check=True, env=environment)
    above = overlay.program(tmp_path / "it's above")
    assert _version(above) == "1.5"
    pip(above, "install", "--no-index", "--find-links", str(tmp_path), "vizslatestpkg==2.0")
    assert (_version(above), _version(base)) == ("2.0", "1.5")
    pip(above, "uninstall", "--yes", "vizslatestpkg")
    pip(above, "uninstall", "--yes", "vizslatestpkg")
    assert (_version(above), _version(base)) == ("1.5", "1.5")


@pytest.mark.parametrize("cache", ["a folder", "a file"])
def test_a_program_of_the_environment_below_runs_in_the_one_above(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``torchrun train.py`` must see what the job has installed; also where nothing can be cached."""
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    if cache == "a file":
        (tmp_path / "cache").touch()
    wheel(tmp_path, "1.5")
    for folder in (tmp_path / "it's above", tmp_path / "another"):
        python = overlay.make(folder)
        found = {**os.environ, **overlay.variables(folder, os.environ["PATH"])}
        install = ["install", "--no-index", "--find-links", str(tmp_path), "vizslatestpkg"]
        subprocess.run(["pip", *install], check=True, capture_output=True, env=found)
        assert (_version(python), _version(sys.executable)) == ("1.5", "")


@pytest.mark.parametrize("cache", ["a folder", "a file"])
def test_it_is_laid_over_another_again(tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a model's code with requirements whose process is started again; its programs are found, too."""
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    if cache == "a file":
        (tmp_path / "cache").touch()
    required = tmp_path / "required"
    python = overlay.make(required)
    tool = required / "bin" / "vizslatesttool"
    tool.write_text(f"#!{python}\nimport sys; print(sys.prefix)")
    tool.chmod(0o755)
    overlay.make(tmp_path / "own")
    for _ in range(2):
        overlay.lay_over(tmp_path / "own", required)
    found = {**os.environ, **overlay.variables(tmp_path / "own", os.environ["PATH"])}
    said = subprocess.run(["vizslatesttool"], env=found, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(tmp_path / "own")
