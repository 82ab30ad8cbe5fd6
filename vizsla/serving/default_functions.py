"""What runs where a model's own code lacks a function: the defaults of the sagemaker-pytorch-inference-toolkit
(``default_pytorch_inference_handler.py``), with the decoders and encoders of the sagemaker-inference-toolkit.

What those two answer, these answer to the byte (``tests/serving/test_default_functions.py``); what those refuse for
want of a format is looked at once more, as HTTP means it: parameters, ranges and qualities.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.serving.answers import by_preference


class UnsupportedTypeError(Exception):
    """A type of a body that the defaults do not read."""


class UnsupportedAcceptError(Exception):
    """A type of an answer that the defaults do not write."""


def default_model_fn(model_dir: str) -> Any:
    """The TorchScript of ``model.pt``, or of the only ``.pt`` or ``.pth`` file."""
    import torch

    file = Path(model_dir) / "model.pt"
    if not file.is_file():
        files = sorted(path for path in Path(model_dir).iterdir() if path.suffix in (".pth", ".pt") and path.is_file())
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise FileNotFoundError(
                "the code has no model_fn, which asks for one .pth or .pt file of TorchScript beside code/; "
                f"there are: {names}"
            )
        file = files[0]
    try:
        return torch.jit.load(str(file), map_location=_device())
    except RuntimeError as error:
        raise ValueError(  # torch's own words, of a damaged checkpoint, are on stderr
            f"the code has no model_fn, which asks for TorchScript, and {file.name} is none or damaged; weights of "
            "torch.save want a model_fn that builds the network and loads them"
        ) from error


def default_input_fn(data: bytes | str, content_type: str) -> Any:
    """JSON or CSV to a float32 tensor, npy to a tensor of the array's own type. Pickles are not read."""
    import torch

    media = media_type(content_type)
    text = data if isinstance(data, str) else None
    if media in TEXTS:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    if media == "application/json" and text is not None:
        array = np.array(json.loads(text))
    elif media == "text/csv" and text is not None:
        array = np.genfromtxt(io.StringIO(text), dtype=None, delimiter=",")
    elif media == "application/x-npy" and isinstance(data, bytes):
        return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False)).to(_device())
    else:
        raise UnsupportedTypeError(
            f"The toolkit's input_fn reads application/json, text/csv and application/x-npy, not {content_type!r}; "
            "write an input_fn for it."
        )
    # For a single number FloatTensor gives as many numbers of unused memory.
    return (torch.FloatTensor(array) if array.ndim else torch.tensor(array, dtype=torch.float32)).to(_device())


def default_predict_fn(data: Any, model: Any) -> Any:
    """The model, as it is when it is not trained, on the tensor."""
    import torch

    with torch.no_grad():
        model = model.to(_device())
        model.eval()
        return model(data.to(_device()))


def default_output_fn(prediction: Any, accept: str) -> tuple[bytes, str]:
    """Whatever the model predicts as JSON, CSV or npy; of several types in ``accept`` the first of these."""
    if hasattr(prediction, "detach"):
        prediction = prediction.detach().cpu().numpy().tolist()
    media = _chosen(accept)
    return _WRITERS[media](prediction), media


def media_type(value: str) -> str:
    """The type in a Content-Type header, without its parameters."""
    return value.partition(";")[0].strip().lower()


def json_bytes(value: Any) -> bytes:
    """JSON of plain values, and of arrays, tensors and their scalars anywhere in them."""
    return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return json.JSONEncoder().default(value)  # raises, with the toolkit's words


def _csv_bytes(value: Any) -> bytes:
    file = io.StringIO()
    np.savetxt(file, value, delimiter=",", fmt="%s")
    return file.getvalue().encode()


def _npy_bytes(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


TEXTS = ("application/json", "text/csv")
"""Types of bodies that the code gets as text."""

_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "application/json": json_bytes,
    "text/csv": _csv_bytes,
    "application/x-npy": _npy_bytes,
}


def _chosen(accept: str) -> str:
    """The toolkit's choice, which is the first that it can write; then, as HTTP has it, the one preferred."""
    for media in accept.replace(" ", "").split(","):
        if media in _WRITERS:
            return media
    for wanted in (media_type(one) for one in by_preference(accept or "*/*")):
        start = "" if wanted == "*/*" else wanted.removesuffix("*")
        for media in _WRITERS:
            if media == wanted or (wanted.endswith("/*") and media.startswith(start)):
                return media
    raise UnsupportedAcceptError(
        f"The toolkit's output_fn writes {', '.join(_WRITERS)}, not {accept!r}; write an output_fn for it."
    )


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
