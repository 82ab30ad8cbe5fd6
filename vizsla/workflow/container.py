"""``train`` of a container: the built-in training as SageMaker starts it.

``/opt/ml/input/config/hyperparameters.json`` holds those of the training, the channels lie in ``/opt/ml/input/data``.
The model goes to ``/opt/ml/model``, the job with its report to ``/opt/ml/output/data``, and the reason of a failure to
``/opt/ml/output/failure``. ``serve`` is ``vizsla serve`` without models: it serves ``/opt/ml/model``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from vizsla.errors import UsageError, VizslaError
from vizsla.files import storage
from vizsla.jobs.spec import Channel, TrainingJobSpec
from vizsla.parameters import DOCUMENT, speaking
from vizsla.workflow.document import from_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.logbook import Logbook

OPT_ML = Path("/opt/ml")
_CHECKPOINTS = "checkpoints"


def main() -> int:
    """Train what lies in ``/opt/ml``; the exit code."""
    return train(OPT_ML)


def train(place: Path) -> int:
    """Train what lies in a folder that is laid out like ``/opt/ml``; the exit code."""
    os.environ.setdefault("VIZSLA_TRACKING", "off")
    os.environ["VIZSLA_HOME"] = str(place / "output" / "data")
    os.environ.setdefault(
        "VIZSLA_CACHE", str(place / _CHECKPOINTS / "cache")
    )  # what SageMaker brings back after a spot
    try:
        with speaking(DOCUMENT):
            result = fit(from_spec(_spec(place)), Logbook(sys.stdout))
        with storage(place / "model"):
            shutil.copytree(result.model, place / "model", dirs_exist_ok=True)
    except VizslaError as error:
        (place / "output").mkdir(exist_ok=True)
        (place / "output" / "failure").write_text(str(error))
        print(f"vizsla: {error}", file=sys.stderr)
        return 1
    return 0


def _spec(place: Path) -> TrainingJobSpec:
    file = place / "input" / "config" / "hyperparameters.json"
    try:
        values = json.loads(file.read_bytes()) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"The hyperparameters cannot be read: {error}.", where=file) from error
    folders = sorted(path for path in (place / "input" / "data").glob("*") if path.is_dir())
    own = {name: text for name, text in values.items() if not name.startswith("sagemaker_")}
    return TrainingJobSpec(
        hyper_parameters=own, input_data_config=[Channel.of_path(folder.name, folder) for folder in folders]
    )


if __name__ == "__main__":
    sys.exit(main())
