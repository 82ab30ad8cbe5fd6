"""The same training with the best hyperparameters, watched by the debugger and the profiler."""

import os

import smdebug.pytorch as smd
import torch
from hpo import loaders, net, optimizer_of, parse
from smdebug import modes
from smdebug.pytorch import get_hook
from torch import nn


def train(model, batches, criterion, optimizer, epochs, hook):
    for epoch in range(1, epochs + 1):
        hook.set_mode(modes.TRAIN)
        model.train()
        for images, labels in batches["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        hook.set_mode(modes.EVAL)
        model.eval()
        correct = count = 0
        with torch.no_grad():
            for images, labels in batches["valid"]:
                outputs = model(images)
                loss = criterion(outputs, labels)
                correct += int((outputs.argmax(1) == labels).sum())
                count += len(images)
        print(f"Epoch {epoch}/{epochs} valid loss: {loss.item():.4f} accuracy: {100 * correct / count:.2f}%")


def main(args):
    torch.manual_seed(0)
    batches, classes = loaders(args.data_dir, args.batch_size, args.image_size)
    model = net(len(classes), args.pretrained)
    criterion = nn.CrossEntropyLoss()
    hook = get_hook(create_if_not_exists=True) or smd.Hook.create_from_json_file()
    hook.register_module(model)
    hook.register_loss(criterion)
    train(model, batches, criterion, optimizer_of(args, model), args.epochs, hook)
    scripted = {"state": model.state_dict(), "classes": classes, "size": args.image_size}
    torch.save(scripted, os.path.join(args.model_dir, "model.pth"))


if __name__ == "__main__":
    main(parse())
