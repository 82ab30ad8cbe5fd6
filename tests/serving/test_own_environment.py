"""What a model's own code installs is that model's alone, and goes with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from patience import come
from wheels import wheel

if TYPE_CHECKING:
    from conftest import Running

CODE = """
import os, subprocess, sys
INSTALL = ["install", "--no-index", "--find-links", WHEELS, "vizslatestpkg==VERSION"]
def model_fn(model_dir):
    HOW
    import vizslatestpkg
    return vizslatestpkg
def input_fn(body, content_type): return body
def predict_fn(data, package): return [package.version, os.path.dirname(package.__file__)]
"""
WAYS = {
    "process": ("1.5", "import pip; assert pip.main(INSTALL) == 0"),
    "program": ("2.0", "subprocess.check_call([sys.executable, '-m', 'pip', *INSTALL])"),
    "name": ("1.5", "subprocess.check_call(['pip', *INSTALL])"),
    "required": ("2.0", "assert pip_has() == '1.5'; subprocess.check_call(['pip', *INSTALL])"),
}
"""The last has another version in its requirements.txt, which is installed once for all that want the same."""
SEES = """
def pip_has():
    said = subprocess.check_output([sys.executable, "-c", "import vizslatestpkg as v; print(v.version)"])
    return said.decode().strip()
"""


@pytest.fixture(scope="module")
def server(serving_all: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server of models whose code installs a package each, in one way or another."""
    root = tmp_path_factory.mktemp("installs")
    for version in ("1.5", "2.0"):
        wheel(root, version)
    for name, (version, how) in WAYS.items():
        code = root / "models" / name / "code"
        code.mkdir(parents=True)
        text = CODE.replace("WHEELS", repr(str(root))).replace("VERSION", version).replace("HOW", how)
        (code / "inference.py").write_text(text + SEES)
    requirements = f"--no-index\n--find-links {root}\nvizslatestpkg==1.5\n"
    (root / "models" / "required" / "code" / "requirements.txt").write_text(requirements)
    (root / "temporary").mkdir()
    variables = {"TMPDIR": str(root / "temporary"), "VIZSLA_CACHE": str(root / "cache"), "VIRTUAL_ENV": sys.prefix}
    return serving_all("--models-dir", str(root / "models"), "--allow-code", **variables)


def _ask(server: Running, name: str) -> list[str]:
    headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": name}
    answer = server.client.post("/invocations", content=b"x", headers=headers)
    assert answer.status_code == 200, answer.text
    version, folder = answer.json()
    return [version, folder]


@pytest.mark.parametrize("name", WAYS)
def test_what_the_code_installs_is_its_own(server: Running, name: str) -> None:
    version, folder = _ask(server, name)
    assert (version, Path(folder).is_dir()) == (WAYS[name][0], True)
    assert subprocess.run([sys.executable, "-c", "import vizslatestpkg"], capture_output=True).returncode
    assert server.client.delete(f"/models/{name}").status_code == 200
    assert come(lambda: not Path(folder).exists()), "it ends with the model"


def test_what_others_require_is_not_changed(server: Running) -> None:
    """The assertion is the model's: it finds the version that it requires, also after it has installed another."""
    for _ in range(2):
        assert _ask(server, "required")[0] == "2.0"
        assert server.client.delete("/models/required").status_code == 200
