"""A model for elsewhere: one ONNX file, eight bits, timm's weights, an archive for SageMaker; each of them proven."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.archives import pack
from vizsla.errors import UsageError
from vizsla.files import storage, write_bytes, write_json
from vizsla.images import Limits, Preprocessing
from vizsla.jobs.directory import JobDirectory
from vizsla.models import artifact
from vizsla.models.onnx_file import metadata, readme, self_contained
from vizsla.models.weights import BackboneSpec
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.registry import reading
from vizsla.registry.package import SCHEME
from vizsla.serving.entry import has_code
from vizsla.version import PACKAGE, VERSION
from vizsla.workflow.document import from_job
from vizsla.workflow.models import locate_model
from vizsla.workflow.parity import HeldOut, Proof, compare, prove, saved_model
from vizsla.workflow.registration import job_of, pictures_of

INFERENCE = '''\
"""How SageMaker's PyTorch inference toolkit asks this model: Vizsla's own code answers, which lies beside this file."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import vizsla
import vizsla.serving.answers as answers


def model_fn(model_dir):
    return vizsla.load(model_dir)


def input_fn(body, content_type):
    return body


def predict_fn(body, model):
    return model.probabilities(bytes(body)), model.classes


def output_fn(prediction, accept):
    probabilities, classes = prediction
    form = answers.choose_form(accept, json_asked=False)
    return form.write([answers.Answer(probabilities)], answers.Labels(tuple(classes)), False), form.content_type
