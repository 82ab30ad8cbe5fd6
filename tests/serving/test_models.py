"""Many models behind one server: the container's contract for them, memory, and models that are broken."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vizsla.models import artifact
from vizsla.models.model import load
from vizsla.serving.backbones import Backbone, Backbones
from vizsla.serving.shelves import container, models_by_name

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}


def ask(server: Running, target: str, jpeg: bytes) -> Any:
    return server.client.post("/invocations", content=jpeg, headers={**JPEG, "x-amzn-sagemaker-target-model": target})


def test_the_contract_of_many_models(serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]) -> None:
    server = serving("--models-dir", str(models_dir))
    client = server.client
    assert client.get("/models").json() == {"models": []}
    loading = {"model_name": "one", "url": str(models_dir / "m1")}
    assert client.post("/models", json=loading).status_code == 200
    for name in ("\ud800", "a\nb", ""):
        unprintable = client.post(
            "/models",
            content=json.dumps({"model_name": name, "url": str(models_dir / "m1")}),
            headers={"content-type": "application/json"},
        )
        assert (unprintable.status_code, unprintable.json()["Allowed"]) == (400, "1 to 1,024 printable characters")
    assert client.get("/status").status_code == client.get("/models").status_code == 200
    again = client.post("/models", json=loading)
    assert (again.status_code, again.json()["ErrorCode"]) == (409, "target-loaded")
    assert client.get("/models/one").json()["modelName"] == "one"
    answer = client.post("/models/one/invoke", content=jpegs[0], headers=JPEG)
    assert np.array_equal(np.array(answer.json(), np.float32), load(models_dir / "m1").probabilities(jpegs[0]))
    missing = client.post("/models/two/invoke", content=jpegs[0], headers=JPEG)
    assert (missing.status_code, missing.json()["Message"]) == (404, "The model 'two' is not loaded.")
    assert client.delete("/models/one").status_code == 200
    assert client.delete("/models/one").status_code == 404
    assert client.get("/models/one").status_code == 404


def test_the_list_of_models_comes_in_pages(
    serving: Callable[..., Running], backbone: Any, models_dir: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    names = [f"p{i:03}" for i in range(120)]
    for name in names:
        shutil.copytree(models_dir / "m0", tmp_path / "many" / name, copy_function=shutil.copyfile)
    server = serving("--models-dir", str(tmp_path / "many"))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: ask(server, name, jpegs[0]).status_code == 200, names))
    found: list[str] = []
    page = server.client.get("/models").json()
    while True:
        found += [model["modelName"] for model in page["models"]]
        if "nextPageToken" not in page:
            break
        page = server.client.get("/models", params={"next_page_token": page["nextPageToken"]}).json()
    assert found == names
    assert server.client.get("/models", params={"next_page_token": "%%%"}).status_code == 400


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "../outside", "https://example.com/model.tar.gz", "s3://bucket/model.tar.gz", "\x00"]
)
def test_models_are_loaded_from_their_folder_only(serving: Callable[..., Running], models_dir: Path, url: str) -> None:
    server = serving("--models-dir", str(models_dir))
    answer = server.client.post("/models", json={"model_name": "x", "url": url})
    assert answer.status_code in (400, 404)
    assert answer.json()["ErrorCode"] in ("target-name", "target-unknown", "body-malformed")


def test_targets_that_try_to_climb(
    serving: Callable[..., Running], models_dir: Path, saved_model: Path, jpegs: list[bytes]
) -> None:
    link = models_dir / "link"
    link.symlink_to(saved_model)
    try:
        server = serving("--models-dir", str(models_dir))
        for target in (
            "../breeds",
            str(saved_model),
            "m0/../../x",
            "link",
            "a\\b",
            "~root/x",
            "./m0",
            "m0/",
            "m0//model.tar.gz",
            "m0/.",
        ):
            answer = ask(server, target, jpegs[0])
            assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "target-name"), target
        none = server.client.post("/invocations", content=jpegs[0], headers=JPEG)
        assert (none.status_code, none.json()["ErrorCode"]) == (400, "target-needed")
    finally:
        link.unlink()


def test_a_model_whose_backbone_links_outside_is_refused(
    serving: Callable[..., Running], models_dir: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    root = tmp_path / "models"
    shutil.copytree(models_dir / "m0", root / "m0", copy_function=shutil.copyfile)
    (root / "m0" / "backbone.onnx").unlink()
    (root / "m0" / "backbone.onnx").symlink_to(models_dir / "m0" / "backbone.onnx")
    server = serving("--models-dir", str(root))
    answer = ask(server, "m0", jpegs[0])
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "target-name")
    assert answer.json()["Message"] == "backbone.onnx of 'm0' leads out of the models' folder."
    posted = server.client.post("/models", json={"model_name": "m0", "url": str(root / "m0")})
    assert (posted.status_code, posted.json()["ErrorCode"]) == (400, "target-name")


def test_paths_of_the_server_are_for_its_log(
    serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]
) -> None:
    server = serving("--models-dir", str(models_dir))
    for target in ("broken", "absent"):
        answer = ask(server, target, jpegs[0])
        assert answer.status_code in (404, 500)
        assert str(models_dir) not in answer.text
    assert [line["where"] for line in server.log() if line["event"] == "model"] == [str(models_dir / "broken")]


def test_links_in_archives_are_not_followed(
    serving: Callable[..., Running], models_dir: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    with tarfile.open(root / "evil.tar.gz", "w:gz") as tar:
        for name in ("model.json", "head.safetensors", "backbone.onnx"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, str(models_dir / "m0" / name)
            tar.addfile(member)
    server = serving("--models-dir", str(root))
    answer = ask(server, "evil.tar.gz", jpegs[0])
    assert answer.status_code == 500
    assert "The archive holds no saved model" in answer.json()["Message"]


def test_a_broken_model_hurts_nobody_else(
    serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]
) -> None:
    server = serving("--models-dir", str(models_dir))
    targets = [f"m{i}" for i in range(6)] + ["broken", "absent"]
    expected = {t: load(models_dir / t).probabilities(jpegs[0]) for t in targets[:6]}

    def one(i: int) -> bool:
        target = targets[i % len(targets)]
        answer = ask(server, target, jpegs[0])
        if target == "broken":
            return answer.status_code == 500 and "head.safetensors is not the file" in answer.json()["Message"]
        if target == "absent":
            return answer.status_code == 404
        return np.array_equal(np.array(answer.json(), np.float32), expected[target])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(160)))
    assert server.client.get("/status").json()["models_loaded"] == 6


def test_a_first_request_of_many_loads_once(
    serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]
) -> None:
    server = serving("--models-dir", str(models_dir))
    with ThreadPoolExecutor(16) as pool:
        assert all(a.status_code == 200 for a in pool.map(lambda _: ask(server, "m4", jpegs[0]), range(16)))
    assert len([line for line in server.log() if line["event"] == "model loaded"]) == 1


def test_memory_is_bounded_by_unloading_what_was_used_least_recently(
    serving: Callable[..., Running], backbone: Any, write_model: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    """Heads of 2 MB each on one small backbone, within 10 MB: only the last few stay."""
    size = backbone.path.stat().st_size * 2
    classes = tuple(f"c{i}" for i in range(2_000_000 // (backbone.features * 4)))
    root = tmp_path / "models"
    for i in range(8):
        write_model(root / f"h{i}", backbone, seed=i, classes=classes)
    server = serving("--models-dir", str(root), "--memory-mb", str((size + 9_000_000) // 1_000_000))
    for i in range(8):
        assert ask(server, f"h{i}", jpegs[0]).status_code == 200
        ask(server, "h0", jpegs[0])  # always in use: it stays
    loaded = [model["modelName"] for model in server.client.get("/models").json()["models"]]
    assert "h0" in loaded
    assert "h7" in loaded
    assert "h1" not in loaded
    assert 2 <= len(loaded) <= 4
    full = server.client.post("/models", json={"model_name": "extra", "url": str(root / "h1")})
    assert (full.status_code, full.json()["ErrorCode"]) == (507, "target-memory")
    for name in loaded:
        assert server.client.delete(f"/models/{name}").status_code == 200
    assert server.client.get("/status").json()["model_bytes"] == 0
    assert server.client.post("/models", json={"model_name": "extra", "url": str(root / "h1")}).status_code == 200


def test_a_model_that_can_never_fit_unloads_nothing(
    serving: Callable[..., Running], backbone: Any, write_model: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    root = tmp_path / "models"
    for i in range(3):
        write_model(root / f"h{i}", backbone, seed=i)
    write_model(root / "huge", backbone, classes=tuple(f"c{i}" for i in range(12_000_000 // (backbone.features * 4))))
    server = serving(
        "--models-dir", str(root), "--memory-mb", str((backbone.path.stat().st_size * 2 + 9_000_000) // 1_000_000)
    )
    for i in range(3):
        assert ask(server, f"h{i}", jpegs[0]).status_code == 200
    answer = ask(server, "huge", jpegs[0])
    assert (answer.status_code, answer.json()["ErrorCode"]) == (507, "target-memory")
    own = re.search(r"the model 'huge': head.safetensors of the model is too large: ([\d,]+)", answer.json()["Message"])
    assert own is not None
    assert int(own[1].replace(",", "")) > 11_900_000
    assert server.client.get("/status").json()["models_loaded"] == 3


def test_one_name_is_loaded_from_one_address(serving: Callable[..., Running], models_dir: Path) -> None:
    """Of several POST at the same time one loads, and its answer names the address that it was given."""
    server = serving("--models-dir", str(models_dir))

    def load_from(i: int) -> tuple[int, str, str]:
        url = str(models_dir / f"m{i % 4}")
        answer = server.client.post("/models", json={"model_name": "shared", "url": url})
        return answer.status_code, url, answer.json().get("modelUrl")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(load_from, range(8)))
    assert sorted(status for status, _, _ in answers) == [200] + [409] * 7
    _, given, told = next(answer for answer in answers if answer[0] == 200)
    assert told == given
    assert server.client.get("/models/shared").json()["modelUrl"] == given


def test_a_backbone_that_loads_blocks_nobody_and_is_loaded_once(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one loads, the event loop may list and release others; who wants the same one waits for it."""
    backbones = Backbones(1)
    first = artifact.load(models_dir / "m0")
    other = backbones.serve("other", "", first)
    card = first.card.model_copy(update={"backbone": first.card.backbone.model_copy(update={"sha256": "f" * 64})})
    saved = dataclasses.replace(first, card=card)
    go, begun, built = threading.Event(), threading.Event(), []
    build = Backbone.__init__

    def slow(self: Backbone, *arguments: Any) -> None:
        built.append(arguments[0])
        begun.set()
        assert go.wait(60)
        build(self, *arguments)

    monkeypatch.setattr(Backbone, "__init__", slow)
    with ThreadPoolExecutor(4) as pool:
        models = [pool.submit(backbones.serve, f"m{i}", "", saved) for i in range(3)]
        assert begun.wait(60)
        try:
            pool.submit(backbones.release, other).result(30)  # not behind the lock of the load
            assert pool.submit(backbones.all).result(30) == []
        finally:
            go.set()
        served = [model.result(60) for model in models]
    assert len(built) == 1
    for model in served:
        assert backbones.all() == [model.backbone]
        backbones.release(model)
    assert backbones.all() == []


