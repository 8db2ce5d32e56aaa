"""Averaged GEM (Chaudhry et al. 2019, arXiv 1812.00420): one constraint, the mean loss of all past examples.

    g̃ = g − (gᵀ g_ref / g_refᵀ g_ref) g_ref   where gᵀ g_ref < 0, otherwise g                            (equation 11)

g_ref is the gradient on a batch drawn from the memory of all past tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch

from ..core.contexts import StepContext
from ..core.method import Traits
from ..core.vector import Vector
from ..parts.rehearsal import Fill, Past, Rehearsal

__all__ = ["AGEM"]


@final
@dataclass(frozen=True)
class AGEM(Rehearsal):
    """Never moves against the mean gradient of past examples.

    Args:
        buffer_size: how many examples are kept; 0: none.
        fill: which (see `Rehearsal`). With ring, random and herding only past tasks' are drawn; the others know no tasks.
        batch_size: how many are drawn in a step, with replacement.
        per_class: see `Rehearsal`.
    """

    fill: Fill = "ring"
    batch_size: int | None = 256

    name: ClassVar[str] = "agem"
    summary: ClassVar[str] = "Averaged GEM: never moves against the mean gradient of past examples"
    paper: ClassVar[str] = "Chaudhry et al. 2019, arXiv 1812.00420"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"buffer_size": 40, "batch_size": 12},
        {"buffer_size": 40, "batch_size": 9, "fill": "reservoir"},
    )

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True, stores=True, later=self.fill not in ("reservoir", "balanced"))

    def gradient(self, state: Past, grads: Vector, context: StepContext) -> Vector:
        memory = state.memory
        present = memory.groups[-1] if self.fill == "ring" and memory.groups else 0
        if memory.filled == present:
            return grads
        reference = context.gradient_of(
            state.segment(memory.sample(self.batch_size or 256, state.draws, memory.filled - present))
        )
        against = grads.dot(reference).clamp(max=0)
        length = reference.dot(reference)
        scale = torch.where(length > 0, against / length, 0.0)
        return grads.map(lambda g, r: g.sub_(scale * r), reference)
