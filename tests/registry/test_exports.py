"""A model in other forms: each says the same, and is what others read."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.batch.conftest import save_model
from tests.registry.conftest import Models
from vizsla.images import Limits
from vizsla.models import artifact
from vizsla.models.export import ExportedBackbone
from vizsla.models.heads import CosineHead
from vizsla.models.model import load
from vizsla.models.onnx_file import self_contained


def _picture(photos: Path) -> Path:
    return photos / "red" / "000.jpg"


def test_one_onnx_file_holds_all(models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    import onnxruntime

    made = models("export", two_models[0], "--output", tmp_path / "out", "--pictures", photos)
    assert made["proof"]["parties"] == ["saved model", "ONNX file"]
    assert made["proof"]["largest"] < 1e-5
    session = onnxruntime.InferenceSession(made["files"][0])
    facts = session.get_modelmeta().custom_metadata_map
    model = load(two_models[0])
    assert json.loads(facts["classes"]) == list(model.classes)
    assert "resize the short side" in facts["readme"]
    assert [output.name for output in session.get_outputs()] == ["probabilities"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.txt", "model.onnx"]


def test_openvinos_form_says_the_same(
    models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    """With OpenVINO from this environment, or from one of its own beside the packages of this one:
    ``python -m venv ~/.cache/vizsla/openvino-venv``, there a ``.pth`` file that names this site-packages, and
    ``pip install --no-deps openvino openvino-telemetry``."""
    python = own_python("openvino", "openvino-venv")
    code = "import sys; sys.argv[0] = 'vizsla'; from vizsla.cli.main import main; main()"
    arguments = ("models", "export", two_models[0], "--to", "openvino", "--output", tmp_path / "out")
    command = [python, "-c", code, *map(str, arguments), "--pictures", str(photos), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout.splitlines()[-1])
    assert made["proof"]["parties"] == ["saved model", "OpenVINO"]
    assert made["proof"]["largest"] < 1e-4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.txt", "model.bin", "model.xml"]
    ask = (
        "import sys, json, numpy, openvino; model = openvino.Core().read_model(sys.argv[1]); "
        "print(json.dumps([json.loads(model.get_rt_info(['vizsla', 'classes']).astype(str)), "
        "openvino.Core().compile_model(model, 'CPU')({'images': numpy.load(sys.argv[2])})['probabilities'].tolist()]))"
    )
    model = load(two_models[0])
    data = _picture(photos).read_bytes()
    np.save(tmp_path / "pixels.npy", model.preprocessing(data, Limits.from_settings())[None])
    alone = [python, "-I", "-c", ask, str(tmp_path / "out" / "model.xml"), str(tmp_path / "pixels.npy")]
    classes, said = json.loads(subprocess.run(alone, capture_output=True, text=True, check=True).stdout)
    assert classes == list(model.classes)
    assert np.allclose(said[0], model.probabilities(data), atol=1e-2), "by default, which may be bfloat16"


def test_without_openvino_it_says_which_extra(
    models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("openvino"):
        pytest.skip("openvino is here")
    options = ("--output", tmp_path / "out", "--pictures", photos)
    words = models("export", two_models[0], "--to", "openvino", *options, code=1)["words"]
    assert "OpenVINO's form" in words
    assert "vizsla[openvino]" in words


def own_python(package: str, folder: str) -> str:
    """A Python that has a package: this one, or that of an environment of its own."""
    if importlib.util.find_spec(package):
        return sys.executable
    python = Path(os.environ.get("VIZSLA_OPENVINO") or Path.home() / ".cache/vizsla" / folder) / "bin" / "python"
    if not python.exists():
        pytest.skip(f"needs {package}, here or in an environment at {python.parents[1]}")
    return str(python)


def test_a_cosine_head_is_in_the_graph_too(tmp_path: Path, tiny_backbone: ExportedBackbone, photos: Path) -> None:
    import onnxruntime

    saved = artifact.load(save_model(tmp_path / "linear", tiny_backbone))
    rng = np.random.default_rng(0)
    d = tiny_backbone.features
    floats = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((3, d), 1, 3, d, d)]
    head = CosineHead(floats[0] / np.linalg.norm(floats[0], axis=1, keepdims=True), np.abs(floats[1]) + 5, *floats[2:4],
                      np.abs(floats[4]) + 0.5)  # fmt: skip
    digest = hashlib.sha256(artifact.head_bytes(head)).hexdigest()
    card = saved.card.model_copy(update={"head": "cosine", "head_sha256": digest})
    artifact.save(tmp_path / "cosine", card, tiny_backbone.path, head)
    session = onnxruntime.InferenceSession(self_contained(artifact.load(tmp_path / "cosine")))
    model = load(tmp_path / "cosine")
    data = _picture(photos).read_bytes()
    pixels = model.preprocessing(data, Limits.from_settings())
    (said,) = session.run(["probabilities"], {"images": pixels[None]})
    assert np.allclose(said[0], model.probabilities(data), atol=1e-5)


def test_an_archive_for_sagemaker_answers_by_its_own_code(
    models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    made = models("export", two_models[0], "--to", "sagemaker", "--output", tmp_path / "out", "--pictures", photos)
    assert made["proof"]["parties"] == ["saved model", "endpoint", "batch transform"]
    assert made["proof"]["largest"] < 1e-6
    with tarfile.open(made["files"][0]) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "container", filter="data")
    assert {"model.json", "code/inference.py", "code/requirements.txt", "code/vizsla/models/model.py"} <= set(names)
    # As a container asks it, which has no Vizsla but the one beside the code.
    code = (
        "import inference, vizsla, sys\n"
        f"model = inference.model_fn({str(tmp_path / 'container')!r})\n"
        f"body = inference.input_fn(open({str(_picture(photos))!r}, 'rb').read(), 'image/jpeg')\n"
        "print(vizsla.__file__, inference.output_fn(inference.predict_fn(body, model), 'application/json')[0].decode())"
    )
    place = tmp_path / "container" / "code"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=clean, capture_output=True, text=True, check=True
    )
    own, _, answer = said.stdout.partition(" ")
    assert Path(own).is_relative_to(place)
    assert json.loads(answer) == load(two_models[0]).probabilities(_picture(photos).read_bytes()).tolist()


def test_eight_bits_and_weights_for_timm(job: Path, models: Models, tmp_path: Path) -> None:
    made = models("export", "colours", "--to", "int8", "--output", tmp_path / "int8")
    card = json.loads((tmp_path / "int8" / "model" / "model.json").read_bytes())
    assert card["backbone"]["precision"] == "int8"
    assert made["points_lost"] == pytest.approx(100 * (made["accuracy"]["fp32"] - made["accuracy"]["int8"]), abs=0.001)
    assert card["metrics"]["accuracy"] == pytest.approx(made["accuracy"]["int8"], abs=1e-6)
    assert made["proof"]["parties"] == ["saved model", "endpoint", "batch transform"]
    smaller = (tmp_path / "int8" / "model" / "backbone.onnx").stat().st_size
    assert smaller < 0.7 * (job / "model" / "backbone.onnx").stat().st_size

    made = models("export", "colours", "--to", "timm", "--output", tmp_path / "timm")
    assert made["proof"]["parties"] == ["evaluation", "saved model", "timm"]
    config = json.loads((tmp_path / "timm" / "config.json").read_bytes())
    assert config["label_names"] == list(load(job).classes)


def test_what_cannot_be_exported(models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    for form, words in (("int8", "its job is not here"), ("timm", "known to its job only")):
        said = models("export", two_models[0], "--to", form, "--output", tmp_path / "x", "--pictures", photos, code=2)[
            "words"
        ]
        assert words in said
        assert not list((tmp_path / "x").iterdir()), "nothing is left"
    kept = tmp_path / "kept" / "README.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    said = models("export", two_models[0], "--output", kept.parent, code=2)["words"]
    assert "The folder for the export is not empty, and nothing in it is overwritten." in said
    assert kept.read_text() == "mine"
    said = models("export", two_models[0], "--to", "coreml", "--output", tmp_path / "x", code=2)["words"]
    assert "There is no form 'coreml'." in said
    assert "onnx, openvino, int8, timm, sagemaker" in said
    own = tmp_path / "own"
    shutil.copytree(two_models[0], own)
    (own / "code").mkdir()
    (own / "code" / "inference.py").write_text("")
    said = models("export", own, "--output", tmp_path / "x", code=2)["words"]
    assert "exported by that code only" in said
