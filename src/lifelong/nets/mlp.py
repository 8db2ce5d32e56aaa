"""A multi-layer perceptron with ReLU: the network of nearly every paper on digits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

from torch import nn

from ..core.errors import MethodError

__all__ = ["MLP"]


@final
@dataclass(frozen=True)
class MLP:
    """Describes a multi-layer perceptron; called with an input shape and a number of outputs it builds one.

    Args:
        hidden: units of each hidden layer.
        dropout: probability that a hidden unit is left out while training.
    """

    hidden: tuple[int, ...] = (256, 256)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple | list) or not all(isinstance(n, int) and n >= 1 for n in self.hidden):
            raise MethodError(
                f"MLP: hidden {self.hidden!r}: expected the units of each hidden layer, such as (256, 256)"
            )
        if not 0 <= self.dropout < 1:
            raise MethodError(f"MLP: dropout {self.dropout}: expected a probability from 0 to below 1")

    def __call__(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        width = prod(shape)
        for units in self.hidden:
            layers += [nn.Linear(width, units), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = units
        return nn.Sequential(*layers, nn.Linear(width, outputs))
