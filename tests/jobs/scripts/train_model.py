"""The hook in every place that notebooks put it; three channels of their own; the whole model saved."""

import argparse
import json
import logging
import os
import sys

import smdebug.pytorch as smd
import torch
import torchvision
from smdebug import modes
from smdebug.profiler.utils import str2bool
from smdebug.pytorch import get_hook
from torch import nn
from torchvision import datasets, transforms

logger = logging.getLogger(__name__)
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler(sys.stdout))


def evaluate(model, loader, criterion, hook, mode):
    model.eval()
    if hook:
        hook.set_mode(mode)
    total, right, n = 0.0, 0, 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data)
            total += criterion(output, target).item() * len(target)
            right += output.argmax(1).eq(target).sum().item()
            n += len(target)
    logger.info("\nTest set: Average loss: %.4f, Accuracy: %d/%d (%.0f%%)\n", total / n, right, n, 100.0 * right / n)


def main(args):
    hook = get_hook(create_if_not_exists=True)
    model = torchvision.models.resnet18(weights=None)
    model.fc = nn.Sequential(nn.Linear(model.fc.in_features, 16), nn.ReLU(), nn.Linear(16, args.classes))
    criterion = nn.CrossEntropyLoss()
    if hook:
        hook.register_module(model)
        hook.register_loss(criterion)
        assert set(hook.get_collections()) >= {"losses", "weights"}
        hook.get_collection("losses").include(".*")
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    loaders = {
        name: torch.utils.data.DataLoader(
            datasets.ImageFolder(os.environ[f"SM_CHANNEL_{name.upper()}"], transform), batch_size=args.batch_size
        )
        for name in ("train", "valid", "test")
    }
    for epoch in range(args.epochs):
        model.train()
        if hook:
            hook.set_mode(modes.TRAIN)
        for step, (data, target) in enumerate(loaders["train"]):
            optimizer.zero_grad()
            loss = criterion(model(data), target)
            loss.backward()
            optimizer.step()
            if hook:
                hook.save_scalar("train_step_loss", loss.item(), sm_metric=True)
            print(f"Train Epoch: {epoch} [{step}] Loss: {loss.item():.6f}")
        evaluate(model, loaders["valid"], criterion, hook, smd.modes.EVAL)
    evaluate(model, loaders["test"], criterion, hook, modes.PREDICT)
    torch.save(model, os.path.join(os.environ["SM_MODEL_DIR"], "model.pt"))
    torch.jit.script(model).save(os.path.join(os.environ["SM_MODEL_DIR"], "scripted.pt"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--verbose", type=str2bool, default=False)
    arguments = parser.parse_args()
    logger.info("hosts %s gpus %s", json.loads(os.environ["SM_HOSTS"]), os.environ["SM_NUM_GPUS"])
    main(arguments)
