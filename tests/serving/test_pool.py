"""What is loaded is loaded once, whatever it is called, and is unloaded whenever that is asked."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from patience import answer_of, come

from vizsla.serving.backbones import Backbone, Backbones
from vizsla.serving.faults import RequestError, runtime_answer
from vizsla.serving.pool import Pool
from vizsla.serving.shelves import FolderShelf

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}


def ask(server: Running, target: str, jpeg: bytes) -> httpx.Response:
    return server.client.post("/invocations", content=jpeg, headers={**JPEG, "x-amzn-sagemaker-target-model": target})


def names(server: Running) -> list[str]:
    return [model["modelName"] for model in server.client.get("/models").json()["models"]]


def model_bytes(server: Running) -> int:
    return int(server.client.get("/status").json()["model_bytes"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_model: Any, backbone: Any) -> Path:
    """A model ``x``, a job ``job`` with its ``model``, and a link to ``x``."""
    root = tmp_path_factory.mktemp("folder")
    write_model(root / "x", backbone)
    write_model(root / "job" / "model", backbone, seed=1)
    (root / "link").symlink_to(root / "x")
    return root


@pytest.mark.parametrize(
    ("own", "others"),
    [("x", ["x/model.tar.gz", "link", "link/model.tar.gz"]), ("job", ["job/model", "job/model.tar.gz"])],
)
def test_an_artifact_is_loaded_once_whatever_it_is_called(
    serving: Callable[..., Running], folder: Path, jpegs: list[bytes], own: str, others: list[str]
) -> None:
    server = serving("--models-dir", str(folder))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: ask(server, name, jpegs[0]), [*others, own] * 4))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert names(server) == [own]
    assert len([line for line in server.log() if line["event"] == "model loaded"]) == 1
    once = model_bytes(server)
    for name in (own, *others):
        quoted = name.replace("/", "%2F")
        assert server.client.get(f"/models/{quoted}").json()["modelName"] == own
        assert server.client.post(f"/models/{quoted}/invoke", content=jpegs[0], headers=JPEG).text == answers[0].text
    assert model_bytes(server) == once
    again = server.client.post("/models", json={"model_name": "second", "url": str(folder / own)})
    assert (again.status_code, again.json()["ErrorCode"]) == (409, "target-loaded")
    assert again.json()["Message"] == f"The model 'second' is loaded already, or being loaded, as {own!r}."
    assert server.client.delete(f"/models/{others[0]}").status_code == 200
    assert (names(server), model_bytes(server)) == ([], 0)
    for name in (own, *others):
        assert server.client.delete(f"/models/{name}").status_code == 404
    assert ask(server, others[0], jpegs[0]).text == answers[0].text
    assert names(server) == [own]


def test_a_model_with_any_number_of_names(
    folder: Path, tmp_path: Path, jpegs: list[bytes], serving: Callable[..., Running]
) -> None:
    """A link that leads back gives it as many as a path has room for."""
    shutil.copytree(folder / "x", tmp_path / "models" / "x")
    (tmp_path / "models" / "again").symlink_to(tmp_path / "models")
    server = serving("--models-dir", str(tmp_path / "models"))
    texts = {ask(server, "again/" * depth + "x", jpegs[0]).text for depth in range(39) for _ in range(2)}
    assert len(texts) == 1
    assert len(json.loads(texts.pop())) == 7
    assert names(server) == ["x"]
    assert server.client.delete("/models/again%2Fagain%2Fx").status_code == 200
    assert names(server) == []


def test_what_the_platform_loaded_answers_under_its_path_too(
    serving: Callable[..., Running], folder: Path, jpegs: list[bytes]
) -> None:
    """The platform's names are opaque: they stay what it said, and the file is not loaded a second time."""
    server = serving("--models-dir", str(folder))
    assert server.client.post("/models", json={"model_name": "9a7f", "url": str(folder / "x")}).status_code == 200
    assert ask(server, "x/model.tar.gz", jpegs[0]).text == ask(server, "9a7f", jpegs[0]).text
    assert ask(server, "job", jpegs[0]).status_code == 200
    assert names(server) == ["9a7f", "job"]
    assert server.client.delete("/models/9a7f").status_code == 200
    assert names(server) == ["job"]


