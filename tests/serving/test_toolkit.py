"""Models with their own code: they run as SageMaker's PyTorch toolkit runs them, in a process of their own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import numpy as np
import pytest
from patience import come
from wheels import wheel

import vizsla

if TYPE_CHECKING:
    from conftest import Running


def test_what_the_code_requires_is_installed_for_it_alone(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    wheel(tmp_path, "1.5")
    words = "The model's requirements.txt could not be installed: No matching distribution found for"
    code = tmp_path / "source" / "code"
    own = (code / "inference.py").read_text()
    (code / "inference.py").write_text("import vizslatestpkg\n" + own.replace("os.getpid()", "vizslatestpkg.version"))
    for version in ("9", "1.5"):
        (code / "requirements.txt").write_text(f"--no-index\n--find-links {tmp_path}\nvizslatestpkg=={version}\n")
        with tarfile.open(code_model, "w:gz") as tar:
            tar.add(tmp_path / "source", ".")
        if version == "9":
            with pytest.raises(RuntimeError, match=words):
                serving(str(code_model), "--allow-code")
            continue
        server = serving(str(code_model), "--allow-code")
        assert server.say("pid") == (200, {"mean": "1.5"})
        assert server.stop() == 0
    assert subprocess.run([sys.executable, "-c", "import vizslatestpkg"], capture_output=True).returncode


def test_own_code_is_not_run_unless_allowed(
    serving: Callable[..., Running], code_model: Path, jpegs: list[bytes]
) -> None:
    server = serving("--models-dir", str(code_model.parent.parent))
    answer = server.client.post(
        "/invocations",
        content=jpegs[0],
        headers={"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": "own/model.tar.gz"},
    )
    assert (answer.status_code, answer.json()["ErrorCode"]) == (403, "code-off")
    assert "--allow-code" in answer.json()["Do"]


BROKEN = {
    "syntax": "import os\ndef model_fn(d) return 0\n",
    "module": "def model_fn(d): return 0\nimport vizslatestpkg\n",
    "name": "from json import lods\n",
    "raises": "import helper\n",
    "later": "def model_fn(d):\n    import twisted_words\n",
    "model": "import json\ndef model_fn(d):\n    return json.loads('[')\n",
    "exits": "import os; os._exit(4)",
}
CANNOT, FAILED = "The model's code cannot be imported: ", "The model's code failed in model_fn: "
TOLD = {
    "syntax": (CANNOT + "SyntaxError: expected ':' (inference.py, line 2)", "code/inference.py, line 2"),
    "module": (CANNOT + "ModuleNotFoundError: No module named 'vizslatestpkg'", "code/inference.py, line 2"),
    "name": (CANNOT + "ImportError: cannot import name 'lods' from 'json' (", "code/inference.py, line 1"),
    "raises": (CANNOT + "RuntimeError: no licence", "code/helper.py, line 3"),
    "later": (FAILED + "SyntaxError: invalid syntax (twisted_words.py, line 2)", "code/twisted_words.py, line 2"),
    "model": (FAILED + "JSONDecodeError: Expecting value: line 1 column 2 (char 1)", "code/inference.py, line 3"),
    "exits": ("The model's code ended at its start (4).", "code/inference.py"),
}


@pytest.fixture(scope="module")
def broken(serving_all: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server of models whose code cannot be loaded."""
    root = tmp_path_factory.mktemp("broken")
    for name, code in BROKEN.items():
        (root / name / "code").mkdir(parents=True)
        (root / name / "code" / "inference.py").write_text(code)
        (root / name / "code" / "helper.py").write_text("\n\nraise RuntimeError('no licence')\n")
        (root / name / "code" / "twisted_words.py").write_text("\nprint 'words'\n".replace("print ", "a b "))
    return serving_all("--models-dir", str(root), "--allow-code")


@pytest.mark.parametrize("name", BROKEN)
def test_code_that_cannot_be_loaded_says_why_and_where(broken: Running, name: str) -> None:
    headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": name}
    answer = broken.client.post("/invocations", content=b"x", headers=headers)
    message, where = TOLD[name]
    assert answer.status_code == 500
    assert (answer.json()["Message"][: len(message)], answer.json()["Where"]) == (message, where)
    help_ = "name the package that has it in the model's code/requirements.txt" if name == "module" else None
    assert answer.json().get("Do") == help_


