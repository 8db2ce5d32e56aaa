"""Gradient Episodic Memory (Lopez-Paz & Ranzato 2017, arXiv 1706.08840).

    minimise ½ ‖g − g̃‖²  subject to  ⟨g̃, g_k⟩ ≥ 0  for all k < t                                   (equation 7)

g is the gradient of the new examples, g_k that of the mean loss on task k's memory. Where no constraint is violated g̃ = g; otherwise
g̃ = g + Gᵀ v, with v from the dual (see `lifelong.parts.gem_qp`). The memory holds each task's latest examples. Every past task costs a
gradient in every step. The dual's ε, the authors', lets a product fall a little under 0 where gradients are tiny (‖g_k‖² ≪ ε).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ..core.contexts import Spec, StepContext, TaskContext
from ..core.hyperparameters import not_negative, whole_number
from ..core.method import Method, Traits
from ..core.segments import Segment
from ..core.vector import Vector
from ..parts.buffer import opened, ring
from ..parts.gem_qp import dual
from ..parts.group_gradients import gradients
from ..parts.rehearsal import Past

__all__ = ["GEM"]


@final
@dataclass(frozen=True)
class GEM(Method):
    """Never moves against the gradient of a past task.

    Args:
        buffer_size: how many examples are kept of each task, its latest; memory grows with the tasks.
        margin: γ, the least weight that a past gradient gets where some constraint is violated (the authors' memory
            strength); above 0 it favours backward transfer.
    """

    buffer_size: int = 256
    margin: float = 0.5

    name: ClassVar[str] = "gem"
    summary: ClassVar[str] = "Gradient Episodic Memory: never moves against the gradient of a past task"
    paper: ClassVar[str] = "Lopez-Paz & Ranzato 2017, arXiv 1706.08840"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"buffer_size": 12}, {"buffer_size": 7})
    neutral: ClassVar[dict[str, Any]] = {"buffer_size": 0}

    def __post_init__(self) -> None:
        whole_number("gem", 0, buffer_size=self.buffer_size)
        not_negative(self.name, margin=self.margin)

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.buffer_size else frozenset()

    @property
    def traits(self) -> Traits:
        return Traits(waits=True, later=True, stores=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Past:
        return Past.none(0, self.name, spec)

    def begin(self, state: Past, context: TaskContext) -> Past:
        memory = opened(state.memory.larger(self.buffer_size), self.buffer_size)
        return replace(state, memory=memory, tasks=state.tasks + 1)

    def observe(self, state: Past, new: Segment, output: Tensor, context: StepContext) -> Past:
        return replace(
            state, memory=ring(state.memory, state.values(new.x, new.y, context.objective), self.buffer_size)
        )

    def gradient(self, state: Past, grads: Vector, context: StepContext) -> Vector:
        sizes = [n for n in state.memory.groups[:-1] if n]
        if not sizes:
            return grads
        past = state.segment({key: slot[: sum(sizes)] for key, slot in state.memory.slots.items()})
        G = gradients(context, past, sizes)
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
