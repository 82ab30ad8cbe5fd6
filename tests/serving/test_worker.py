"""The process that runs a model's own code: its start, its death, its end, and who waits for it meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from patience import answer_of, come, has_ended

from vizsla.serving.backbones import Backbones
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.shelves import FolderShelf
from vizsla.serving.toolkit import CodeModel

if TYPE_CHECKING:
    from conftest import Running


def test_own_code_answers_and_is_restarted_when_it_dies(
    serving: Callable[..., Running], code_model: Path, jpegs: list[bytes]
) -> None:
    from PIL import Image

    server = serving(str(code_model), "--allow-code", VIZSLA_SIGV4_KEYS="", VIZSLA_API_KEYS="")
    answer = server.client.post("/invocations", content=jpegs[1], headers={"content-type": "image/jpeg"})
    mean = float(np.asarray(Image.open(io.BytesIO(jpegs[1])).convert("RGB")).mean())
    assert answer.json() == {"mean": pytest.approx(2 * mean)}
    first = server.say("pid")[1]["mean"]
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    assert come(lambda: server.say("pid")[0] == 200)  # who asks before its death is known is told of it
    assert server.say("pid")[1]["mean"] != first
    status, document = server.say("die")
    assert (status, document["ErrorCode"]) == (500, "code-died")
    assert document["Message"] == "The process of the model's code ended (exit code 7)."
    status, document = server.say("nonsense")
    assert (status, document["ErrorCode"]) == (500, "code-failed")
    assert document["Message"] == "The model's code failed in inference: ValueError: no such word: nonsense"
    assert server.say("exit")[1]["ErrorCode"] == "code-failed"
    kept = server.say("pid")[1]["mean"]
    assert "VIZSLA_API_KEYS" not in server.say("secrets")[1]["mean"]
    assert "this goes to stderr" in server.log_file.read_text()
    assert server.stop() == 0
    assert come(lambda: has_ended(kept))


def test_own_code_is_not_asked_for_clients_that_left(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    server = serving(str(code_model), "--allow-code")
    assert server.say("count")[1] == {"mean": 1}
    with server.send(f"until {tmp_path / 'go'}"):
        assert come((tmp_path / "go.begun").exists)
        socks = [server.send("count") for _ in range(5)]
        server.settle()
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        server.settle()
        (tmp_path / "go").touch()
        assert server.say("count")[1] == {"mean": 2}


def test_a_client_that_left_while_its_code_started_is_not_asked_for(
    serving: Callable[..., Running], tmp_path: Path
) -> None:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        """
import os, time
def model_fn(model_dir):
    while os.path.exists(model_dir + "/slow"):
        open(model_dir + "/begun", "w").close()
        time.sleep(0.01)
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
    sock = server.send("left")
    assert come((tmp_path / "own" / "begun").exists)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    server.settle()
    (tmp_path / "own" / "slow").unlink()
    assert server.client.post("/invocations", content=b"stayed").text == "['stayed']"


def test_a_model_that_cannot_be_started_again_is_said_to_the_platform(
    serving: Callable[..., Running], tmp_path: Path
) -> None:
    """A death alone is not told: the next request starts the code again."""
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        """
import os
def model_fn(model_dir): return open(model_dir + "/weights").read()
def transform_fn(model, body, content_type, accept):
    if body == b"die": os._exit(7)
    return "[1]"
"""
    )
    (tmp_path / "own" / "weights").touch()
    server = serving(str(tmp_path / "own"), "--allow-code")
    assert server.say("die")[0] == 500
    assert server.client.get("/ping").status_code == 200
    (tmp_path / "own" / "weights").unlink()
    assert "FileNotFoundError" in server.say("x")[1]["Message"]
    answer = server.client.get("/ping")
    assert (answer.status_code, answer.json()["ErrorCode"]) == (500, "code-failed")
    assert answer.json()["Message"] == "The model's code could not be started again."
    (tmp_path / "own" / "weights").touch()
    assert server.say("x") == (200, [1])
    assert server.client.get("/ping").status_code == 200


