"""Networks as ordinary modules, each made by a frozen description of its size."""

from .memory_network import MemoryNetwork
from .mlp import MLP
from .reader import Reader
from .resnet import ResNet18

__all__ = ["MLP", "MemoryNetwork", "Reader", "ResNet18"]