def test_a_name_that_is_taken_by_another_model_is_the_others(
    serving: Callable[..., Running], folder: Path, jpegs: list[bytes]
) -> None:
    server = serving("--models-dir", str(folder))
    assert server.client.post("/models", json={"model_name": "x", "url": str(folder / "job")}).status_code == 200
    named, real = ask(server, "x", jpegs[0]), ask(server, "x/model.tar.gz", jpegs[0])
    assert named.status_code == real.status_code == 200
    assert named.text == ask(server, "job", jpegs[0]).text != real.text
    assert names(server) == ["x", "x/model.tar.gz"]


def test_a_model_of_the_command_line_is_loaded_once(
    serving: Callable[..., Running], folder: Path, jpegs: list[bytes]
) -> None:
    server = serving(str(folder / "x"))
    assert ask(server, "x/model.tar.gz", jpegs[0]).text == ask(server, "x", jpegs[0]).text
    assert names(server) == ["x"]
    assert server.client.delete("/models/x%2Fmodel.tar.gz").json()["ErrorCode"] == "target-pinned"


def heavy_archive(path: Path) -> None:
    """A model with code, and 4 GB of zeros, which take seconds to unpack; in a few megabytes."""
    code = b"def model_fn(d): return 0\ndef transform_fn(m, b, c, a): return '1'\n"
    head = io.BytesIO()
    with tarfile.open(fileobj=head, mode="w") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(code)
        tar.addfile(member, io.BytesIO(code))
        member = tarfile.TarInfo("weights.bin")
        member.size = 40 * 100_000_256
        start = head.tell() + len(member.tobuf())
        head.write(member.tobuf())
    zeros = gzip.compress(bytes(100_000_256), 1)
    path.write_bytes(gzip.compress(head.getvalue()[:start]) + zeros * 40 + gzip.compress(bytes(1024)))


def unpacking(temporary: Path) -> bool:
    return come(lambda: list(temporary.glob("vizsla-code-*/model/weights.bin")))


@pytest.fixture
def heavy(serving: Callable[..., Running], tmp_path: Path) -> tuple[Running, Path]:
    """A server with ``heavy.tar.gz``, and the folder that it unpacks into."""
    for name in ("models", "temporary"):
        (tmp_path / name).mkdir()
    heavy_archive(tmp_path / "models" / "heavy.tar.gz")
    temporary = tmp_path / "temporary"
    return serving("--models-dir", str(tmp_path / "models"), "--allow-code", TMPDIR=str(temporary)), temporary


def test_a_model_that_is_being_unpacked_can_be_unloaded(heavy: tuple[Running, Path]) -> None:
    server, temporary = heavy
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(server.client.post, "/models", json={"model_name": "h", "url": "heavy.tar.gz"})
        assert unpacking(temporary)
        asked = [server.send("x", f"x-amzn-sagemaker-target-model: {name}") for name in ("h", "heavy.tar.gz")]
        server.settle()
        assert server.client.delete("/models/h").status_code == 200
        assert list(temporary.glob("vizsla-code-*")) == []
        answer = loading.result(60)
        for status, document in ((answer.status_code, answer.json()), *map(answer_of, asked)):
            assert (status, document["ErrorCode"]) == (503, "stopping")
            assert document["Message"] == "The model was unloaded while it was loaded."
    assert (names(server), model_bytes(server)) == ([], 0)
    assert server.client.delete("/models/h").status_code == 404


def test_a_server_that_unpacks_can_be_stopped(heavy: tuple[Running, Path]) -> None:
    server, temporary = heavy
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, server, "heavy.tar.gz", b"x")
        assert unpacking(temporary)
        server.process.terminate()
        answer = asked.result(60)
        assert (answer.status_code, answer.json()["Message"]) == (503, "The server is being stopped.")
    assert server.process.wait(60) == 0
    assert list(temporary.iterdir()) == []