def test_few_wait_for_own_code_and_the_others_are_told(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    server = serving(str(code_model), "--allow-code")
    with server.send(f"until {tmp_path / 'go'}"), ThreadPoolExecutor(40) as pool:
        assert come((tmp_path / "go.begun").exists)
        asked = [pool.submit(server.say, "pid") for _ in range(40)]
        told = come(lambda: sum(one.done() for one in asked) == 8)
        (tmp_path / "go").touch()
        answers = [one.result() for one in asked]
    assert told
    assert sorted(status for status, _ in answers) == [200] * 32 + [503] * 8
    document = next(document for status, document in answers if status == 503)
    assert document["Message"] == "32 requests wait for the model's code already."


def test_own_code_counts_with_the_memory_of_its_process(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    pid = server.say("pid")[1]["mean"]
    status = Path(f"/proc/{pid}/status").read_text()
    resident = 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert server.client.get("/status").json()["model_bytes"] >= resident > 10_000_000


def test_a_folder_of_code_may_change_while_it_is_measured(tmp_path: Path) -> None:
    """Python compiles what is imported there, and renames what it has written."""
    compiled = tmp_path / "code" / "__pycache__"
    compiled.mkdir(parents=True)
    (tmp_path / "code" / "inference.py").write_text("def model_fn(d): return 0\n")
    done = threading.Event()

    def compile_again() -> None:
        while not done.is_set():
            for i in range(20):
                (compiled / f"{i}.pyc.140").touch()
            for i in range(20):
                (compiled / f"{i}.pyc.140").rename(compiled / f"{i}.pyc")

    thread = threading.Thread(target=compile_again)
    thread.start()
    try:
        sizes = {CodeModel("own", "", tmp_path, lambda: None).nbytes for _ in range(1000)}
    finally:
        done.set()
        thread.join()
    assert sizes == {26}


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
    assert come(lambda: not list(temporary.glob("vizsla-code-*")))  # what was unpacked is removed beside the answer


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
        index.settimeout(60)
        connection, _ = index.accept()  # pip asks
        asked = server.send("x", "x-amzn-sagemaker-target-model: slow")
        server.settle()
        assert server.client.get("/models").json() == {"models": []}
        start = time.monotonic()
        assert server.client.delete("/models/slow").status_code == 200
        for status, document in ((loading.result(50).status_code, loading.result().json()), answer_of(asked)):
            assert (status, document["ErrorCode"]) == (503, "stopping")
            assert document["Message"] == "The model was unloaded while it was started."
        assert time.monotonic() - start < 50, "not the 60 s for which requests in flight are waited"
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
    assert come(lambda: "pid " in log.read_text() and log.read_text().endswith("\n"))
    server.terminate()
    assert server.wait(60) == 0, log.read_text()
    worker = int(log.read_text().rpartition("pid ")[2].split()[0])
    assert come(lambda: has_ended(worker))
    assert '"serving"' not in log.read_text(), log.read_text()


def test_waiting_for_a_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And for the last requests of a model that is unloaded."""
    (tmp_path / "own" / "code").mkdir(parents=True)
    slow = "import os, time\ndef model_fn(d):\n    while not os.path.exists(d + '/go'): time.sleep(0.01)\n"
    (tmp_path / "own" / "code" / "inference.py").write_text(slow)
    monkeypatch.setattr("vizsla.serving.pool.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("vizsla.serving.pool._UNLOAD_SECONDS", 0.2)

    async def ask() -> None:
        pool = Pool(FolderShelf(tmp_path), Backbones(1), memory=10**9, allow_code=True)
        first = asyncio.create_task(pool.load("own", "own"))
        while not pool._loading:
            await asyncio.sleep(0.01)
        with pytest.raises(RequestError, match="'own' is still being loaded") as late:
            async with pool.use("own"):
                pass
        assert late.value.fault.status == 503
        (tmp_path / "own" / "go").touch()
        assert (await first).name == "own"
        async with pool.use("own"):
            with pytest.raises(RequestError, match="'own' still answers requests after") as busy:
                await pool.unload("own")
        assert busy.value.fault.status == 503
        assert pool.loaded() == []
        await pool.close()
        await asyncio.sleep(0.2)  # the loop sees the process end

    asyncio.run(ask())
