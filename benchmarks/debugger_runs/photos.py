"""Small photos of five classes, and the ways in which a script may give them to a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE, CLASSES = 48, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Photos:
    """uint8 (n, 3, side, side) and int64 (n,), for training and for validation."""

    train: tuple[torch.Tensor, torch.Tensor]
    valid: tuple[torch.Tensor, torch.Tensor]


def load_photos(folder: Path, train: int = 80, valid: int = 24, side: int = SIDE, *, skip: int = 0) -> Photos:
    """The five largest classes of a data set in train/ and valid/, so many pictures of each at most, behind the first
    ``skip``; of validation pictures, behind a half of them."""
    classes = sorted((folder / "train").iterdir(), key=lambda p: (-len(list(p.iterdir())), p.name))[:CLASSES]

    def read(split: str, count: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, labels = [], []
        for label, name in enumerate(sorted(p.name for p in classes)):
            for path in sorted((folder / split / name).iterdir())[first : first + count]:
                with Image.open(path) as image:
                    image.draft("RGB", (side * 2, side * 2))
                    pictures.append(np.asarray(image.convert("RGB").resize((side, side))))
                labels.append(label)
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(labels)

    return Photos(read("train", train, skip), read("valid", valid, skip // 2))


def pixels(pictures: torch.Tensor, how: str) -> torch.Tensor:
    """float32 pictures as a network is given them."""
    x = pictures.float()
    if how == "bytes":
        return x
    if how == "black":
        return x * 0
    if how == "unit":
        return x / 255
    if how == "half":
        return x / 127.5 - 1
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    x = (x / 255 - mean) / std
    return (x - mean) / std if how == "twice" else x
