"""Two dog breed classifiers, registered, behind one multi-model endpoint, and run over the validation pictures.

The way of a SageMaker project with dogImages/{train,valid,test}/001.Affenpinscher/..., on your own machine: a resnet18
and a mobilenetv2 are trained and registered, one endpoint serves both, boto3 asks it as it asks SageMaker's, a batch
transform goes over the validation pictures, and its output is joined with the truth.

    python examples/dog_breeds.py dogImages
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

CORE, MOBILE, ENDPOINT = "dog-breed-classifier", "dog-breed-classifier-mobile", "dog-breed-classifier-multi-endpoint"


def vizsla(*arguments: object) -> dict[str, Any]:
    """Run the command; the JSON object that it prints."""
    command = [sys.executable, "-m", "vizsla", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def train_and_register(data: Path, name: str, options: list[str]) -> dict[str, Any]:
    """Train a classifier, register it where evaluation, model, endpoint and batch transform agree, and approve it."""
    vizsla("fit", data, "--name", name, *options)
    version = vizsla("models", "register", name, "--group", name)
    return vizsla("models", "approve", version["name"], "--alias", "champion", "--why", "the first one")


def ask(url: str, target: str, image: Path) -> list[float]:
    """The project's own code: ``invoke_endpoint`` with a TargetModel."""
    import boto3

    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    runtime_client = boto3.client("sagemaker-runtime", endpoint_url=url, **keys)
    with open(image, "rb") as f:
        payload = f.read()
    response = runtime_client.invoke_endpoint(
        EndpointName=ENDPOINT,
        TargetModel=target,
        ContentType="application/x-image",
        Body=payload,
    )
    return list(json.loads(response["Body"].read()))


def joined(output: Path, classes: list[str], table: Path) -> list[tuple[str, str, str]]:
    """Each input with its truth, which its key begins with, and what the model said; also as a CSV."""
    rows = []
    for path in sorted(output.rglob("*.out")):
        key = path.relative_to(output).as_posix().removesuffix(".out")
        answer = json.loads(path.read_bytes())
        said = classes[max(range(len(answer)), key=answer.__getitem__)] if isinstance(answer, list) else ""
        rows.append((key, key.partition("/")[0], said))
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "predicted"), *rows])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="dogImages: train, valid and test folders of class folders")
    options.add_argument("--core", default="--backbone resnet18", help="options of fit for the first model")
    options.add_argument("--mobile", default="--backbone mobilenetv2_100", help="and for the second one")
    asked = options.parse_args()
    for name, how in ((CORE, asked.core), (MOBILE, asked.mobile)):
        version = train_and_register(asked.data, name, shlex.split(how))
        print(f"{version['name']} is {version['approval_status']}, accuracy {version['metrics']['accuracy']:.1%}")

    home = Path(os.environ.get("VIZSLA_HOME", "runs"))
    shelf = home / "dog-models"  # the bucket of the endpoint's models
    for name in (CORE, MOBILE):
        (shelf / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(home / name / "output" / "model.tar.gz", shelf / name / "model.tar.gz")
    endpoint = vizsla("endpoints", "create", ENDPOINT, "--models-dir", shelf)
    try:
        image = sorted(asked.data.glob("test/*/*.jpg"))[0]
        for name in (CORE, MOBILE):
            answer = ask(endpoint["url"], f"{name}/model.tar.gz", image)
            print(f"{name} of {image.name}: class {answer.index(max(answer))}, probability {max(answer):.3f}")
    finally:
        vizsla("endpoints", "delete", ENDPOINT)

    done = vizsla("transform", f"models:/{CORE}@champion", asked.data / "valid", "--name", "dog-breed-transform")
    classes = json.loads((home / CORE / "model" / "model.json").read_bytes())["classes"]
    table = home / "dog-breed-transform" / "output" / "joined.csv"
    rows = joined(Path(done["output"]), classes, table)
    right = sum(label == said for _, label, said in rows)
    print(f"{len(rows):,} validation pictures, {done['images_per_second']:.0f} a second: {right / len(rows):.1%} right")
    print(f"predicted most often: {Counter(said for _, _, said in rows).most_common(3)}")
    print(f"with the truth: {table}")


if __name__ == "__main__":
    main()
