"""Fine-tunes the last layer of a ResNet18, as a SageMaker training job: one trial of a search."""

import argparse
import os

import torch
from PIL import ImageFile
from torch import nn, optim
from torchvision import datasets, models, transforms

ImageFile.LOAD_TRUNCATED_IMAGES = True


def net(classes, pretrained="no"):
    """A ResNet18 of which only a new last layer learns; ``pretrained`` yes fetches ImageNet's weights."""
    model = models.resnet18(weights="IMAGENET1K_V1" if pretrained == "yes" else None)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model


def loaders(folder, batch_size, size):
    """Batches of the splits of a folder, and the names of the classes."""
    transform = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    sets = {name: datasets.ImageFolder(os.path.join(folder, name), transform) for name in ("train", "valid", "test")}
    batches = {
        name: torch.utils.data.DataLoader(one, batch_size=batch_size, shuffle=name == "train")
        for name, one in sets.items()
    }
    return batches, sets["train"].classes


def train(model, batches, criterion, optimizer, epochs):
    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in batches["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        value, accuracy = test(model, batches["valid"], criterion)
        print(f"Epoch {epoch}/{epochs} valid loss: {value:.4f} accuracy: {100 * accuracy:.2f}%")


def test(model, batches, criterion):
    model.eval()
    total, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in batches:
            outputs = model(images)
            total += criterion(outputs, labels).item() * len(images)
            correct += int((outputs.argmax(1) == labels).sum())
            count += len(images)
    return total / count, correct / count


def optimizer_of(args, model):
    parameters = model.fc.parameters()
    if args.optimizer == "adam":
        return optim.Adam(parameters, lr=args.lr)
    return optim.SGD(parameters, lr=args.lr, momentum=args.momentum)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", "--learning_rate", type=float, default=0.01)
    parser.add_argument("--batch-size", "--batch_size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--pretrained", default="no")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--data-dir", default=os.environ.get("SM_CHANNEL_TRAINING"))
    parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
    return parser.parse_args()


def main(args):
    torch.manual_seed(0)
    batches, classes = loaders(args.data_dir, args.batch_size, args.image_size)
    model = net(len(classes), args.pretrained)
    criterion = nn.CrossEntropyLoss()
    train(model, batches, criterion, optimizer_of(args, model), args.epochs)
    loss, accuracy = test(model, batches["test"], criterion)
    print(f"Test set: Average test loss: {loss:.4f}, Testing Accuracy: {100 * accuracy:.2f}")
    scripted = {"state": model.state_dict(), "classes": classes, "size": args.image_size}
    torch.save(scripted, os.path.join(args.model_dir, "model.pth"))


if __name__ == "__main__":
    main(parse())
