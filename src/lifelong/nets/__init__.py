"""Networks as ordinary modules, each made by a frozen description of its size; and what makes a network larger."""

from .memory_network import MemoryNetwork
from .mlp import MLP
from .net2net import deepen, widen
from .reader import Reader
from .resnet import ResNet18

__all__ = ["MLP", "MemoryNetwork", "Reader", "ResNet18", "deepen", "widen"]