def test_transform_fn_beside_the_functions_that_it_replaces_is_refused(
    serving: Callable[..., Running], tmp_path: Path
) -> None:
    """As the toolkit does: which of them answers could only be guessed."""
    code = tmp_path / "models" / "both" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        "def model_fn(d): return 0\ndef transform_fn(m, b, c, a): return '1'\n"
        "def output_fn(p, a): return '2'\ndef input_fn(b, c): return b\n"
    )
    server = serving("--models-dir", str(tmp_path / "models"), "--allow-code")
    answer = server.client.post("/models", json={"model_name": "both", "url": "both"})
    assert (answer.status_code, answer.json()["ErrorCode"]) == (500, "code-failed")
    assert answer.json()["Message"] == (
        "Cannot use transform_fn implementation in conjunction with input_fn, predict_fn, and/or output_fn "
        "implementation: there are transform_fn and input_fn, output_fn."
    )
    assert answer.json()["Where"] == "code/inference.py"
    assert answer.json()["Allowed"] == "transform_fn, or any of input_fn, predict_fn and output_fn"
    assert answer.json()["Do"] == "remove transform_fn, or the functions that it replaces"
    assert server.client.get("/models").json() == {"models": []}


@pytest.mark.parametrize(
    ("program", "model"),
    [("serve.py", "own.tar.gz"), ("serve", "source"), ("dogs/serve.py", "source"), ("dogs.serve", "own.tar.gz")],
)
def test_the_entry_script_is_the_one_that_the_platform_names(
    serving: Callable[..., Running], tmp_path: Path, program: str, model: str
) -> None:
    """And text/csv what a client gets that has no wish, when the platform says so."""
    code = tmp_path / "source" / "code"
    (code / "dogs").mkdir(parents=True)
    (code / "inference.py").write_text("raise RuntimeError('not this one')")
    (code / "words.py").write_text("WORD = 'serve'")
    for script in (code / "serve.py", code / "dogs" / "serve.py"):
        script.write_text(
            "from words import WORD\ndef model_fn(d): return 0\n"
            "def transform_fn(m, b, c, a): return f'{WORD} {__name__} {a}'\n"
        )
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "source", ".")
    variables = {"SAGEMAKER_PROGRAM": program, "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}
    server = serving(str(tmp_path / model), "--allow-code", **variables)
    name = "dogs.serve" if "dogs" in program else "serve"
    assert server.client.post("/invocations", content=b"x").text == f"serve {name} text/csv"


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("train.py", "train.py, which is not in the model's code/."),
        ("train", "train, which is neither a script nor a module (train.py) in the model's code/."),
        ("serve.sh", "serve.sh, which is neither a script nor a module (serve/sh.py) in the model's code/."),
    ],
)
def test_an_entry_script_that_is_not_there_is_said(
    serving: Callable[..., Running], code_model: Path, program: str, what: str
) -> None:
    with pytest.raises(RuntimeError) as refused:
        serving(str(code_model), "--allow-code", SAGEMAKER_PROGRAM=program)
    assert " ".join(str(refused.value).split()).endswith(
        f"vizsla: SAGEMAKER_PROGRAM names {what} where: code/{program} allowed: inference.py "
        "do: correct SAGEMAKER_PROGRAM, or pack the script"
    )


@pytest.mark.parametrize("other", ["dogs.py", None])
def test_an_entry_script_that_is_not_python_is_said(
    serving: Callable[..., Running], tmp_path: Path, other: str | None
) -> None:
    """Also when there is no other: the model is one with code, though not of this kind."""
    code = tmp_path / "own" / "code"
    code.mkdir(parents=True)
    for script in filter(None, ("serve.sh", other)):
        (code / script).write_text("exec python train.py")
    with pytest.raises(RuntimeError) as refused:
        serving(str(tmp_path / "own"), "--allow-code", SAGEMAKER_PROGRAM="serve.sh")
    allowed = other or "a Python script in the model's code/, such as inference.py"
    assert " ".join(str(refused.value).split()).endswith(
        f"vizsla: SAGEMAKER_PROGRAM names serve.sh, which is not a Python script. where: code/serve.sh "
        f"allowed: {allowed} do: name a script that ends in .py in SAGEMAKER_PROGRAM"
    )


def test_prints_are_in_the_log_at_once(
    serving: Callable[..., Running], code_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    server = serving(str(code_model), "--allow-code")
    assert server.say("pid")[0] == 200
    assert come(lambda: "this goes to stderr" in server.log_file.read_text())


def test_code_sees_headers_and_sets_status_and_type(serving: Callable[..., Running], tmp_path: Path) -> None:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        """
import json
def model_fn(model_dir): return 0
def transform_fn(model, body, content_type, accept, context):
    word = context.get_request_header(0, "X-Word")
    if word == "refuse":
        context.set_response_status(code=422, phrase="no dog in it")
    if word == "type":
        context.set_response_content_type(0, "text/x-words")
    return json.dumps([type(body).__name__, word, context.get_all_request_header(0)])
"""
    )
    server = serving(str(tmp_path / "own"), "--allow-code", VIZSLA_API_KEYS="k1")

    def ask(word: str, kind: str = "text/plain") -> httpx.Response:
        headers = {"content-type": kind, "x-word": word, "x-api-key": "k1"}
        return server.client.post("/invocations", content=b"1", headers=headers)

    kind, word, headers = ask("see").json()
    assert (kind, word, headers["content-type"]) == ("bytes", "see", "text/plain")
    assert "k1" not in headers.values()
    assert ask("see", "text/csv").json()[0] == "str"
    refused = ask("refuse")
    assert (refused.status_code, refused.json()["ErrorCode"]) == (422, "code-refused")
    assert refused.json()["Message"] == "no dog in it"
    answer = ask("type")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/x-words")
    assert ask("see").headers["content-type"] != "text/x-words", "that was for one answer"


