"""One error through every door, read in full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vizsla
from tests.jobs.conftest import run_to_end
from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import VizslaError
from vizsla.jobs.executors import open_executor
from vizsla.jobs.executors.base import Executor
from vizsla.parameters import COMMAND, door
from vizsla.workflow.document import to_spec
from vizsla.workflow.request import FitRequest

GIVEN = {"train": {"a": 8, "b": 8}, "valid": {"a": 3, "b": 3}, "test": {"a": 3, "b": 3}}

LEAK = """\
Pictures lie in more than one split: 1 set of copies that lie in more than one split; unless one is left out, accuracy \
is measured on pictures that training has seen (2 files).
  where: {root}, such as train/a/001.jpg (leak-exact: test/a/copy.jpg is in another split)
  do: take the copies out of one split, or choose {drop} or {warn}"""

LAYOUT = """\
There is no layout 'nope'.
  where: {where}
  allowed: folders, imagefolder, roboflow, fiftyone, datumaro, cvat, label-studio, webdataset, imagenet, split-tables, \
kaggle, table"""

BOTH = """\
{weights} and {random} exclude each other.
  do: leave one of them out"""


@pytest.fixture
def root(folder_of_photos: Callable[..., Path]) -> Path:
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    return root


def through_python(root: Path, **options: object) -> str:
    with pytest.raises(VizslaError) as caught:
        vizsla.fit(root, backbone="test_resnet", progress=False, **options)
    return str(caught.value)


def through_the_command(root: Path, *options: str, verb: str = "fit") -> str:
    backbone = [] if verb == "train" else ["--backbone", "test_resnet"]
    command = [sys.executable, "-m", "vizsla", verb, str(root), *backbone, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    return done.stderr[done.stderr.index("vizsla: ") :].removeprefix("vizsla: ").rstrip()


def through_a_document(root: Path, executor: Executor, **options: object) -> str:
    handle = executor.submit(to_spec(FitRequest(root, "test_resnet", **options)), "photos")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    return (handle.path / "output" / "failure").read_text()


@pytest.mark.parametrize("executor", ["local", "debug"])
def test_a_leak_in_a_document(root: Path, executor: str) -> None:
    leak = GateOptions(on_leak="fail")
    words = through_a_document(root, open_executor(executor), random_init=True, gate=leak)
    drop, warn = "the hyperparameter on-leak=drop-from-train", "the hyperparameter on-leak=warn"
    assert words == LEAK.format(root=root, drop=drop, warn=warn)
    assert door().name == "python"


def test_a_leak_through_python_and_the_command(root: Path) -> None:
    words = through_python(root, random_init=True, gate=GateOptions(on_leak="fail"))
    assert words == LEAK.format(root=root, drop="on_leak='drop-from-train'", warn="on_leak='warn'")
    words = through_the_command(root, "--random-init", "--on-leak", "fail")
    assert words == LEAK.format(root=root, drop="--on-leak drop-from-train", warn="--on-leak warn")


def test_a_layout_that_there_is_not(root: Path) -> None:
    nope = SourceOptions(layout="nope")
    assert through_python(root, random_init=True, source=nope) == LAYOUT.format(where="parameter layout")
    assert through_the_command(root, "--random-init", "--layout", "nope") == LAYOUT.format(where="--layout")
    words = through_a_document(root, open_executor("local"), random_init=True, source=nope)
    assert words == LAYOUT.format(where="the hyperparameter layout")


RANGE = """\
lr=-1 cannot be used.
  where: {where}
  allowed: a number above 0, such as 0.001"""


def test_a_hyperparameter_that_cannot_be_used(root: Path) -> None:
    assert through_python(root, random_init=True, lr=-1) == RANGE.format(where="parameter lr")
    assert through_the_command(root, "--random-init", "--hp", "lr=-1") == RANGE.format(where="--lr")
    assert through_the_command(root, "lr=-1,-2", verb="tune") == RANGE.format(where="lr=")
    words = through_the_command(root, "--hp", "lr=-1", verb="train")
    assert words == RANGE.format(where="the hyperparameter lr")


def test_weights_and_none(root: Path, tmp_path: Path) -> None:
    words = through_python(root, random_init=True, weights=tmp_path)
    assert words == BOTH.format(weights="weights", random="random_init=True")
    words = through_the_command(root, "--random-init", "--weights", str(tmp_path))
    assert words == BOTH.format(weights="--weights", random="--random-init")
    words = through_a_document(root, open_executor("local"), random_init=True, weights=tmp_path)
    assert words == BOTH.format(weights="the channel weights", random="the hyperparameter random-init=true")


def test_what_the_process_that_exports_says_is_in_the_words_of_the_door(root: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    words = through_the_command(root, "--weights", str(tmp_path / "other.pth"))
    assert words.startswith("The weights do not fit test_resnet: ")
    assert words.endswith(f"do: name the architecture that the file was saved from with {COMMAND.spell('backbone')}")
