"""What runs where a model's own code lacks a function: the defaults of the sagemaker-pytorch-inference-toolkit
(``default_pytorch_inference_handler.py``)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np


class UnsupportedTypeError(Exception):
    """A content type that the toolkit's defaults do not know."""


def default_model_fn(model_dir: str) -> Any:
    """A TorchScript ``model.pth`` or ``model.pt``, or the only file that ends so."""
    import torch

    folder = Path(model_dir)
    files = [path for path in (folder / "model.pth", folder / "model.pt") if path.is_file()]
    if not files:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".pth", ".pt"))
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise FileNotFoundError(
                "inference.py has no model_fn, which asks for one .pth or .pt file of TorchScript beside code/; "
                f"there are: {names}"
            )
    return torch.jit.load(str(files[0]), map_location="cpu").eval()


def default_input_fn(data: bytes | str, content_type: str) -> Any:
    """JSON, CSV or npy to a float32 tensor."""
    import torch

    media = content_type.partition(";")[0].strip()
    if media == "application/json":
        return torch.tensor(json.loads(data), dtype=torch.float32)
    if media == "text/csv":
        text = data if isinstance(data, str) else data.decode()
        return torch.from_numpy(np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32, ndmin=2))
    if media == "application/x-npy" and isinstance(data, bytes):
        return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))
    raise UnsupportedTypeError(
        f"The toolkit's input_fn reads application/json, text/csv and application/x-npy, not {content_type!r}; "
        "write an input_fn for it."
    )


def default_predict_fn(data: Any, model: Any) -> Any:
    """The model on the tensor, without gradients."""
    import torch

    with torch.inference_mode():
        return model(data)


def default_output_fn(prediction: Any, accept: str) -> tuple[bytes, str]:
    """A tensor, array or list as JSON, CSV or npy."""
    array = np.asarray(prediction.detach().cpu() if hasattr(prediction, "detach") else prediction)
    media = accept.partition(";")[0].strip()
    if media in ("application/json", "*/*", ""):
        return json.dumps(array.tolist()).encode(), "application/json"
    if media == "text/csv":
        file = io.StringIO()
        np.savetxt(file, np.atleast_2d(array), delimiter=",", fmt="%.9g")
        return file.getvalue().encode(), "text/csv"
    if media == "application/x-npy":
        content = io.BytesIO()
        np.save(content, array)
        return content.getvalue(), media
    raise UnsupportedTypeError(
        f"The toolkit's output_fn writes application/json, text/csv and application/x-npy, not {accept!r}; "
        "write an output_fn for it."
    )
