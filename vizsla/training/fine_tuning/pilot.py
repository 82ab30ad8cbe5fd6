"""A short training of the last blocks on a sample: what they would bring, before the time is spent. Imports torch."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vizsla.models.heads.linear import LinearHead
from vizsla.training.callbacks import Callback
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.loop import fine_tune, predict
from vizsla.training.fine_tuning.network import Network
from vizsla.training.fine_tuning.schedule import Costs
from vizsla.training.fine_tuning.stage import Workshop

_EPOCHS, _VIEWS = 4, 2
_LEAST_PICTURES = 120
"""Fewer tell nothing."""


@dataclass(frozen=True)
class Pilot:
    """What a short training of the last blocks brought on a sample.

    ``gain`` is that on the sample's validation pictures, ``logits`` (n, classes) its answers there, ``seconds`` what it
    took.
    """

    gain: Gain
    logits: npt.NDArray[np.float32]
    seconds: float


def pilot(workshop: Workshop, config: FineTuneConfig, head: LinearHead, costs: Costs, seconds: float) -> Pilot | None:
    """Train the last blocks of a copy of a backbone that nobody else uses, on as much of the workshop's data as
    ``seconds`` allow; None where that is too little to tell anything.

    Parameters
    ----------
    head:
        The frozen backbone's, trained on the same sample.
    """
    data = workshop.data
    place, cost = next(iter(costs.last.items()))
    each = costs.activations(place, _VIEWS, 1, 0) + _EPOCHS * cost.training.train
    valid = len(data.valid)
    fixed = costs.activations(place, _VIEWS, 0, valid) + valid * (_EPOCHS + 1) * cost.training.measured
    count = int(min(len(data.train), max(0.0, (seconds - fixed) / each)))
    if count < min(_LEAST_PICTURES, len(data.train)):
        return None
    began = time.monotonic()
    short = replace(config.at("last", place), epochs=_EPOCHS, views=_VIEWS, patience=None, unfreeze=0.0)
    short = short.resolved()
    workshop = replace(workshop, data=replace(data, train=data.train[:count]))
    body, inputs = workshop.inputs(short)
    network = Network.of(body, head, workshop.device)
    network.bfloat16 = config.precision == "bfloat16"
    before = predict(network, inputs, data.valid)
    fine_tune(network, inputs, workshop.data, short, callback=Callback())
    after = predict(network, inputs, data.valid)
    return Pilot(Gain.of(before, after, data.labels[data.valid]), after, time.monotonic() - began)
