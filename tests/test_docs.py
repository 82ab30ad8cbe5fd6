"""The documents tell the truth about files, rooms and verbs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import vizsla
from vizsla.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_python_guide_runs(folder_of_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    photos = folder_of_photos({"rose": 24, "tulip": 24})
    shutil.copy(photos / "rose" / "000.jpg", photos.parent / "rose.jpg")
    monkeypatch.chdir(photos.parent)
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    # The weights of the guide's backbone would have to be fetched.
    text = text.replace('backbone="mobilenetv2_100"', 'backbone="test_resnet", random_init=True')
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})


def test_the_python_guide_names_what_there_is() -> None:
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    for name in re.findall(r"^\| `(\w+)(?:\(|`)", text, re.MULTILINE):
        assert hasattr(vizsla, name), name
    errors = re.findall(r"`(\w+Error)`", text)
    assert all(issubclass(getattr(vizsla, name), vizsla.VizslaError) for name in errors)


def test_the_readme_names_every_verb_and_no_other() -> None:
    named = set(re.findall(r"^\| \[?`vizsla (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert named == set(VERBS)


def test_the_architecture_draws_every_room_and_no_other() -> None:
    drawn = set(re.findall(r"\b(\w+)/  +", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    built = {path.name for path in Path(vizsla.__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert drawn == built


def examples(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_callback_of_the_example_stops_a_training_that_spikes() -> None:
    import math

    from vizsla.training.callbacks import Callback
    from vizsla.training.trained import EpochMetrics, Stop

    (code,) = [code for code in examples("extending.md") if "class LossSpike" in code]
    names = {"math": math, "Callback": Callback, "Stop": Stop}
    exec(code, names)
    spike = names["LossSpike"]()
    answers = [spike.on_epoch(EpochMetrics(i, loss, 0.0, 0.0), 3) for i, loss in enumerate([1.0, 0.5, 2.0], 1)]
    assert answers == [None, None, Stop("loss-spike", "the loss rose to 2")]


def test_the_check_of_the_example_finds_square_pictures(folder_of_photos, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from vizsla.data.checks import Facts, Finding
    from vizsla.workflow.gate import DataRequest, check_data

    (code,) = [code for code in examples("extending.md") if "def square" in code]
    names = {"np": np, "Facts": Facts, "Finding": Finding}
    exec(code, names)
    root = folder_of_photos()
    image = Image.effect_noise((200, 200), 80).convert("RGB")
    image.save(root / "red" / "square.png")
    finding = names["square"](check_data(DataRequest(str(root))).gated.facts)
    assert [file.path for file in finding.files if "square" in file.path] == ["red/square.png"]


def test_the_executor_and_the_kind_of_the_examples_make_a_job(tmp_path: Path) -> None:
    from vizsla.jobs.directory import JobDirectory
    from vizsla.jobs.executors.base import Executor
    from vizsla.jobs.kinds.base import Kind
    from vizsla.jobs.spec import AlgorithmSpecification, Channel, TrainingJobSpec

    names = {"Executor": Executor, "Kind": Kind, "Path": Path, "AlgorithmSpecification": AlgorithmSpecification}
    names |= {"Channel": Channel, "TrainingJobSpec": TrainingJobSpec}
    for code in examples("extending.md"):
        if "EXECUTOR =" in code or "KIND =" in code:
            exec(code, names)
    executor, document = names["EXECUTOR"](tmp_path / "runs"), {"TransformInput": str(tmp_path)}
    handle = executor.submit(names["KIND"].spec(document), "flowers", kind="transform", document=document)
    job = JobDirectory.open(handle.path)
    assert (job.executor, job.kind, job.document) == ("mine", "transform", document)
    assert executor.state(handle).status == "Pending", "the example never has room"
    executor.stop(handle)
    assert executor.state(handle).status == "Stopped"
