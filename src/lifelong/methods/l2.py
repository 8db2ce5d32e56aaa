"""L2 in weight space: every weight has the same guard. The baseline of EWC (arXiv 1612.00796, figure 2A).

    L(θ) = L_n(θ) + λ Σ_i (θ_i − θ*_i)²

with θ* the weights after the last task, or one such term for each task. The paper gives no equation for it; the lecture's has
no ½, so neither has this one, and the force is 2λ(θ − θ*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from ..core.contexts import Spec, TaskContext
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.vector import Vector
from ..parts.quadratic import Guarded, Quadratic

__all__ = ["L2"]


@final
@dataclass(frozen=True)
class L2(Guarded):
    """Penalises every move away from the weights after the last task.

    Args:
        strength: λ.
        anchors: the weights after the last task only, or those after each task.
        implicit, scales, head: see `Guarded`.
    """

    strength: float = 0.01
    anchors: Literal["last", "each"] = "last"

    name: ClassVar[str] = "l2"
    summary: ClassVar[str] = "holds every weight alike"
    paper: ClassVar[str] = "Kirkpatrick et al. 2017, arXiv 1612.00796, figure 2A"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"implicit": True})
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)

    @property
    def traits(self) -> Traits:
        return Traits(penalises=self.force > 0, ranks=True)

    @property
    def force(self) -> float:
        return 2 * self.strength

    def init(self, theta: Vector, spec: Spec) -> Quadratic:
        return Quadratic.none(theta)

    def end(self, state: Quadratic, context: TaskContext) -> Quadratic:
        one = self.scaled(context.theta.sums() + 1.0, context)
        return state.plus(one, context.theta) if self.anchors == "each" else state.moved(one, context.theta)

    def resize(self, state: Quadratic, mapping: IndexMap, theta: Vector) -> Quadratic:
        return state.resize(mapping, theta)