def test_the_working_directory_is_no_place_for_modules(
    serving: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "code").mkdir(parents=True)
    code = "import colorsys\ndef model_fn(d): return 0\ndef transform_fn(m, b, c, a): return colorsys.__name__"
    (tmp_path / "own" / "code" / "inference.py").write_text(code)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "colorsys.py").write_text("raise RuntimeError('the module of the working directory')")
    monkeypatch.chdir(tmp_path / "here")
    server = serving(str(tmp_path / "own"), "--allow-code", PYTHONPATH=str(Path(vizsla.__file__).parents[1]))
    answer = server.client.post("/invocations", content=b"x")
    assert (answer.status_code, answer.text) == (200, "colorsys")


def test_a_cache_that_cannot_be_written_is_said(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    code = tmp_path / "source" / "code"
    (code / "requirements.txt").write_text("vizslatestpkg\n")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RuntimeError, match=r"The model's requirements.txt could not be installed: .*cache"):
        serving(str(tmp_path / "source"), "--allow-code", VIZSLA_CACHE=str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_a_damaged_archive_with_code_is_refused(
    serving: Callable[..., Running], tmp_path: Path, kind: Literal["gz", "xz"]
) -> None:
    """Its checksum comes after what tarfile reads."""
    root = tmp_path / "models"
    root.mkdir()
    with tarfile.open(root / "damaged.tar.gz", f"w:{kind}") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"x=1\n"))
    whole = (root / "damaged.tar.gz").read_bytes()
    at = len(whole) - (6 if kind == "gz" else 30)
    (root / "damaged.tar.gz").write_bytes(whole[:at] + b"####" + whole[at + 4 :])
    (tmp_path / "temporary").mkdir()
    server = serving("--models-dir", str(root), "--allow-code", TMPDIR=str(tmp_path / "temporary"))
    headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": "damaged.tar.gz"}
    answer = server.client.post("/invocations", content=b"x", headers=headers)
    assert answer.status_code == 500
    assert "The archive cannot be" in answer.json()["Message"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_archive_with_code_that_climbs_is_refused(serving: Callable[..., Running], tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    with tarfile.open(root / "evil.tar.gz", "w:gz") as tar:
        for name in ("code/inference.py", "../../escaped.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"x=1\n"))
    server = serving("--models-dir", str(root), "--allow-code")
    headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": "evil.tar.gz"}
    answer = server.client.post("/invocations", content=b"x", headers=headers)
    assert answer.status_code == 500
    assert "cannot be unpacked" in answer.json()["Message"]


@pytest.mark.slow
def test_the_toolkits_defaults_run_a_torchscript_model(serving: Callable[..., Running], tmp_path: Path) -> None:
    """Proves the defaults for JSON, CSV and npy with a real TorchScript file; torch takes seconds to import."""
    torch = pytest.importorskip("torch")
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text("")
    torch.jit.trace(torch.nn.Linear(3, 2).eval(), torch.zeros(1, 3)).save(str(tmp_path / "model" / "dogs.pt"))
    module = torch.jit.load(str(tmp_path / "model" / "dogs.pt"))
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    with torch.inference_mode():
        expected = module(torch.from_numpy(rows)).numpy()
    server = serving(str(tmp_path / "model"), "--allow-code")
    npy = io.BytesIO()
    np.save(npy, rows)
    bodies = {
        "application/json": json.dumps(rows.tolist()).encode(),
        "text/csv": b"0,1,2\n3,4,5\n",
        "application/x-npy": npy.getvalue(),
    }
    for kind, body in bodies.items():
        answer = server.client.post("/invocations", content=body, headers={"content-type": kind, "accept": kind})
        if kind == "application/json":
            found = np.array(answer.json(), np.float32)
        elif kind == "text/csv":
            found = np.loadtxt(io.StringIO(answer.text), delimiter=",", dtype=np.float32)
        else:
            found = np.load(io.BytesIO(answer.content))
        assert np.allclose(found, expected, atol=1e-6)
    refused = server.client.post("/invocations", content=b"x", headers={"content-type": "image/jpeg"})
    assert (refused.status_code, refused.json()["ErrorCode"]) == (415, "body-type")
