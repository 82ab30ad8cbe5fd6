"""Two dog breed classifiers, registered, behind one multi-model endpoint, and run over the validation pictures.

The way of a SageMaker project with dogImages/{train,valid,test}/001.Affenpinscher/..., on your own machine: a resnet18
and a mobilenetv2 are trained and registered, one endpoint serves both, boto3 asks it as it asks SageMaker's, a batch
transform goes over the validation pictures, its output is joined with the truth, and on that rests a bias report: is a
breed of few training pictures named as often as it should be?

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


Row = tuple[str, str, str, str]


def joined(output: Path, classes: list[str], few: set[str], table: Path) -> list[Row]:
    """Each input with its truth, which its key begins with, what the model said, and whether its breed is one of
    ``few`` training pictures; also as a CSV."""
    rows: list[Row] = []
    for path in sorted(output.rglob("*.out")):
        key = path.relative_to(output).as_posix().removesuffix(".out")
        answer = json.loads(path.read_bytes())
        said = classes[max(range(len(answer)), key=answer.__getitem__)] if isinstance(answer, list) else ""
        truth = key.partition("/")[0]
        rows.append((key, truth, said, "few" if truth in few else "many"))
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "predicted", "pictures"), *rows])
    return rows


def fewer_half(train: Path) -> set[str]:
    """The breeds with fewer training pictures than the others."""
    counts = {folder.name: sum(1 for _ in folder.iterdir()) for folder in train.iterdir() if folder.is_dir()}
    return set(sorted(counts, key=lambda breed: (counts[breed], breed))[: len(counts) // 2])


def bias(rows: list[Row], breed: str, folder: Path) -> dict[str, Any]:
    """Clarify's metrics of the answers: whether pictures of a breed of few training pictures are said to be ``breed``
    as often as they are. Pictures without an answer are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "answers.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "predicted", "pictures"), *(row for row in rows if row[2])])
    config = {
        "label": "label",
        "label_values_or_threshold": [breed],
        "predicted_label": "predicted",
        "facet": [{"name_or_index": "pictures", "value_or_threshold": ["few"]}],
        "excluded_columns": ["image"],
        "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": "all"}},
    }
    (folder / "analysis_config.json").write_text(json.dumps(config))
    return vizsla("bias", folder / "answers.csv", "--config", folder / "analysis_config.json", "--output", folder)


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
    rows = joined(Path(done["output"]), classes, fewer_half(asked.data / "train"), table)
    right = sum(label == said for _, label, said, _ in rows)
    print(f"{len(rows):,} validation pictures, {done['images_per_second']:.0f} a second: {right / len(rows):.1%} right")
    often = Counter(said for _, _, said, _ in rows if said).most_common(3)
    print(f"predicted most often: {often}")
    print(f"with the truth: {table}")
    found = bias(rows, often[0][0], home / "dog-breed-bias")
    (group,) = found["analysis"]["post_training_bias_metrics"]["facets"]["pictures"]
    metrics = {metric["name"]: metric for metric in group["metrics"]}
    low, high = metrics["AD"]["interval"]
    print(
        f"accuracy of breeds of few pictures below that of the others by {metrics['AD']['value']:.3f} ({low:.3f} to "
        f"{high:.3f}) for {often[0][0]}: {found['report']}"
    )


if __name__ == "__main__":
    main()
