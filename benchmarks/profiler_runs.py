"""Training scripts for the profiler's benchmark: sound ones, and ones with a bottleneck each."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

SCRIPT = """
import os, sys, time, torch
from PIL import Image
from pathlib import Path
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from torchvision.transforms.functional import pil_to_tensor
{start}
files = sorted(Path(os.environ["SM_CHANNEL_TRAINING"]).rglob("*.jpg"))[::5]

class Photos(Dataset):
    def __init__(self, files, price=None, side=96):
        self.files, self.price, self.side = files, price, side
    def __len__(self):
        return len(self.files)
    def __getitem__(self, i):
        if self.price:
            self.price()
        with Image.open(self.files[i]) as image:
            {decode}
            image = image.convert("RGB").resize((self.side, self.side))
        return pil_to_tensor(image).float() / 255, i % 5

def busy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def network(width=48):
    layers, before = [], 3
    for _ in range(3):
        layers += [torch.nn.Conv2d(before, width, 3, stride=2, padding=1), torch.nn.ReLU()]
        before = width
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 5))

model, loss_of = network({width}), torch.nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
kept = []
{before}
for epoch in range({epochs}):
    model.train()
    for pictures, labels in {loader}:
        loss = loss_of(model(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        {each}
    {after}
    print("epoch", epoch, flush=True)
"""

EVALUATE = "model.eval()\n    with torch.no_grad():\n        [model(p) for p, _ in DataLoader(Photos(files[:{n}]), 32)]"
LARGE = """
for i, file in enumerate(files[:20]):
    Image.open(file).convert("RGB").resize((1600, 1200)).save(f"large-{i}.jpg", quality=90)
files = [f"large-{i % 20}.jpg" for i in range(300)]
"""
LOADER = "DataLoader(Photos(files[:{n}]{more}), 16, shuffle=True, num_workers={workers})"

SHARDS = """
class Shards(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(3, 96, 96), 1)] * 400 if get_worker_info().id == 0 else [])
"""


@dataclass(frozen=True)
class Run:
    """A script, and the rule that must speak; none of a sound one."""

    name: str
    rule: str | None
    text: str


def run(name: str, rule: str | None, **parts: object) -> Run:
    """A script with some of its parts replaced."""
    filled: dict[str, object] = {
        "start": "",
        "decode": "image.draft('RGB', (self.side, self.side))",
        "width": 96,
        "before": "",
        "epochs": 2,
        "loader": LOADER.format(n=400, more="", workers=1),
        "each": "loss.item()",
        "after": EVALUATE.format(n=64),
    }
    return Run(name, rule, textwrap.dedent(SCRIPT).format(**filled | parts))


RUNS = (
    run("sound", None),
    run("sound, a large batch", None, loader=LOADER.format(n=400, more="", workers=1).replace("16", "48")),
    run(
        "sound, two workers, printing", None, each="print(loss.item())", loader=LOADER.format(n=400, more="", workers=2)
    ),
    run("slow loader", "data_stall", loader=LOADER.format(n=300, more=", price=lambda: busy(0.02)", workers=0)),
    run(
        "no workers on two cores",
        "dataloader",
        loader=LOADER.format(n=300, more=", price=lambda: busy(0.01)", workers=0),
    ),
    run("slow disk", "io_bottleneck", loader=LOADER.format(n=300, more=", price=lambda: time.sleep(0.02)", workers=0)),
    run(
        "large photos decoded anew",
        "decode_bound",
        decode='image = image.convert("RGB").reduce(8)',
        width=16,
        before=LARGE,
        loader=LOADER.format(n=300, more="", workers=0),
    ),
    run(
        "huge evaluation",
        "evaluation_cost",
        epochs=3,
        loader=LOADER.format(n=200, more="", workers=1),
        after=EVALUATE.format(n=770),
    ),
    run(
        "values read at every step",
        "logging_sync",
        width=32,
        each="[v.item() for p in model.parameters() for v in p.grad.flatten()]",
    ),
    run(
        "slow checkpoint",
        "slow_checkpoint",
        epochs=4,
        after="torch.save(torch.rand(90_000_000), 'm.pt')",
    ),
    run("sleep in initialisation", "slow_initialization", start="time.sleep(33)"),
    run("memory leak", "gpu_memory_increase", epochs=3, each="kept.append(torch.ones(2_000_000))"),
    run("threads over the cores", "thread_oversubscription", before="torch.set_num_threads(12)"),
    run(
        "one core of two",
        "idle_cores",
        before="torch.set_num_threads(1)",
        epochs=3,
        loader=LOADER.format(n=400, more="", workers=0),
    ),
    run(
        "an idle worker",
        "load_balancing",
        before=SHARDS,
        loader="DataLoader(Shards(), 16, num_workers=2)",
    ),
)
