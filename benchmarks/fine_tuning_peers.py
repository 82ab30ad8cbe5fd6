"""Peers that fine-tune, each a small function as its users write it.

Run by fine_tuning.py with the peer's own Python: what to train on comes as JSON on stdin, and after each epoch a line
of JSON tells the seconds of training so far and the shares of the validation and test photos that are right. Measuring
them is not on the peer's clock.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

_TIMED_BATCHES = 6


class Clock:
    """Seconds of training: it stands still while the peer is measured."""

    def __init__(self) -> None:
        self._began, self._paused = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._began - self._paused

    def tell(self, measure: Any) -> None:
        """Print where it stands, measured off the clock."""
        began = time.perf_counter()
        seconds = self.seconds
        print(json.dumps({"seconds": round(seconds, 1), **measure()}), flush=True)
        self._paused += time.perf_counter() - began


def model_of(task: dict[str, Any]) -> Any:
    """The backbone with the weights that all use, and a new classifier; timm's own file or chance."""
    import timm

    return timm.create_model(f"local-dir:{task['weights']}", pretrained=True, num_classes=task["classes"])


def frozen_statistics(model: Any) -> None:
    """Batch normalisation keeps what it has learned: in these weights it is folded into the convolutions."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def right(model: Any, loader: Any) -> float:
    """The share of a loader's pictures that is right."""
    import torch

    model.eval()
    with torch.inference_mode():
        answers = [(model(pixels).argmax(1) == labels).float() for pixels, labels in loader]
    return float(torch.cat(answers).mean())


