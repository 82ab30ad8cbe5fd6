"""Models with their own code: they run as SageMaker's PyTorch toolkit runs them, in a process of their own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from wheels import wheel

import vizsla
from vizsla.serving.backbones import Backbones
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.shelves import FolderShelf

if TYPE_CHECKING:
    from conftest import Running

CODE = """
import io, json, os, subprocess, sys, time
import numpy as np
from PIL import Image

def model_fn(model_dir):
    print("loading", model_dir)
    return {"scale": float(open(os.path.join(model_dir, "scale.txt")).read())}

def input_fn(body, content_type):
    if content_type == "text/plain":
        return body.decode().strip()
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))

def predict_fn(data, model, context):
    assert context.system_properties["model_dir"]
    if isinstance(data, str):
        if data == "die": os._exit(7)
        if data == "exit": sys.exit(3)
        if data == "pid": return os.getpid()
        if data == "count": model["count"] = model.get("count", 0) + 1; return model["count"]
        if data == "child": return subprocess.Popen(["sleep", "300"]).pid
        if data.startswith("sleep"): return time.sleep(float(data[5:]))
        if data == "secrets": return [name for name in os.environ if name.startswith("VIZSLA_")]
        raise ValueError("no such word: " + data)
    return model["scale"] * float(data.mean())

def output_fn(prediction, accept):
    print("this goes to stderr, not to the client")
    return json.dumps({"mean": prediction}), accept
"""


@pytest.fixture
def code_model(tmp_path: Path) -> Path:
    """``own/model.tar.gz`` with code, as SageMaker's users pack it (paths that begin with ./)."""
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    (source / "code" / "inference.py").write_text(CODE)
    (source / "scale.txt").write_text("2.0")
    archive = tmp_path / "own" / "model.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, ".")
    return archive


def say(server: Running, word: str) -> tuple[int, dict[str, object]]:
    answer = server.client.post("/invocations", content=word.encode(), headers={"content-type": "text/plain"})
    return answer.status_code, answer.json()


def test_own_code_answers_and_is_restarted_when_it_dies(
    serving: Callable[..., Running], code_model: Path, jpegs: list[bytes]
) -> None:
    from PIL import Image

    server = serving(str(code_model), "--allow-code", VIZSLA_SIGV4_KEYS="", VIZSLA_API_KEYS="")
    answer = server.client.post("/invocations", content=jpegs[1], headers={"content-type": "image/jpeg"})
    mean = float(np.asarray(Image.open(io.BytesIO(jpegs[1])).convert("RGB")).mean())
    assert answer.json() == {"mean": pytest.approx(2 * mean)}
    first = say(server, "pid")[1]["mean"]
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    second = say(server, "pid")[1]["mean"]
    assert second != first
    status, document = say(server, "die")
    assert (status, document["ErrorCode"]) == (500, "code-died")
    assert document["Message"] == "The process of the model's code ended (exit code 7)."
    status, document = say(server, "nonsense")
    assert (status, document["ErrorCode"]) == (500, "code-failed")
    assert document["Message"] == "The model's code failed in inference: ValueError: no such word: nonsense"
    assert say(server, "exit")[1]["ErrorCode"] == "code-failed"
    kept = say(server, "pid")[1]["mean"]
    assert "VIZSLA_API_KEYS" not in say(server, "secrets")[1]["mean"]  # type: ignore[operator]
    assert "this goes to stderr" in server.log_file.read_text()
    assert server.stop() == 0
    time.sleep(0.2)
    assert not Path(f"/proc/{kept}/stat").exists() or " Z " in Path(f"/proc/{kept}/stat").read_text()