def test_a_load_that_takes_longer_than_an_answer_may_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks is told so, the first one, too; InvokeEndpoint has a name for it, after which its clients ask again."""
    (tmp_path / "models").mkdir()
    for name, code in (("slow", "return 0"), ("wrong", "raise ValueError('no licence')")):
        script = tmp_path / "models" / name / "code" / "inference.py"
        script.parent.mkdir(parents=True)
        wait = f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)"
        script.write_text(f"import os, time\ndef model_fn(d):\n    {wait}\n    {code}\n")
    monkeypatch.setattr("vizsla.serving.pool.ANSWER_SECONDS", 0.3)

    async def ask() -> None:
        pool = Pool(FolderShelf(tmp_path / "models"), Backbones(1, tmp_path / "plans"), memory=10**9, allow_code=True)
        lost: list[tuple[str, str]] = []
        pool.on_lost = lambda name, error: lost.append((name, str(error)))
        for name in ("slow", "wrong", "slow"):
            with pytest.raises(RequestError, match=f"The model '{name}' is still being loaded") as late:
                async with pool.use(name):
                    pass
            assert late.value.fault.status == 503
            status, document = runtime_answer(late.value, "id")
            assert (status, late.value.fault.runtime) == (429, "ModelNotReadyException")
            assert "try again a little later" in json.loads(document)["Message"]
        (tmp_path / "go").touch()
        async with asyncio.timeout(60):
            while not (pool.loaded() and lost):
                await asyncio.sleep(0.05)
        assert [model.name for model in pool.loaded()] == ["slow"]
        ((name, words),) = lost
        assert name == "wrong"
        assert "The model's code failed in model_fn: ValueError: no licence" in words
        await pool.close()
        await asyncio.sleep(0.2)  # the loop sees the processes end

    asyncio.run(ask())


def test_a_model_that_is_being_read_is_unloaded_when_it_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who unloads it waits for that, and is told when it takes too long; it is never loaded."""
    go, begun = threading.Event(), threading.Event()
    build = Backbone.__init__

    def slow(self: Backbone, *arguments: Any) -> None:
        begun.set()
        assert go.wait(60)
        build(self, *arguments)

    monkeypatch.setattr(Backbone, "__init__", slow)
    monkeypatch.setattr("vizsla.serving.pool._UNLOAD_SECONDS", 0.3)

    async def unload() -> None:
        backbones = Backbones(1, tmp_path / "plans")
        pool = Pool(FolderShelf(folder), backbones, memory=10**9, allow_code=False)

        async def use() -> None:
            async with pool.use("x"):
                raise AssertionError("it was unloaded")

        using = asyncio.create_task(use())
        assert await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(RequestError, match=r"'x/model.tar.gz' is still being read after 0.3 s.") as busy:
            await pool.unload("x/model.tar.gz")
        assert busy.value.fault.status == 503
        monkeypatch.setattr("vizsla.serving.pool._UNLOAD_SECONDS", 20)
        unloading = asyncio.create_task(pool.unload("x"))
        await asyncio.sleep(0)
        go.set()
        await unloading
        assert backbones.all() == []
        assert pool.loaded() == []
        with pytest.raises(RequestError, match=r"The model was unloaded while it was loaded.") as dropped:
            await using
        assert dropped.value.fault.status == 503
        async with pool.use("x") as model:
            assert model.name == "x"
        await pool.close()

    asyncio.run(unload())


def test_a_link_that_is_changed_while_its_model_waits_gives_no_model_anothers_name(
    tmp_path: Path, write_model: Any, backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v1", "v2"):
        write_model(tmp_path / name, backbone, classes=(f"{name} a", f"{name} b"))
    (tmp_path / "current").symlink_to("v1")
    go, locate = threading.Event(), FolderShelf.locate

    def late(self: FolderShelf, name: str) -> Path:
        assert go.wait(60)
        return locate(self, name)

    monkeypatch.setattr(FolderShelf, "locate", late)

    async def use() -> None:
        pool = Pool(FolderShelf(tmp_path), Backbones(1, tmp_path / "plans"), memory=10**9, allow_code=False)

        async def classes(name: str) -> str:
            async with pool.use(name) as model:
                return str(model.labels.classes[0])

        using = asyncio.create_task(classes("current"))
        while not pool._loading:
            await asyncio.sleep(0.01)
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("v2")
        go.set()
        await using
        assert [await classes(name) for name in ("v1", "v2")] == ["v1 a", "v2 a"]
        await pool.close()

    asyncio.run(use())
