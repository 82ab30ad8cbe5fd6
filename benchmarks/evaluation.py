"""What ``vizsla evaluate`` and ``vizsla explain`` must reach: planted weak slices, ten thousand pictures, Kernel SHAP.

    python -m benchmarks.evaluation [--part slices|speed|shap] [--draws 20] [--pictures 10000]

Slices are planted in real photos with a real model: in each draw 15 % of the pictures are blurred or darkened (and the
model is asked about them so), or come from one camera, whose pictures get 30 % more mistakes. Without: the same looks,
with the model's mistakes shuffled among the pictures of each class. A slice counts as found when one is named of whose
pictures at least half are planted ones, and which holds at least half of these.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.measure import FLOWERS, MOBILENET_WEIGHTS, interleaved, photos, ratio, seconds, spread, table, vizsla
from vizsla.data.scan_store import ScanStore
from vizsla.data.sources import list_source
from vizsla.evaluation.explanation.asking import Composed, answers
from vizsla.evaluation.explanation.kernel_shap import kernel_shap
from vizsla.evaluation.explanation.superpixels import superpixels
from vizsla.evaluation.looks import LookStore, look
from vizsla.evaluation.slices import weak_slices
from vizsla.images import DecodedImage, Limits, decode, read_file
from vizsla.settings import settings
from vizsla.workflow.fit import fit
from vizsla.workflow.insights import describe
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest
from vizsla.workflow.saved_model import OpenModel
from vizsla.workflow.sight import Sight, see

SHARE, PLANTED_MISTAKES = 0.15, 0.3
DAMAGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 60)),
    "dark": lambda image: image.point([round(0.12 * value) for value in range(256)] * 3),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", choices=["slices", "speed", "shap"])
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--pictures", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"VIZSLA_HOME": home, "VIZSLA_TRACKING": "off"}
        model = OpenModel.of(fit(FitRequest(FLOWERS, weights=MOBILENET_WEIGHTS)).job)
        if asked.part in (None, "slices"):
            slices(model, asked.draws)
        if asked.part in (None, "shap"):
            shap(model, asked.rounds)
        if asked.part in (None, "speed"):
            speed(model, Path(home), asked.pictures)


@dataclass(frozen=True)
class Pool:
    """Photos that training did not see, their labels, and what the model says of them; again, damaged in each way."""

    sight: Sight
    labels: np.ndarray
    predicted: np.ndarray
    damaged: dict[str, tuple[np.ndarray, np.ndarray]]
    """By kind: looks and predictions."""


def slices(model: OpenModel, draws: int) -> None:
    """Recall with a planted slice, and what is named without one."""
    pool = make_pool(model)
    clean = (pool.predicted == pool.labels).mean()
    rows = []
    for kind in ("blur", "dark", "camera"):
        found, others, drop, false = 0, 0, [], 0
        for seed in range(draws):
            sight, planted, predicted = plant(pool, kind, np.random.default_rng(seed))
            right = predicted == pool.labels
            drop.append(100 * (right[~planted].mean() - right[planted].mean()))
            named = slices_of(sight, right, pool.labels, seed)
            hits = [is_found(one, planted) for one in named]
            found += any(hits)
            others += len(hits) - sum(hits)
            false += len(slices_of(sight, shuffled(pool, seed), pool.labels, seed))
        rows.append((kind, spread(drop), f"{found} of {draws}", others, f"{false} in {draws}"))
    print(f"{len(pool.labels)} photos of flowers, {100 * clean:.1f} % right as they are; {100 * SHARE:.0f} % planted.")
    table(("planted", "points less accurate", "found", "others named", "named with mistakes by chance"), rows)


def unseen(model: OpenModel) -> tuple[Sight, np.ndarray]:
    """The photos of the valid and the test split, and their labels."""
    listing = list_source(FLOWERS)
    rows = np.flatnonzero(np.isin(np.array(listing.splits, dtype=str), ["valid", "test"]))
    sight = see(listing.root, [listing.paths[row] for row in rows], model, Silent())
    position = {name: i for i, name in enumerate(model.classes)}
    return sight, np.array([position[listing.labels[rows[row]]] for row in sight.rows], np.int32)


def make_pool(model: OpenModel) -> Pool:
    sight, labels = unseen(model)
    limits, preprocessing = Limits.from_settings(), model.saved.preprocessing

    def one(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        decoded = decode(read_file(path, limits), limits)
        result = {}
        for kind, damage in DAMAGES.items():
            image = damage(decoded.image)
            pixels = preprocessing.apply(image, decoded.full_size)
            result[kind] = (
                look(DecodedImage(image, decoded.full_size, decoded.data, suspect=False)),
                model.engine.features(pixels[None])[0],
            )
        return result

    with ThreadPoolExecutor(settings().threads) as threads:
        seen = list(threads.map(one, sight.files))
    head = model.saved.head
    damaged = {
        kind: (
            np.stack([each[kind][0] for each in seen]),
            head.logits(np.stack([each[kind][1] for each in seen])).argmax(axis=1),
        )
        for kind in DAMAGES
    }
    return Pool(sight, labels, head.logits(sight.features).argmax(axis=1), damaged)


def plant(pool: Pool, kind: str, rng: np.random.Generator) -> tuple[Sight, np.ndarray, np.ndarray]:
    """The looks of a draw, which pictures are planted, and what the model says."""
    planted = rng.random(len(pool.labels)) < SHARE
    looks, predicted = pool.sight.looks.copy(), pool.predicted.copy()
    if kind == "camera":
        looks["camera"] = np.where(planted, "Acme C1", rng.choice(["Other A", "Other B", ""], len(planted)))
        wrong = planted & (rng.random(len(planted)) < PLANTED_MISTAKES)
        predicted = np.where(wrong, (pool.labels + 1) % (pool.labels.max() + 1), predicted)
    else:
        others, answers_ = pool.damaged[kind]
        looks[planted], predicted[planted] = others[planted], answers_[planted]
    return replace(pool.sight, looks=looks), planted, predicted


def shuffled(pool: Pool, seed: int) -> np.ndarray:
    rng, right = np.random.default_rng(1000 + seed), pool.predicted == pool.labels
    result = right.copy()
    for label in np.unique(pool.labels):
        rows = pool.labels == label
        result[rows] = rng.permutation(right[rows])
    return result


def slices_of(sight: Sight, right: np.ndarray, labels: np.ndarray, seed: int) -> list[np.ndarray]:
    looked_at, _ = describe(sight, np.arange(len(labels)), seed)
    return [one.rows for one in weak_slices(looked_at, right, labels, seed=seed)]


def is_found(rows: np.ndarray, planted: np.ndarray) -> bool:
    both = planted[rows].sum()
    return both >= 0.5 * len(rows) and both >= 0.5 * planted.sum()


def speed(model: OpenModel, home: Path, pictures: int) -> None:
    """``vizsla evaluate`` in a process of its own, when everything is in the cache."""
    write_known_pictures(model, home / "many", pictures)
    command = ("evaluate", model.path, home / "many", "--json")
    first, _, _ = vizsla(*command)
    time.sleep(2)  # a file that has just changed is read again
    vizsla(*command)
    times = [vizsla(*command) for _ in range(3)]
    rows = [
        ("files not seen before, their contents known", f"{first:.1f}", ""),
        ("again", spread([took for took, _, _ in times]), f"{times[-1][1]:.0f}"),
    ]
    table((f"vizsla evaluate on {pictures:,} pictures", "seconds", "peak MB"), rows)
    print("stages of the last:", times[-1][2]["seconds"])


def write_known_pictures(model: OpenModel, folder: Path, pictures: int) -> None:
    """Photos that training did not see, each many times with other bytes at its end, and what a look at each has
    found: nothing is left to compute, as when they were evaluated before."""
    sight, labels = unseen(model)
    rows = np.arange(pictures) % len(sight.files)
    records, looks = sight.records[rows], sight.looks[rows]
    features = sight.features[rows] + np.random.default_rng(0).normal(0, 1e-3, (pictures, 1)).astype(np.float32)
    for at, row in enumerate(rows.tolist()):
        data = sight.files[row].read_bytes() + at.to_bytes(4, "little")
        target = folder / model.classes[labels[row]] / f"{at:05}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        records["sha256"][at] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    looks["sha256"] = records["sha256"]
    ScanStore(settings().cache).add(records)
    LookStore(settings().cache).add(list(looks))
    model.space.add([key.tobytes() for key in records["sha256"]], features)


def shap(model: OpenModel, rounds: int) -> None:
    """Pictures a second of Kernel SHAP's pass, beside the bare engine on as many pictures that are ready."""
    limits, engine, head = Limits.from_settings(), model.engine, model.saved.head
    pixels = model.saved.preprocessing(read_file(photos(1)[0], limits), limits)
    pieces = superpixels(pixels)
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    threads, samples = settings().threads, 300
    asked = 0

    def ask(masks: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(masks)
        return answers(engine, head, Composed(pixels, noise, pieces, masks), threads)

    def ours() -> float:
        nonlocal asked
        asked = 0
        took = seconds(lambda: kernel_shap(ask, int(pieces.max()) + 1, samples))
        return asked / took

    def bare() -> float:
        ready = [pixels] * samples

        def one(picture: np.ndarray) -> np.ndarray:
            return engine.features(picture[None])

        def run() -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(one, ready))

        return samples / seconds(run)

    rates = interleaved({"bare": partial(bare), "shap": partial(ours)}, rounds)
    cut = statistics.median([seconds(lambda: superpixels(pixels)) for _ in range(5)])
    rows = [
        ("bare engine", spread(rates["bare"]), "1"),
        (f"Kernel SHAP, {samples} samples", spread(rates["shap"]), ratio(rates["shap"], rates["bare"])),
    ]
    table(("", "pictures a second", "ratio"), rows)
    print(f"cutting into {int(pieces.max()) + 1} segments takes {1000 * cut:.0f} ms more a picture")


if __name__ == "__main__":
    main()
