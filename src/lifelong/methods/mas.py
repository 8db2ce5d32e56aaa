"""Memory Aware Synapses (Aljundi et al. 2018, arXiv 1711.09601).

    Ω_ij = 1/N Σ_k |g_ij(x_k)|,   g_ij(x) = ∂ ‖F(x; θ)‖² / ∂θ_ij                                (equations 2 and 3, ℓ2²)
    L(θ) = L_n(θ) + λ Σ_ij Ω_ij (θ_ij − θ*_ij)²                                                         (equation 4)

The importance of a weight is how much the network's answer depends on it. No labels are needed, so any inputs will do that
are like those to be answered later. Ω is summed over tasks; θ* are the weights after the last. No ½: the force is 2λΩ(θ − θ*).

The absolute value is of each example's gradient. Absolute values of a batch's sum, as in some code, cancel within the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from ..core.contexts import Spec, TaskContext
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.objective import Objective
from ..core.vector import Vector
from ..parts.quadratic import Guarded, Quadratic
from ..parts.sensitivity import sensitivity

__all__ = ["MAS"]


@final
@dataclass(frozen=True)
class MAS(Guarded):
    """Holds a weight by how much the outputs depend on it.

    Args:
        strength: λ.
        inputs_used: how many inputs estimate the importance, drawn at random; default all.
        implicit, scales, head: see `Guarded`.
    """

    strength: float = 0.01
    inputs_used: int | None = None

    name: ClassVar[str] = "mas"
    summary: ClassVar[str] = (
        "Memory Aware Synapses: holds a weight by how much the outputs depend on it; needs no labels"
    )
    paper: ClassVar[str] = "Aljundi et al. 2018, arXiv 1711.09601"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"inputs_used": 1})
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)

    @property
    def traits(self) -> Traits:
        return Traits(penalises=self.force > 0, unlabelled=True, ranks=True)

    @property
    def force(self) -> float:
        return 2 * self.strength

    def init(self, theta: Vector, spec: Spec) -> Quadratic:
        return Quadratic.none(theta)

    def end(self, state: Quadratic, context: TaskContext) -> Quadratic:
        omega = sensitivity(context, _twice_the_output, power=1, limit=self.inputs_used)
        return state.moved(state.A + self.scaled(omega, context), context.theta)

    def resize(self, state: Quadratic, mapping: IndexMap, theta: Vector) -> Quadratic:
        return state.resize(mapping, theta)


def _twice_the_output(f: Tensor, y: Tensor, objective: Objective) -> list[tuple[Tensor, Tensor | None]]:
    """∂‖f‖²/∂f; an output that does not compete (logit −∞) has no part in the norm."""
    return [(torch.where(f.isneginf(), torch.zeros_like(f), 2 * f), None)]
