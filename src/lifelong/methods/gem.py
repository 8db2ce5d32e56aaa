"""Gradient Episodic Memory (Lopez-Paz & Ranzato 2017, arXiv 1706.08840).

    minimise ½ ‖g − g̃‖²  subject to  ⟨g̃, g_k⟩ ≥ 0  for all k < t                                   (equation 7)

g is the gradient of the new examples, g_k that of the mean loss on task k's memory. Where no constraint is violated g̃ = g; otherwise
g̃ = g + Gᵀ v, with v from the dual (see `lifelong.parts.dual`). The memory holds each task's latest examples. Every past task costs a
gradient in every step. The dual's ε, the authors', lets a product fall a little under 0 where gradients are tiny (‖g_k‖² ≪ ε).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ..method import Batch, Edge, GradOf, Method, Spec, not_negative, whole_number
from ..parts.dual import dual
from ..parts.groups import gradients
from ..parts.memory import opened, ring
from ..parts.rehearsal import Past
from ..vector import Vector

__all__ = ["GEM"]


@final
@dataclass(frozen=True)
class GEM(Method):
    """Never moves against the gradient of a past task.

    Args:
        slots: how many examples are kept of each task, its latest; memory grows with the tasks.
        margin: γ, the least weight that a past gradient gets where some constraint is violated (the authors' memory
            strength); above 0 it favours backward transfer.
    """

    slots: int = 256
    margin: float = 0.5

    name: ClassVar[str] = "gem"
    gathers: ClassVar[bool] = True
    ranks: ClassVar[bool] = True
    neutral: ClassVar[dict[str, Any]] = {"slots": 0}

    def __post_init__(self) -> None:
        whole_number("gem", 0, slots=self.slots)
        not_negative(self.name, margin=self.margin)

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.slots else frozenset()

    @property
    def later(self) -> bool:
        return True

    def init(self, theta: Vector, spec: Spec) -> Past:
        return Past.none(0, self.name, spec)

    def begin(self, state: Past, edge: Edge) -> Past:
        memory = opened(state.memory.larger(self.slots), self.slots)
        return replace(state, memory=memory, tasks=state.tasks + 1, mask=None if state.masked else edge.mask)

    def observe(self, state: Past, batch: Batch, output: Tensor, generator: torch.Generator) -> Past:
        return replace(state, memory=ring(state.memory, state.values(batch.x, batch.y, batch.mask), self.slots))

    def gradient(self, state: Past, theta: Vector, grads: Vector, grad_of: GradOf) -> Vector:
        sizes = [n for n in state.memory.groups[:-1] if n]
        if not sizes:
            return grads
        past = state.batch({key: slot[: sum(sizes)] for key, slot in state.memory.slots.items()})
        G = gradients(grad_of, theta, past, sizes)
        rows = [(k.reshape(len(k), -1), g.reshape(-1)) for k, g in zip(G.tensors, grads.tensors)]
        gram = torch.stack([k @ k.T for k, _ in rows]).sum(0)
        products = torch.stack([k @ g for k, g in rows]).sum(0)
        small = torch.cat([gram, products[:, None]], 1).cpu().double().numpy()  # the one thing that leaves the device
        if (small[:, -1] >= 0).all():
            return grads
        if not np.isfinite(small).all():
            return grads  # the loss is no number any more, which the loop says
        v = torch.from_numpy(dual(small[:, :-1], small[:, -1], self.margin)).to(products)
        return grads.add_(Vector(G.names, [torch.tensordot(v, k, 1) for k in G.tensors]))
