"""Knows nothing but /opt/ml: walks its input, reads its hyperparameters there, saves below it."""

import json
import os

import torch
from PIL import Image

with open("/opt/ml/input/config/hyperparameters.json") as file:
    hyperparameters = json.load(file)
pictures = [
    os.path.join(folder, name)
    for folder, _, names in os.walk("/opt/ml/input/data")
    for name in names
    if name.endswith(".jpg")
]
print("Pictures found:", len(pictures))
sizes = torch.tensor([Image.open(path).size for path in sorted(pictures)], dtype=torch.float32)
lr = float(hyperparameters["lr"])
print(json.dumps({"name": "mean width", "value": sizes[:, 0].mean().item(), "step": 1}))
print(f"Average loss: {lr * 2:.4f}")
os.makedirs("/opt/ml/checkpoints", exist_ok=True)
torch.save({"lr": lr}, "/opt/ml/checkpoints/last.pt")
torch.save(sizes, "/opt/ml/model/sizes.pt")
