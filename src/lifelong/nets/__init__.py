"""Networks as ordinary modules, each made by a frozen description of its size."""

from .mlp import MLP

__all__ = ["MLP"]
