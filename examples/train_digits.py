"""A training script as notebooks for SageMaker Debugger have it: it runs unmodified as a job."""

import argparse

import smdebug.pytorch as smd
import torch
from smdebug import modes
from torch import nn


def digits():
    """(1797, 1, 8, 8) pictures of ten digits, normalised, and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images[:, None] / 8 - 1).float(), torch.tensor(data.target)


def main():
    """Train a small network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    x, y = digits()
    x_valid, y_valid, x, y = x[:360], y[:360], x[360:], y[360:]
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), arguments.lr, momentum=0.9)

    hook = smd.get_hook(create_if_not_exists=True)
    if hook:
        hook.register_hook(net)
        hook.register_loss(criterion)

    for epoch in range(arguments.epochs):
        net.train()
        if hook:
            hook.set_mode(modes.TRAIN)
        for rows in torch.randperm(len(y)).split(32):
            optimizer.zero_grad()
            loss = criterion(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        net.eval()
        if hook:
            hook.set_mode(modes.EVAL)
        with torch.no_grad():
            losses = [criterion(net(a), b).item() for a, b in zip(x_valid.split(90), y_valid.split(90), strict=True)]
        print(f"epoch {epoch}: validation loss {sum(losses) / len(losses):.4f}", flush=True)


if __name__ == "__main__":
    main()