'''
_REQUIREMENTS = (
    "numpy>=1.26 pillow>=11 simplejpeg>=1.7.6 onnxruntime>=1.20 safetensors>=0.4.5 pydantic>=2.9 orjson>=3.10".split()
)
_BATCH = 16


@dataclass
class Export:
    """What was written, and the proof that it says the same. ``facts`` are about this form alone."""

    form: str
    files: list[Path]
    proof: Proof
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "form": self.form,
            "files": [str(file) for file in self.files],
            "proof": self.proof.to_dict(),
        } | self.facts


def export(model: str, form: str, output: Path, *, pictures: str | None = None) -> Export:
    """Write a model in another form into a folder.

    Parameters
    ----------
    form:
        One of :data:`FORMS`.
    output:
        The folder, made where it is not there.
    pictures:
        What proves it; by default test pictures of the job.

    Raises
    ------
    ModelError
        When the other form says something else: nothing is left of it then.
    UsageError
        For a form that there is not, or one that this model cannot have.
    """
    if form not in FORMS:
        raise UsageError(f"There is no form {form!r:.80}.", parameter="to", allowed=", ".join(FORMS))
    path = locate_model(model)
    if has_code(path):
        raise UsageError("A model of its own code is exported by that code only.", where=path)
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(
            "The folder for the export is not empty, and nothing in it is overwritten.",
            where=output,
            parameter="output",
            do="name a folder that is not there yet",
        )
    job = _job(model, path)
    held = pictures_of(job, pictures)
    with storage(output):
        output.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    try:
        made = FORMS[form](path, job, work, held)
        made.proof.check()
        with storage(output):
            for place, file in enumerate(made.files):
                target = output / file.relative_to(work)
                file.replace(target)
                made.files[place] = target
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return made


def _job(model: str, path: Path) -> JobDirectory | None:
    if not model.startswith(SCHEME):
        return job_of(path)
    directory = Path(str(reading.find(model).lineage.get("job_directory", "")))
    return JobDirectory.open(directory) if (directory / "job.json").is_file() else None


def _onnx(path: Path, job: JobDirectory | None, work: Path, held: Sequence[HeldOut]) -> Export:
    import onnxruntime

    saved = artifact.load(path)
    file = work / "model.onnx"
    write_bytes(file, self_contained(saved))
    write_bytes(work / "README.txt", readme(saved.card).encode())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def ask(pixels: Any) -> Any:
        return session.run(["probabilities"], {"images": pixels})[0]

    return Export("onnx", [file, work / "README.txt"], _proof(path, saved, held, "ONNX file", ask))


def _openvino(path: Path, job: JobDirectory | None, work: Path, held: Sequence[HeldOut]) -> Export:
    openvino = require("openvino", extra="openvino", feature="OpenVINO's form")
    saved = artifact.load(path)
    whole = work / "whole.onnx"
    write_bytes(whole, self_contained(saved))
    model = openvino.convert_model(str(whole))
    for name, value in metadata(saved.card).items():
        model.set_rt_info(value, ["vizsla", name])
    files = [work / name for name in ("model.xml", "model.bin", "README.txt")]
    openvino.save_model(model, str(files[0]), compress_to_fp16=False)
    write_bytes(files[2], readme(saved.card).encode())
    core = openvino.Core()
    # Some processors would reckon in bfloat16, which is quicker and not the same.
    asked = core.compile_model(str(files[0]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def ask(pixels: Any) -> Any:
        return asked({"images": pixels})["probabilities"]

    return Export("openvino", files, _proof(path, saved, held, "OpenVINO", ask), {"openvino": openvino.__version__})


def _proof(
    path: Path, saved: artifact.SavedModel, held: Sequence[HeldOut], name: str, ask: Callable[[Any], Any]
) -> Proof:
    """Compare what something says of pixels, uint8 (n, size, size, 3), with the saved model."""
    preprocessing, limits = saved.preprocessing, Limits.from_settings()
    pixels = [preprocessing(picture.path.read_bytes(), limits) for picture in held]
    said = [row.tolist() for at in range(0, len(held), _BATCH) for row in ask(np.stack(pixels[at : at + _BATCH]))]
    answers = {"saved model": saved_model(path, [picture.path for picture in held]), name: said}
    return compare(held, answers, tuple(saved.card.classes))


def _int8(path: Path, job: JobDirectory | None, work: Path, held: Sequence[HeldOut]) -> Export:
    from vizsla.workflow.quantization import quantise

    if job is None:
        raise UsageError("A model is quantised with the data of its training, and its job is not here.", where=path)
    made = quantise(path if (path / artifact.CARD).is_file() else path / "model", job, work / "model")
    proof = prove(made.folder, [HeldOut(picture.path) for picture in held], has_code=False)
    accuracy = {"fp32": made.before.accuracy.value, "int8": made.after.accuracy.value}
    loss = {"fp32": made.before.loss.value, "int8": made.after.loss.value}
    facts = {"accuracy": accuracy, "points_lost": round(made.lost, 3), "loss": loss, "pictures": made.after.n}
    return Export("int8", [made.folder], proof, facts)


def _timm(path: Path, job: JobDirectory | None, work: Path, held: Sequence[HeldOut]) -> Export:
    saved = artifact.load(path)
    module = _torch_model(saved, job, path)
    torch = require("torch", extra="train", feature="Weights for timm")
    safetensors = require("safetensors.torch", extra="train", feature="Weights for timm")
    safetensors.save_file({k: v.contiguous() for k, v in module.state_dict().items()}, str(work / "model.safetensors"))
    card = saved.card
    write_json(
        work / "config.json",
        {
            "architecture": card.backbone.name.split(".")[0],
            "num_classes": len(card.classes),
            "num_features": card.backbone.features,
            "label_names": card.classes,
            "pretrained_cfg": {
                "num_classes": len(card.classes),
                "input_size": [3, card.preprocessing.size, card.preprocessing.size],
                "mean": list(card.preprocessing.mean),
                "std": list(card.preprocessing.std),
                "interpolation": card.preprocessing.interpolation,
                "crop_pct": card.preprocessing.size / card.preprocessing.resize,
                "crop_mode": card.preprocessing.crop,
                "label_names": card.classes,
            },
        },
    )
    timm = require("timm", extra="train", feature="Weights for timm")
    torch.set_num_threads(1)  # its threads spin, which beside other work takes longer than the work
    again = timm.create_model(f"local-dir:{work}", pretrained=True).eval()
    preprocessing: Preprocessing = saved.preprocessing

    def ask(pixels: Any) -> Any:
        with torch.inference_mode():
            return again(torch.from_numpy(preprocessing.normalise(pixels))).softmax(1).numpy()

    files = [work / "model.safetensors", work / "config.json"]
    return Export("timm", files, _proof(path, saved, held, "timm", ask))


def _torch_model(saved: artifact.SavedModel, job: JobDirectory | None, path: Path) -> Any:
    """timm's network with the backbone's weights and the head for its classifier."""
    if saved.card.head != "linear":
        raise UsageError("timm's networks end in a linear head.", where=path, allowed="a model whose head is linear")
    if job is None:
        raise UsageError("The weights of the backbone are known to its job only, which is not here.", where=path)
    from vizsla.models.backbone import load_backbone

    request = from_job(job.document)
    spec = BackboneSpec.resolve(
        request.backbone, request.weights, random_init=request.random_init, seed=request.head.seed
    )
    if spec.describe() != saved.card.backbone.weights:
        raise UsageError(
            "The backbone was trained, and its weights were kept as an ONNX graph only.",
            where=path,
            allowed="a model whose backbone is as it was fetched",
            do=f"{spelled('to', 'onnx')} gives the whole model",
        )
    torch = require("torch", extra="train", feature="Weights for timm")
    module = load_backbone(spec).module
    module.reset_classifier(len(saved.card.classes))
    tensors = saved.head.tensors()
    with torch.no_grad():
        classifier = module.get_classifier()
        classifier.weight.copy_(torch.from_numpy(np.ascontiguousarray(tensors["weight"])).view_as(classifier.weight))
        classifier.bias.copy_(torch.from_numpy(np.ascontiguousarray(tensors["bias"])))
    return module


def _sagemaker(path: Path, job: JobDirectory | None, work: Path, held: Sequence[HeldOut]) -> Export:
    """``model.tar.gz`` with ``code/inference.py`` and this package beside it, as the PyTorch container wants it."""
    place = work / "content"
    folder = path if (path / artifact.CARD).is_file() else path / "model"
    if path.is_file():
        with tarfile.open(path) as tar:
            tar.extractall(place, filter="data")
    else:
        shutil.copytree(folder, place)
    artifact.load(place)
    code = place / "code"
    code.mkdir(exist_ok=True)
    write_bytes(code / "inference.py", INFERENCE.encode())
    write_bytes(code / "requirements.txt", "\n".join([*_REQUIREMENTS, ""]).encode())
    shutil.copytree(PACKAGE, code / "vizsla", ignore=shutil.ignore_patterns("__pycache__", "cli", "reports", "compat"))
    archive = work / artifact.ARCHIVE
    pack(place, archive, reproducible=True)
    own = work / "proof"
    shutil.copytree(place, own)
    (own / "code" / "requirements.txt").unlink()  # they are installed here
    proof = prove(own, held, has_code=True, allow_code=True)
    reference = saved_model(path, [picture.path for picture in held])
    answers = {"saved model": reference} | proof.answers
    checked = compare(held, answers, tuple(artifact.load(place).card.classes))
    return Export("sagemaker", [archive], checked, {"vizsla": VERSION})


FORMS: dict[str, Callable[[Path, JobDirectory | None, Path, Sequence[HeldOut]], Export]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "int8": _int8,
    "timm": _timm,
    "sagemaker": _sagemaker,
}
"""What a model can be exported to."""
