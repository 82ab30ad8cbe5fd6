"""As inference.py, but the answer is the name of the class."""

import json

from inference import input_fn, model_fn, predict_fn  # noqa: F401


def _named(prediction, classes):
    number, _, name = classes[int(prediction.argmax())].partition(".")
    return {"predicted_label": number, "class_name": name}


_CLASSES = []
_load = model_fn


def model_fn(model_dir):
    model = _load(model_dir)
    _CLASSES[:] = model[1]
    return model


def output_fn(prediction, accept):
    return json.dumps(_named(prediction, _CLASSES)), "application/json"
