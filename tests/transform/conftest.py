"""A real saved model and real pictures; transforms run within this process where the process is not what is tested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla

from vizsla.models import artifact
from vizsla.models.export import ExportedBackbone
from vizsla.models.heads import LinearHead

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: ExportedBackbone) -> Path:
    """A saved model whose head is drawn at random."""
    return save_model(tmp_path_factory.mktemp("saved") / "colours", tiny_backbone)


def save_model(folder: Path, backbone: ExportedBackbone, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.3, (len(CLASSES), backbone.features)).astype(np.float32)
    head = LinearHead(weights, rng.normal(0, 0.3, len(CLASSES)).astype(np.float32))
    card = artifact.ModelCard(
        classes=list(CLASSES),
        preprocessing=artifact.PreprocessingCard(**backbone.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=backbone.name,
            weights=backbone.weights,
            sha256=backbone.sha256,
            features=backbone.features,
            engine="onnxruntime",
            precision="fp32",
        ),
        head_sha256=hashlib.sha256(artifact.head_bytes(head)).hexdigest(),
        provenance=artifact.Provenance(
            job="test", created="2026", dataset="none", dataset_sha256="0" * 64, seed=seed, versions={}
        ),
    )
    artifact.save(folder, card, backbone.path, head)
    return folder


Transform = Callable[..., dict[str, Any]]


@pytest.fixture
def transform() -> Transform:
    """Runs ``vizsla transform``, which must end well (or with ``code``); what it prints as JSON, with its words."""

    def run(*arguments: object, code: int = 0, executor: str = "debug", **environment: str) -> dict[str, Any]:
        result = vizsla("transform", *arguments, "--executor", executor, "--json", **environment)
        assert result.returncode == code, result.stderr
        lines = result.stdout.strip().splitlines()
        told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        return told | {"words": result.stderr + result.stdout}

    return run