def plain(task: dict[str, Any]) -> None:
    """A script as tutorials show it: torchvision's transforms, a DataLoader, AdamW with one cycle, all layers."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms

    clock = Clock()
    model = model_of(task)
    config = model.pretrained_cfg
    tail = [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    training = transforms.Compose(
        [transforms.RandomResizedCrop(224, (0.35, 1.0)), transforms.RandomHorizontalFlip(), *tail]
    )
    plain_view = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *tail])

    class Photos:
        def __init__(self, rows: list[list[Any]], transform: Any) -> None:
            self.rows, self.transform = rows, transform

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, at: int) -> Any:
            path, label = self.rows[at]
            return self.transform(Image.open(path).convert("RGB")), label

    def loader(split: str, transform: Any, shuffle: bool) -> Any:
        return DataLoader(Photos(task[split], transform), 32, shuffle=shuffle, num_workers=2, drop_last=shuffle)

    train = loader("train", training, True)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, weight_decay=0.01)

    def step(pixels: Any, labels: Any) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels), labels, label_smoothing=0.1).backward()
        optimizer.step()

    def start() -> None:
        model.train()
        frozen_statistics(model)

    epochs = task.get("epochs") or _epochs(task, clock, start, train, model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, epochs=epochs, steps_per_epoch=len(train))
    for _ in range(epochs):
        start()
        for pixels, labels in train:
            step(pixels, labels)
            schedule.step()
        clock.tell(lambda: {split: right(model, loader(split, plain_view, False)) for split in ("valid", "test")})


def _epochs(task: dict[str, Any], clock: Clock, start: Any, train: Any, model: Any) -> int:
    """As many as the minutes hold, by a few batches: what a person finds out by a first try (not on the clock)."""
    import torch

    began = time.perf_counter()
    start()
    timed = began
    for batches, (pixels, labels) in enumerate(train, 1):
        torch.nn.functional.cross_entropy(model(pixels), labels).backward()
        model.zero_grad()
        if batches == 2:
            timed = time.perf_counter()
        if batches == 2 + _TIMED_BATCHES:
            break
    each = (time.perf_counter() - timed) / _TIMED_BATCHES
    clock._paused += time.perf_counter() - began
    return max(1, int(60 * task["minutes"] / (each * len(train))))


def fastai(task: dict[str, Any]) -> None:
    """``fine_tune`` with fastai's own transforms and rates: one frozen epoch, then all layers."""
    from fastai.callback import progress, schedule  # noqa: F401 - they add no_bar and fine_tune to the learner
    from fastai.callback.core import Callback
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import ColReader, IndexSplitter
    from fastai.learner import Learner
    from fastai.metrics import accuracy
    from fastai.vision.augment import Resize, aug_transforms
    from fastai.vision.data import ImageBlock
    from fastai.vision.learner import TimmBody, create_head, default_split
    from torch import nn

    clock = Clock()
    rows = [*task["train"], *task["valid"]]
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader(0),
        get_y=ColReader(1),
        splitter=IndexSplitter(range(len(task["train"]), len(rows))),
        item_tfms=Resize(256),
        batch_tfms=aug_transforms(size=224),
    )
    loaders = block.dataloaders(rows, bs=32, num_workers=2)
    whole = model_of({**task, "classes": 0})
    body = TimmBody(whole, pretrained=True, cut=None) if _takes(TimmBody, "cut") else TimmBody(whole)
    model = nn.Sequential(body, create_head(whole.num_features, task["classes"]))

    class Statistics(Callback):
        def before_batch(self) -> None:
            if self.training:
                frozen_statistics(self.model[0])

    class Told(Callback):
        def after_epoch(self) -> None:
            def measure() -> dict[str, float]:
                shares = {}
                for split in ("valid", "test"):
                    test = loaders.test_dl(task[split], with_labels=True)
                    answers, labels = self.learn.model.eval() and _predict(self.learn.model, test)
                    shares[split] = float((answers == labels).float().mean())
                return shares

            clock.tell(measure)

    learner = Learner(
        loaders, model, loss_func=nn.CrossEntropyLoss(label_smoothing=0.1), splitter=default_split, metrics=accuracy,
        cbs=[Statistics(), Told()],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(task["epochs"])


def _takes(function: Any, name: str) -> bool:
    import inspect

    return name in inspect.signature(function).parameters


def _predict(model: Any, loader: Any) -> Any:
    import torch

    with torch.inference_mode():
        parts = [(model(pixels).argmax(1), labels) for pixels, labels in loader]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def autogluon(task: dict[str, Any]) -> None:
    """``MultiModalPredictor.fit`` with a time limit, and the backbone that all use: it takes timm's names only, so the
    file of the weights is put in the place of what it would fetch, with the normalisation that they were trained with.
    The statistics of batch normalisation stay frozen, as with the others."""
    import tempfile

    import pandas
    import torch
    from autogluon.multimodal import MultiModalPredictor
    from autogluon.multimodal.models import timm_image

    folder, made = Path(task["weights"]), timm_image.create_model
    told = json.loads((folder / "config.json").read_bytes())["pretrained_cfg"]
    overlay = {"file": str(folder / "model.safetensors")} | {name: told[name] for name in ("mean", "std")}

    def create_model(name: str, **how: Any) -> Any:
        model = made(name, pretrained_cfg_overlay=overlay, **how)
        for module in model.modules():  # whatever mode is asked for, its statistics stay as they are
            if isinstance(module, torch.nn.BatchNorm2d):
                module.__class__ = type("Frozen", (type(module),), {"train": lambda self, mode=True: self})
                module.training = False
        return model

    timm_image.create_model = create_model
    clock = Clock()
    frames = {split: pandas.DataFrame(task[split], columns=["image", "label"]) for split in ("train", "valid", "test")}
    predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=tempfile.mkdtemp())
    predictor.fit(
        frames["train"],
        tuning_data=frames["valid"],
        time_limit=60 * task["minutes"],
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": folder.name.split(".")[0],
        },
    )
    clock.tell(lambda: {s: predictor.evaluate(frames[s], metrics=["acc"])["acc"] for s in ("valid", "test")})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    document = json.loads(sys.stdin.read())
    if document.get("threads"):
        import torch

        torch.set_num_threads(document["threads"])
    {"plain": plain, "fastai": fastai, "autogluon": autogluon}[document["peer"]](
        {**document, "weights": str(Path(document["weights"]))}
    )
