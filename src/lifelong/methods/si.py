"""Synaptic Intelligence (Zenke, Poole & Ganguli 2017, arXiv 1703.04200).

    ω_k = −Σ_t g_k(t) Δθ_k(t)                                       along the steps that the optimiser made   (equation 3)
    Ω_k ← Ω_k + max(ω_k, 0) / (Δ_k² + ξ)                            Δ_k: the change over the task             (equation 5)
    L(θ) = L_n(θ) + c Σ_k Ω_k (θ̃_k − θ_k)²                           θ̃: the weights after the last task        (equation 4)

g is the gradient of the task's own loss, without the penalty. ω_k is how much of the loss the weight k took away. No ½: the
force is 2cΩ(θ − θ̃). ξ is 0.1 for permuted MNIST and 0.001 for split MNIST in the authors' code. The equations have no maximum; it
keeps a task whose path went uphill from making a guard negative. (The authors' code clamps the running total Ω in its place.) In a chain with
a method that adds to the loss (LwF, DER), g is the gradient of the sum: what a weight took off the distillation counts as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.vector import Vector
from ..parts.quadratic import Guarded, Quadratic

__all__ = ["SI"]


@final
@dataclass(frozen=True)
class Path:
    """The guard, and the path of the present task so far."""

    guard: Quadratic
    omega: Vector
    start: Vector  # θ where the task began


@final
@dataclass(frozen=True)
class SI(Guarded):
    """Holds a weight by how much it took off the loss on its way.

    Args:
        strength: c.
        xi: ξ, the damping of weights that hardly moved.
        implicit, scales, head: see `Guarded`.
    """

    strength: float = 0.1
    xi: float = 0.1

    name: ClassVar[str] = "si"
    summary: ClassVar[str] = "Synaptic Intelligence: holds a weight by what it took off the loss on its way"
    paper: ClassVar[str] = "Zenke, Poole & Ganguli 2017, arXiv 1703.04200"
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)
        if not self.xi > 0:
            raise MethodError(
                f"si: xi {self.xi}: expected more than 0; a weight that did not move would be divided by it"
            )

    @property
    def traits(self) -> Traits:
        return Traits(penalises=self.force > 0, ranks=True)

    @property
    def force(self) -> float:
        return 2 * self.strength

    def init(self, theta: Vector, spec: Spec) -> Path:
        return Path(Quadratic.none(theta), theta.sums(), theta.clone())

    def begin(self, state: Path, context: TaskContext) -> Path:
        return replace(state, omega=context.theta.sums(), start=context.theta.clone())

    def track(self, state: Path, step: Step, context: StepContext) -> Path:
        state.omega.addcmul_(step.grads, step.after - step.before, -1.0)
        return state

    def end(self, state: Path, context: TaskContext) -> Path:
        moved = context.theta.sums().copy_(context.theta) - state.start
        omega = state.omega.clamp(0.0) / (moved.square() + self.xi)
        return replace(state, guard=state.guard.moved(state.guard.A + self.scaled(omega, context), context.theta))

    def resize(self, state: Path, mapping: IndexMap, theta: Vector) -> Path:
        omega = mapping.carry(state.omega, theta, role="share")
        start = mapping.carry(state.start, theta, fill=theta)
        return Path(state.guard.resize(mapping, theta), omega, start)
