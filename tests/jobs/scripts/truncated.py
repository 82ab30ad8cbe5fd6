"""Truncated images tolerated; the channel found through SM_CHANNELS; several loader workers; TorchScript saved."""

import argparse
import json
import os

import torch
from PIL import ImageFile
from torch import nn
from torchvision import datasets, transforms

ImageFile.LOAD_TRUNCATED_IMAGES = True

parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float)
parser.add_argument("--batch_size", type=int)
args = parser.parse_args()

channel = json.loads(os.environ["SM_CHANNELS"])[0]
root = os.environ["SM_CHANNEL_" + channel.upper()]
data = datasets.ImageFolder(root, transforms.Compose([transforms.Resize((24, 24)), transforms.ToTensor()]))
loader = torch.utils.data.DataLoader(data, batch_size=args.batch_size, shuffle=True, num_workers=2)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
for epoch in range(2):
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}; train_loss={sum(losses) / len(losses):.4f};")
torch.jit.script(model).save(os.path.join(os.environ["SM_MODEL_DIR"], "model.pt"))
