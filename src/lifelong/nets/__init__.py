"""Networks as ordinary modules, each made by a frozen description of its size; and what makes a network larger."""

from .mlp import MLP
from .net2net import deepen, widen
from .resnet import ResNet18

__all__ = ["MLP", "ResNet18", "deepen", "widen"]
