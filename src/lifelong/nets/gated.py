"""A plain network with an attention a_l = σ(s e_l) on the units of each hidden layer, h_l' = a_l ⊙ h_l (HAT, arXiv 1801.01423)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from ..core.errors import MethodError
from .layers import inputs, layers_of, outputs, weighted

__all__ = ["Gated", "Place"]

_WITH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.ELU, nn.LeakyReLU, nn.SiLU)


class Place(NamedTuple):
    """Where a weight stands: the gates, by number, of the units that it leads to and from (None: outputs, inputs), and how many
    inputs one unit is behind a flattening."""

    name: str
    to: int | None
    origin: int | None
    each: int
    leads_from: bool  # a bias leads from nothing


@final
class Gated(nn.Module):
    """Made of a plain network; a gate stands behind each hidden layer, its batch norm and its activation.

    Args:
        net: an `nn.Sequential` of Linear, Conv2d, batch norm and layers without weights.

    Raises:
        MethodError: `net` is something else.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        layers = layers_of(net, "hat")
        self.layers = nn.ModuleList(layers)
        places = [i for i, m in enumerate(layers) if weighted(m)]
        self.behind: dict[int, int] = {}  # the gate behind a layer
        self.embeddings = nn.ParameterList()
        for gate, i in enumerate(places[:-1]):
            self.embeddings.append(nn.Parameter(torch.zeros(outputs(layers[i]))))
            while isinstance(layers[i + 1], _WITH):
                i += 1  # the last of those that belong to it
            self.behind[i] = gate
            made, reads = layers[places[gate]], layers[places[gate + 1]]
            if isinstance(made, nn.Linear) and inputs(reads) != outputs(made):
                raise MethodError(
                    f"hat: layer {places[gate + 1]} does not read the units of layer {places[gate]} one by one: flatten before it"
                )
        self.s: Tensor
        self.register_buffer("s", torch.ones(()))

    def attention(self) -> list[Tensor]:
        """a_l of each hidden layer, ``[n_l]``."""
        return [torch.sigmoid(self.s * e) for e in self.embeddings]

    def forward(self, x: Tensor, attention: Sequence[Tensor] | None = None) -> Tensor:
        a = self.attention() if attention is None else attention
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.behind:
                gate = a[self.behind[i]].to(x)
                x = x * gate.view(-1, *[1] * (x.dim() - 2))
        return x

    def places(self) -> Iterator[Place]:
        """Of every weight but the embeddings."""
        gate, count = -1, len(self.embeddings)
        for i, layer in enumerate(self.layers):
            gate += weighted(layer)
            to = gate if gate < count else None
            origin = gate - 1 if gate > 0 else None
            each = inputs(layer) // len(self.embeddings[origin]) if weighted(layer) and origin is not None else 1
            for own, _ in layer.named_parameters():
                yield Place(f"layers.{i}.{own}", to, origin, each, weighted(layer) and own == "weight")
