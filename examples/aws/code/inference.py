"""What an endpoint and a batch transform do with the model: a picture in, a score for each class out."""

import io
import json
import os

import torch
from PIL import Image
from torchvision import models, transforms


def model_fn(model_dir):
    saved = torch.load(os.path.join(model_dir, "model.pth"), map_location="cpu", weights_only=True)
    model = models.resnet18(weights=None)
    model.fc = torch.nn.Linear(model.fc.in_features, len(saved["classes"]))
    model.load_state_dict(saved["state"])
    return model.eval(), saved["classes"], saved["size"]


def input_fn(body, content_type):
    if content_type not in ("image/jpeg", "image/png", "application/x-image"):
        raise ValueError(f"{content_type} is no picture")
    return Image.open(io.BytesIO(body)).convert("RGB")


def predict_fn(image, model):
    network, _, size = model
    tensor = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])(image)
    with torch.no_grad():
        return torch.softmax(network(tensor.unsqueeze(0)), 1)


def output_fn(prediction, accept):
    return json.dumps(prediction.tolist()), "application/json"
