"""A multi-layer perceptron with its mirror image: a classifier that is a symmetric autoencoder as well."""

from __future__ import annotations

from itertools import pairwise
from typing import final

from torch import Tensor, nn

from ..core.errors import MethodError
from .layers import layers_of, weighted

__all__ = ["Mirror"]


@final
class Mirror(nn.Module):
    """`net`, an `nn.Sequential` of Linear layers, with a decoder from its last hidden layer back to its inputs.

    Raises:
        MethodError: the network is none, or has no hidden layer.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        layers = layers_of(net, "a network with a decoder")
        firsts = [i for i, m in enumerate(layers) if weighted(m)]
        linear = [m for m in layers if isinstance(m, nn.Linear)]
        if len(firsts) < 2 or len(linear) < len(firsts):
            raise MethodError(
                "a network with a decoder needs Linear layers only, and at least a hidden one: use --net mlp with --net.hidden"
            )
        starts = [0, *firsts[1:]]
        self.stages = nn.ModuleList(nn.Sequential(*layers[a:b]) for a, b in pairwise(starts))
        widths = [m.in_features for m in linear]  # of the input and of each hidden layer
        self.decoder = nn.ModuleList(nn.Linear(b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = nn.Sequential(*layers[starts[-1] :])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.codes(x)[-1])
        return logits

    def codes(self, x: Tensor) -> list[Tensor]:
        """The flat input ``[B, in]``, and what each hidden layer makes of it, the deepest last."""
        found = [x.flatten(1)]
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def decode(self, code: Tensor) -> list[Tensor]:
        """Of the deepest code ``[B, d]``: what each hidden layer was, from the deepest but one, and the input last."""
        found = []
        for i, layer in enumerate(self.decoder):
            code = layer(code)
            code = code if i + 1 == len(self.decoder) else code.relu()
            found.append(code)
        return found
