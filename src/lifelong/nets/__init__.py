"""Networks, described before their input shape is known."""

from .mlp import MLP
from .resnet import ResNet18

__all__ = ["MLP", "ResNet18"]