def test_what_the_code_requires_is_installed_for_it_alone(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    wheel(tmp_path, "1.5")
    words = "The model's requirements.txt could not be installed: ERROR: No matching distribution found for"
    code = tmp_path / "source" / "code"
    (code / "inference.py").write_text("import vizslatestpkg\n" + CODE.replace("os.getpid()", "vizslatestpkg.version"))
    for version in ("9", "1.5"):
        (code / "requirements.txt").write_text(f"--no-index\n--find-links {tmp_path}\nvizslatestpkg=={version}\n")
        with tarfile.open(code_model, "w:gz") as tar:
            tar.add(tmp_path / "source", ".")
        if version == "9":
            with pytest.raises(RuntimeError, match=words):
                serving(str(code_model), "--allow-code")
            continue
        server = serving(str(code_model), "--allow-code")
        assert say(server, "pid") == (200, {"mean": "1.5"})
        assert server.stop() == 0
    assert subprocess.run([sys.executable, "-c", "import vizslatestpkg"], capture_output=True).returncode


def raw(server: Running, word: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: {len(word)}"
    sock.sendall(f"{head}\r\n\r\n{word}".encode())
    return sock


def test_own_code_is_not_asked_for_clients_that_left(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    assert say(server, "count")[1] == {"mean": 1}
    with raw(server, "sleep 1.5"):
        time.sleep(0.3)
        for _ in range(5):
            sock = raw(server, "count")
            time.sleep(0.05)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        assert say(server, "count")[1] == {"mean": 2}


def test_a_client_that_left_while_its_code_started_is_not_asked_for(
    serving: Callable[..., Running], tmp_path: Path
) -> None:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        """
import os, time
def model_fn(model_dir):
    if os.path.exists(model_dir + "/slow"): time.sleep(1.5)
    return []
def transform_fn(model, body, content_type, accept):
    if body == b"die": os._exit(7)
    model.append(body.decode())
    return str(model)
"""
    )
    server = serving(str(tmp_path / "own"), "--allow-code")
    (tmp_path / "own" / "slow").touch()
    assert server.client.post("/invocations", content=b"die").status_code == 500
    sock = raw(server, "left")
    time.sleep(0.5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert server.client.post("/invocations", content=b"stayed").text == "['stayed']"


def test_few_wait_for_own_code_and_the_others_are_told(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    assert say(server, "pid")[0] == 200
    with raw(server, "sleep 3"), ThreadPoolExecutor(40) as pool:
        time.sleep(0.3)
        answers = list(pool.map(lambda _: say(server, "pid"), range(40)))
    assert sorted(status for status, _ in answers) == [200] * 32 + [503] * 8
    document = next(document for status, document in answers if status == 503)
    assert document["Message"] == "32 requests wait for the model's code already."


def test_own_code_counts_with_the_memory_of_its_process(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    pid = say(server, "pid")[1]["mean"]
    status = Path(f"/proc/{pid}/status").read_text()
    resident = 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert server.client.get("/status").json()["model_bytes"] >= resident > 10_000_000


def test_what_own_code_started_ends_with_it(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    child = say(server, "child")[1]["mean"]
    assert Path(f"/proc/{child}").exists()
    assert server.stop() == 0
    time.sleep(0.3)
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or " Z " in stat.read_text()


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


def test_code_that_cannot_be_loaded_says_why(serving: Callable[..., Running], tmp_path: Path) -> None:
    for name, code in (("raises", "raise RuntimeError('no licence')"), ("exits", "import os; os._exit(4)")):
        (tmp_path / "models" / name / "code").mkdir(parents=True)
        (tmp_path / "models" / name / "code" / "inference.py").write_text(code)
    server = serving("--models-dir", str(tmp_path / "models"), "--allow-code")

    def words(target: str) -> str:
        headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": target}
        answer = server.client.post("/invocations", content=b"x", headers=headers)
        assert answer.status_code == 500
        return str(answer.json()["Message"])

    assert words("raises") == "The model's code failed in model_fn: RuntimeError: no licence"
    assert words("exits") == "The model's code ended at its start (4)."


def test_what_cannot_answer_is_not_loaded(serving: Callable[..., Running], tmp_path: Path) -> None:
    """A platform takes 200 of ``/ping`` and ``POST /models`` for a model that works."""
    root, temporary = tmp_path / "models", tmp_path / "temporary"
    (root / "raises" / "code").mkdir(parents=True)
    temporary.mkdir()
    (root / "raises" / "code" / "inference.py").write_text("def model_fn(d): raise RuntimeError('no licence')")
    with tarfile.open(root / "raises.tar.gz", "w:gz") as tar:
        tar.add(root / "raises", ".")
    words = "The model's code failed in model_fn: RuntimeError: no licence"
    with pytest.raises(RuntimeError, match=words):
        serving(str(root / "raises"), "--allow-code")
    server = serving("--models-dir", str(root), "--allow-code", TMPDIR=str(temporary))
    answer = server.client.post("/models", json={"model_name": "own", "url": "raises.tar.gz"})
    assert (answer.status_code, answer.json()["ErrorCode"]) == (500, "code-failed")
    assert answer.json()["Message"] == words
    assert server.client.get("/models").json() == {"models": []}
    assert "model loaded" not in server.log_file.read_text()
    deadline = time.monotonic() + 10
    while list(temporary.glob("vizsla-code-*")):  # what was unpacked is removed beside the answer
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_model_that_is_starting_can_be_unloaded(serving: Callable[..., Running], tmp_path: Path) -> None:
    """The packages come from an index that never answers."""
    code = tmp_path / "models" / "slow" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text("def model_fn(d): return 0")
    with socket.create_server(("127.0.0.1", 0)) as index, ThreadPoolExecutor(2) as pool:
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        (code / "requirements.txt").write_text(f"--index-url {address}\nvizslatestpkg==1.5\n")
        server = serving("--models-dir", str(tmp_path / "models"), "--allow-code", VIZSLA_CACHE=str(tmp_path / "c"))
        loading = pool.submit(server.client.post, "/models", json={"model_name": "slow", "url": "slow"})
        asked = pool.submit(
            server.client.post, "/invocations", content=b"x", headers={"x-amzn-sagemaker-target-model": "slow"}
        )
        index.settimeout(30)
        connection, _ = index.accept()  # pip asks
        assert server.client.get("/models").json() == {"models": []}
        start = time.monotonic()
        assert server.client.delete("/models/slow").status_code == 200
        for answer in (loading.result(20), asked.result(20)):
            assert (answer.status_code, answer.json()["ErrorCode"]) == (503, "stopping")
            assert answer.json()["Message"] == "The model was unloaded while it was started."
        assert time.monotonic() - start < 20, "not the 60 s for which requests in flight are waited"
        connection.settimeout(20)
        while connection.recv(65536):  # until pip is gone
            pass
        assert server.client.delete("/models/slow").status_code == 404
        connection.close()
        assert server.stop() == 0


def test_a_server_that_starts_code_can_be_stopped(tmp_path: Path) -> None:
    code = tmp_path / "slow" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text("import time\ndef model_fn(d): print('pid', __import__('os').getpid()); time.sleep(300)")
    command = [sys.executable, "-c", "from vizsla.cli.main import main; main()", "serve", str(tmp_path / "slow")]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    log = tmp_path / "log"
    with open(log, "wb") as file:
        server = subprocess.Popen([*command, "--allow-code", "--port", port], stderr=file)
    deadline = time.monotonic() + 20
    while not log.read_text().endswith("\n") or "pid " not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server.terminate()
    assert server.wait(15) == 0, log.read_text()
    worker = int(log.read_text().rpartition("pid ")[2].split()[0])
    stat = Path(f"/proc/{worker}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
    assert '"serving"' not in log.read_text(), log.read_text()


def test_waiting_for_a_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And for the last requests of a model that is unloaded."""
    (tmp_path / "own" / "code").mkdir(parents=True)
    slow = "import time\ndef model_fn(d): time.sleep(3); return 0\n"
    (tmp_path / "own" / "code" / "inference.py").write_text(slow)
    monkeypatch.setattr("vizsla.serving.pool.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("vizsla.serving.pool._UNLOAD_SECONDS", 0.2)

    async def ask() -> None:
        pool = Pool(FolderShelf(tmp_path), Backbones(1, tmp_path / "plans"), memory=10**9, allow_code=True)
        first = asyncio.create_task(pool.load("own", "own"))
        await asyncio.sleep(0.1)
        with pytest.raises(RequestError, match="'own' is being started; the packages that its code names are") as late:
            async with pool.use("own"):
                pass
        assert late.value.fault.status == 503
        assert (await first).name == "own"
        async with pool.use("own"):
            with pytest.raises(RequestError, match="'own' still answers requests after") as busy:
                await pool.unload("own")
        assert busy.value.fault.status == 503
        assert pool.loaded() == []
        await pool.close()
        await asyncio.sleep(0.2)  # the loop sees the process end

    asyncio.run(ask())


def test_prints_are_in_the_log_at_once(
    serving: Callable[..., Running], code_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    server = serving(str(code_model), "--allow-code")
    assert say(server, "pid")[0] == 200
    deadline = time.monotonic() + 5
    while "this goes to stderr" not in server.log_file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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


def test_the_worker_ends_with_its_server(code_model: Path, tmp_path: Path) -> None:
    """A worker whose server is killed finds its input closed."""
    with tarfile.open(code_model) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    worker = subprocess.Popen(
        [sys.executable, "-m", "vizsla.serving.inference_worker", str(tmp_path / "unpacked")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert json.loads(worker.stdout.readline())["status"] == 200
    worker.stdin.close()
    assert worker.wait(10) == 0
