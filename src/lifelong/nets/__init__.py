"""Networks as ordinary modules, each made by a frozen description of its size."""

from .mlp import MLP
from .resnet import ResNet18

__all__ = ["MLP", "ResNet18"]
