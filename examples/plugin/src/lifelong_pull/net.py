"""A network with one narrow layer."""

from __future__ import annotations

from math import prod

from torch import nn

__all__ = ["narrow"]


def narrow(shape: tuple[int, ...], outputs: int, units: int = 24) -> nn.Module:
    """One hidden layer.

    Args:
        shape: of one input.
        outputs: how many classes.
        units: of the hidden layer.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), units), nn.ReLU(), nn.Linear(units, outputs))
