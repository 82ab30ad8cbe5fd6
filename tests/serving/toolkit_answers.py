"""The same calls through any default functions; ``toolkit_answers.json`` is what SageMaker's own answer to them.

pip install --no-deps --target FOLDER sagemaker-inference sagemaker-pytorch-inference
python tests/serving/toolkit_answers.py FOLDER > tests/serving/toolkit_answers.json
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

PREDICTIONS = {
    "a name and a number": lambda: ["rose", 0.93],
    "a truth and a number": lambda: [True, 0.5],
    "truths": lambda: [True, False],
    "whole numbers": lambda: [1, 2],
    "a pair": lambda: (1, 0.25),
    "rows": lambda: [[1, 2.5], [3, 4]],
    "ragged rows": lambda: [[1, 2], [3]],
    "nothing": lambda: None,
    "no rows": list,
    "a word": lambda: "rose",
    "not ASCII": lambda: "Ros\u00e9",
    "a number": lambda: 5,
    "no number": lambda: float("nan"),
    "bytes": lambda: b"rose",
    "a set": lambda: {1, 2},
    "float32 in an object": lambda: {"p": np.float32(0.1), "n": np.int64(3), "t": np.bool_(True)},
    "an array in an object": lambda: {"p": np.array([0.1, 0.2], np.float32)},
    "a tensor in an object": lambda: {"p": _torch().tensor([0.1, 0.2])},
    "a tensor in a list": lambda: [_torch().tensor([0.5]), "rose"],
    "a float32": lambda: np.float32(0.1),
    "an array of one row": lambda: np.array([0.1, 0.2], np.float32),
    "an array of rows": lambda: np.array([[0.1, 0.2]], np.float32),
    "an array of pictures": lambda: np.zeros((1, 2, 1), np.uint8),
    "an array of truths": lambda: np.array([True, False]),
    "an array of names": lambda: np.array(["rose", "tulip"]),
    "a tensor": lambda: _torch().tensor([[0.1, 0.2]]),
    "a tensor of labels": lambda: _torch().tensor([3, 1]),
    "a tensor that learns": lambda: _torch().tensor([0.25], requires_grad=True),
    "a single tensor": lambda: _torch().tensor(0.1),
}
"""What ``predict_fn`` may give."""

WRITTEN = ("application/json", "text/csv", "application/x-npy")
ACCEPTS = (
    "application/json, text/plain, */*",
    "text/plain, text/csv",
    "text/csv,application/json",
    "application/json;q=0.5,text/csv",
    "image/webp, application/x-npy , */*",
    "image/png",
    "text/plain, */*",
    "application/json; charset=utf-8",
    "application/*",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
)
"""What clients ask for besides a single type: axios, browsers, those with a list of wishes."""


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


BODIES: dict[str, tuple[str, str | bytes]] = {
    "JSON numbers": ("application/json", "[1, 2.5]"),
    "JSON rows": ("application/json", "[[1, 2], [3, 4]]"),
    "JSON truths": ("application/json", "[true, false]"),
    "JSON of nothing": ("application/json", "[]"),
    "JSON with null": ("application/json", "[1.5, null]"),
    "a JSON object": ("application/json", '{"inputs": [1]}'),
    "a JSON word": ("application/json", '"rose"'),
    "ragged JSON": ("application/json", "[[1], [2, 3]]"),
    "broken JSON": ("application/json", "[1,"),
    "a row of CSV": ("text/csv", "1,2,3\n"),
    "rows of CSV": ("text/csv", "1,2\n3,4\n"),
    "decimal rows of CSV": ("text/csv", "1.5,2.5\n3.5,4.5\n"),
    "a column of CSV": ("text/csv", "1\n2\n3\n"),
    "CSV with a heading": ("text/csv", "a,b\n1,2\n"),
    "CSV with whole and decimal columns": ("text/csv", "1,2.5\n3,4.5\n"),
    "CSV with a gap": ("text/csv", "1.5,,2.5\n"),
    "npy float32": ("application/x-npy", _npy(np.arange(3, dtype=np.float32))),
    "npy float64": ("application/x-npy", _npy(np.arange(6.0).reshape(2, 3))),
    "npy uint8": ("application/x-npy", _npy(np.arange(3, dtype=np.uint8))),
    "npy of another byte order": ("application/x-npy", _npy(np.arange(3, dtype=">f4"))),
    "broken npy": ("application/x-npy", b"\x93NUMPY"),
    "npz": ("application/x-npz", b"PK"),
    "a picture": ("image/jpeg", b"\xff\xd8"),
    "JSON with a charset": ("application/json; charset=utf-8", "[1, 2.5]"),
    "CSV with a heading said": ("text/csv; header=absent", "1,2,3\n"),
}
"""What a client may send, after the server has made text of what is text."""


def _torch() -> Any:
    import torch

    return torch


def answers(input_fn: Callable[..., Any], output_fn: Callable[..., Any]) -> dict[str, Any]:
    """What these functions give for each, as plain values."""
    asked = [(name, accept) for name in PREDICTIONS for accept in WRITTEN]
    asked += [("a name and a number", accept) for accept in ACCEPTS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "output": {f"{name} as {accept}": _output(output_fn, name, accept) for name, accept in asked},
            "input": {name: _input(input_fn, *BODIES[name]) for name in BODIES},
        }


def _output(output_fn: Callable[..., Any], name: str, accept: str) -> str:
    try:
        said = output_fn(PREDICTIONS[name](), accept)
    except Exception as error:  # noqa: BLE001 - which one is part of the answer
        return f"{type(error).__name__}"
    content = said[0] if isinstance(said, tuple) else said
    content = content.encode() if isinstance(content, str) else content
    return "a pickle" if b"'descr': '|O'" in content else content.decode("latin-1")


def _input(input_fn: Callable[..., Any], content_type: str, body: str | bytes) -> Any:
    try:
        tensor = input_fn(body, content_type)
    except Exception as error:  # noqa: BLE001 - which one is part of the answer
        return type(error).__name__
    return {"dtype": str(tensor.dtype), "values": tensor.tolist()}


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    from sagemaker_pytorch_serving_container.default_pytorch_inference_handler import (  # type: ignore[import-not-found]
        DefaultPytorchInferenceHandler,
    )

    toolkit = DefaultPytorchInferenceHandler()
    print(json.dumps(answers(toolkit.default_input_fn, toolkit.default_output_fn), indent=1))
