"""An undercomplete autoencoder of one hidden layer, as a gate that knows its task by how well it reconstructs it (Expert Gate,
arXiv 1611.06194).

    z = σ((x − mean) / sd)        inputs, brought to 0..1 by a scale that is the same for every gate
    r = σ(W₂ ReLU(W₁ z + b₁) + b₂)

trained with the cross-entropy of r to z. Its error is that cross-entropy less the entropy of z, Σ KL(z ‖ r): 0 where the reconstruction is
perfect, so that errors can be compared by their ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.examples import Examples

__all__ = ["Autoencoder", "Scale", "fitted"]


@final
@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation over all inputs and all their features."""

    mean: Tensor  # []
    sd: Tensor  # []

    @staticmethod
    def of(examples: Examples, like: Tensor) -> Scale:
        """Of `examples`, on the device and in the precision of `like`."""
        total, squares, n = 0.0, 0.0, 0
        for chunk in examples.all():
            x = chunk.x.cpu().double()
            total, squares, n = total + float(x.sum()), squares + float(x.square().sum()), n + x.numel()
        mean = total / n
        sd = max(squares / n - mean**2, 1e-12) ** 0.5
        return Scale(like.new_tensor(mean), like.new_tensor(sd))

    def __call__(self, x: Tensor) -> Tensor:
        """z ``[B, d]`` of inputs ``[B, ...]``."""
        return torch.sigmoid((x.to(self.mean).flatten(1) - self.mean) / self.sd)


@final
@dataclass(frozen=True)
class Autoencoder:
    """W₁ ``[h, d]``, b₁ ``[h]``, W₂ ``[d, h]``, b₂ ``[d]``."""

    W1: Tensor
    b1: Tensor
    W2: Tensor
    b2: Tensor

    def logits(self, z: Tensor) -> Tensor:
        """Of the reconstruction, before its sigmoid."""
        return F.linear(torch.relu(F.linear(z, self.W1, self.b1)), self.W2, self.b2)

    def error(self, z: Tensor) -> Tensor:
        """Σ over the features of KL(z ‖ r), ``[B]``."""
        cross = F.binary_cross_entropy_with_logits(self.logits(z), z, reduction="none")
        found: Tensor = (cross + torch.xlogy(z, z) + torch.xlogy(1 - z, 1 - z)).sum(1)
        return found

    @property
    def tensors(self) -> list[Tensor]:
        return [self.W1, self.b1, self.W2, self.b2]


def fitted(
    examples: Examples, scale: Scale, hidden: int, epochs: int, lr: float, batch: int, draws: torch.Generator
) -> Autoencoder:
    """Trained on `examples` with Adagrad."""
    like = scale.mean
    d = int(torch.tensor(examples.shape).prod())

    def uniform(*shape: int, inputs: int) -> Tensor:
        values: Tensor = torch.rand(shape, generator=draws, device=draws.device) * 2 - 1
        return (values / math.sqrt(inputs)).to(like).requires_grad_(True)

    with torch.enable_grad():
        gate = Autoencoder(
            uniform(hidden, d, inputs=d),
            uniform(hidden, inputs=d),
            uniform(d, hidden, inputs=hidden),
            uniform(d, inputs=hidden),
        )
        optimizer = torch.optim.Adagrad(gate.tensors, lr=lr)
        for _ in range(epochs):
            order = torch.randperm(len(examples), generator=draws, device=draws.device).cpu()
            for chunk in examples.chunks(order, batch * max(1, 1024 // batch)):
                for z in scale(chunk.x).split(batch):
                    optimizer.zero_grad(set_to_none=True)
                    loss = F.binary_cross_entropy_with_logits(gate.logits(z), z, reduction="sum") / len(z)
                    loss.backward()
                    optimizer.step()
    return Autoencoder(*(t.detach() for t in gate.tensors))
