"""resnet18 with a new fc layer, frozen below; argparse; SM_CHANNEL_TRAINING; a state_dict saved. One file, no hook."""

import argparse
import os

import torch
import torchvision
from torch import nn, optim
from torchvision import datasets, transforms


def test(model, loader, criterion):
    model.eval()
    running_loss, corrects, n = 0.0, 0, 0
    with torch.no_grad():
        for inputs, labels in loader:
            outputs = model(inputs)
            running_loss += criterion(outputs, labels).item() * len(labels)
            corrects += (outputs.argmax(1) == labels).sum().item()
            n += len(labels)
    print(f"Testing Loss: {running_loss / n:.4f}")
    print(f"Testing Accuracy: {corrects / n:.4f}")


def train(model, loader, criterion, optimizer, epochs):
    for epoch in range(epochs):
        model.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
        print(f"Epoch {epoch}: last batch loss {loss.item():.4f}")


def net(classes):
    model = torchvision.models.resnet18(weights=None)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, classes)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data", default=os.environ["SM_CHANNEL_TRAINING"])
    parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
    args, _ = parser.parse_known_args()
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    trainset = datasets.ImageFolder(os.path.join(args.data, "train"), transform)
    testset = datasets.ImageFolder(os.path.join(args.data, "test"), transform)
    model = net(len(trainset.classes))
    criterion = nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(trainset, batch_size=args.batch_size, shuffle=True)
    train(model, loader, criterion, optim.Adam(model.fc.parameters(), lr=args.lr), args.epochs)
    test(model, torch.utils.data.DataLoader(testset, batch_size=args.batch_size), criterion)
    torch.save(model.state_dict(), os.path.join(args.model_dir, "model.pth"))
