"""The example of two classifiers on one endpoint, with real processes: trained, registered, asked, transformed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vizsla.models.model import load

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dog_breeds.py"


@pytest.mark.slow
def test_two_classifiers_from_training_to_the_joined_output(
    folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("mlflow")
    breeds = {"001.Affenpinscher": 12, "002.Afghan_hound": 12, "003.Airedale_terrier": 12}
    few = dict.fromkeys(breeds, 4)
    data = folder_of_photos(splits={"train": breeds, "valid": few, "test": few}, name="dogImages")
    (data / "valid" / "001.Affenpinscher" / "torn.jpg").write_bytes(b"\xff\xd8\xff nothing")
    small = "--backbone test_resnet --random-init"
    command = [sys.executable, str(EXAMPLE), str(data), f"--core={small}", f"--mobile={small} --seed 1"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    home = Path(os.environ["VIZSLA_HOME"])
    assert "dog-breed-classifier/1 is Approved" in done.stdout
    assert "dog-breed-classifier-mobile of 000.jpg" in done.stdout
    image = data / "test" / "001.Affenpinscher" / "000.jpg"
    for name in ("dog-breed-classifier", "dog-breed-classifier-mobile"):
        best = load(home / name).predict(image)
        place = load(home / name).classes.index(best.label)
        assert f"{name} of 000.jpg: class {place}, probability {best.probability:.3f}" in done.stdout
    with open(home / "dog-breed-transform" / "output" / "joined.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert [row["predicted"] for row in rows if row["image"].endswith("torn.jpg")] == [""]
    model = load(home / "dog-breed-classifier")
    for row in rows:
        if row["predicted"]:
            assert row["label"] == row["image"].partition("/")[0]
            assert row["predicted"] == model.predict(data / "valid" / row["image"]).label
    assert {row["pictures"] for row in rows} == {"few", "many"}
    analysis = json.loads((home / "dog-breed-bias" / "analysis.json").read_bytes())
    (group,) = analysis["post_training_bias_metrics"]["facets"]["pictures"]
    assert group["rows"] == {"facet": 4, "others": 8}
    assert "<svg" in (home / "dog-breed-bias" / "report.html").read_text()
    assert "accuracy of breeds of few pictures" in done.stdout
    answer = json.loads((home / "dog-breed-transform" / "output" / "001.Affenpinscher" / "000.jpg.out").read_bytes())
    expected = model.probabilities((data / "valid" / "001.Affenpinscher" / "000.jpg").read_bytes())
    assert np.array_equal(np.asarray(answer, np.float32), expected)
