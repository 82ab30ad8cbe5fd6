"""The functions that own code may leave out answer as those of SageMaker's toolkit, to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from serving import toolkit_answers

from vizsla.serving.default_functions import (
    default_input_fn,
    default_model_fn,
    default_output_fn,
    default_predict_fn,
)

if TYPE_CHECKING:
    from conftest import Running

TABLE = Path(__file__).with_name("toolkit_answers.json")
REFUSED = "UnsupportedFormatError"

KINDER = {
    "JSON with a charset": {"dtype": "torch.float32", "values": [1.0, 2.5]},
    "CSV with a heading said": {"dtype": "torch.float32", "values": [1.0, 2.0, 3.0]},
    "a name and a number as text/plain, */*": '["rose", 0.93]',
    "a name and a number as application/json; charset=utf-8": '["rose", 0.93]',
    "a name and a number as application/*": '["rose", 0.93]',
    "a name and a number as text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": '["rose", 0.93]',
}
"""What the toolkit refuses and HTTP allows."""
OTHERWISE = {"npz": "UnsupportedTypeError", "a picture": "UnsupportedTypeError"}
OTHERWISE["a name and a number as image/png"] = "UnsupportedAcceptError"
"""Refused by both, by other names; the toolkit reads npz and then makes no tensor of it."""


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, Any]]:
    """What the toolkit answered."""
    read: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    return read


def test_the_same_calls_give_the_same_answers(table: dict[str, dict[str, Any]]) -> None:
    pytest.importorskip("torch")
    ours = toolkit_answers.answers(default_input_fn, default_output_fn)
    for direction in ("input", "output"):
        expected = table[direction] | {n: v for n, v in (KINDER | OTHERWISE).items() if n in table[direction]}
        assert ours[direction] == expected
        assert all(table[direction][name] == REFUSED for name in KINDER if name in table[direction])


def test_the_table_is_what_the_toolkit_answers(table: dict[str, dict[str, Any]]) -> None:
    """The installed package itself, where it is at hand: a release that answers otherwise is seen here."""
    folder = os.environ.get("VIZSLA_TOOLKIT")
    if not folder:
        pytest.skip("needs VIZSLA_TOOLKIT, a folder with sagemaker-inference and sagemaker-pytorch-inference")
    command = [sys.executable, toolkit_answers.__file__, folder]
    said = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    assert json.loads(said) == table


def test_a_single_number_is_one_number() -> None:
    """The toolkit gives as many numbers of unused memory as it says."""
    pytest.importorskip("torch")
    for body, content_type in (("5", "application/json"), ("5\n", "text/csv")):
        tensor = default_input_fn(body, content_type)
        assert (tensor.shape, tensor.item()) == ((), 5.0)


def test_pickles_are_not_read() -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        default_input_fn(toolkit_answers._npy(np.array([{}], object)), "application/x-npy")


def test_the_model_does_not_train_when_it_predicts() -> None:
    """Many a model_fn forgets eval(); the toolkit does not. What comes out may be changed in place."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Dropout(0.999), torch.nn.BatchNorm1d(3))
    said = default_predict_fn(torch.ones(1, 3), model)
    assert torch.allclose(said, torch.ones(1, 3), atol=1e-4)
    assert not said.requires_grad
    said.add_(1)


def test_which_file_is_the_model(tmp_path: Path) -> None:
    """``model.pt``, whatever lies beside it; else the only one."""
    torch = pytest.importorskip("torch")

    def save(name: str, bias: float) -> None:
        layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(layer.bias, bias)
        torch.jit.script(layer).save(str(tmp_path / name))

    save("dogs.pth", 1)
    assert default_model_fn(str(tmp_path)).bias.item() == 1
    save("model.pth", 2)
    with pytest.raises(FileNotFoundError, match=r"asks for one \.pth or \.pt file .* there are: dogs\.pth, model\.pth"):
        default_model_fn(str(tmp_path))
    save("model.pt", 3)
    assert default_model_fn(str(tmp_path)).bias.item() == 3
    torch.save({"weight": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"asks for TorchScript, and model\.pt is none .* model_fn that builds"):
        default_model_fn(str(tmp_path))


CODE = """
import numpy as np
ANSWERS = {"mixed": ["rose", 0.93], "truth": [True, 0.5], "scalar": {"p": np.float32(0.5)}, "set": {1}}
def model_fn(d): return ANSWERS
def input_fn(body, content_type): return body.decode()
def predict_fn(word, model): return model[word]
"""


@pytest.fixture(scope="module")
def server(serving_all: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A model whose code has no output_fn."""
    code = tmp_path_factory.mktemp("defaults") / "own" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(CODE)
    return serving_all(str(code.parent), "--allow-code")


def _ask(server: Running, word: str, accept: str = "*/*") -> httpx.Response:
    headers = {"content-type": "text/plain", "accept": accept}
    return server.client.post("/invocations", content=word, headers=headers)


@pytest.mark.parametrize(
    ("word", "text"), [("mixed", '["rose", 0.93]'), ("truth", "[true, 0.5]"), ("scalar", '{"p": 0.5}')]
)
def test_numbers_stay_numbers_and_truths_truths(server: Running, word: str, text: str) -> None:
    answer = _ask(server, word)
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, text, "application/json")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json, text/plain, */*", "application/json"),
        ("text/csv, application/json", "text/csv"),
        ("text/plain, */*;q=0.1", "application/json"),
    ],
)
def test_of_several_types_one_is_chosen_and_named(server: Running, accept: str, content_type: str) -> None:
    answer = _ask(server, "truth", accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)


def test_what_cannot_be_written_is_told(server: Running) -> None:
    refused = _ask(server, "truth", "image/png")
    assert (refused.status_code, refused.json()["ErrorCode"]) == (406, "accept")
    assert refused.json()["Message"] == (
        "The toolkit's output_fn writes application/json, text/csv, application/x-npy, not 'image/png'; "
        "write an output_fn for it."
    )
    failed = _ask(server, "set")
    assert (failed.status_code, failed.json()["ErrorCode"]) == (500, "code-failed")
    assert "TypeError: Object of type set is not JSON serializable" in failed.json()["Message"]
