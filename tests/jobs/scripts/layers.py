"""What the script beside it imports."""

from torch import nn


def small_network():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