def test_several_models_by_name_and_what_was_named_stays(
    serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]
) -> None:
    server = serving(str(models_dir / "m2"), str(models_dir / "dog-breed-classifier" / "model.tar.gz"))
    default = server.client.post("/invocations", content=jpegs[0], headers=JPEG).json()
    assert ask(server, "m2", jpegs[0]).json() == default
    other = ask(server, "dog-breed-classifier", jpegs[0]).json()
    assert np.array_equal(np.array(other, np.float32), load(models_dir / "work" / "m9").probabilities(jpegs[0]))
    pinned = server.client.delete("/models/m2")
    assert (pinned.status_code, pinned.json()["ErrorCode"]) == (409, "target-pinned")
    loading = server.client.post("/models", json={"model_name": "x", "url": str(models_dir / "m0")})
    assert json.loads(loading.content)["Message"] == "This server loads no models by address."


def test_the_name_of_a_model_is_that_of_the_folder_which_says_most() -> None:
    given = ["runs/dogs-1/model", "cats/output/model.tar.gz", "birds.tar.gz", "s3://bucket/fish/model.tar.gz"]
    names = models_by_name([*given, "/opt/ml/model", "s3://opt/ml/model"], Path)
    assert list(names) == ["dogs-1", "cats", "birds", "fish", "model", "ml"]


@pytest.mark.parametrize("base", ["x", "x/model", "link"])
def test_the_model_of_a_container_is_called_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("x")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / base))
    assert list(models_by_name([str(tmp_path / base / "model")], Path)) == ["model"]
    assert list(models_by_name([str(tmp_path / base / "output" / "model.tar.gz")], Path)) == ["model"]
    assert list(models_by_name([str(tmp_path / "dogs" / "model"), "/opt/ml/model"], Path)) == ["dogs", "model"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", base)
    assert list(models_by_name([str(container() / "model")], Path)) == ["model"]
