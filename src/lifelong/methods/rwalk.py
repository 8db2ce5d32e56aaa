"""Riemannian Walk (Chaudhry et al. 2018, arXiv 1801.10112).

    ΔL_i = −Σ g_i(t) (θ_i(t+1) − θ_i(t))                over Δt steps: how much of the loss the weight i took away
    s_i ← s_i + max(ΔL_i, 0) / (½ F_i Δθ_i² + ε)        per distance walked on the manifold of distributions
    F ← α ⟨g²⟩ + (1 − α) F                              a running Fisher, ⟨·⟩ over the stretch's mini-batches
    L(θ) = L_n(θ) + λ Σ_i (F_i + s_i) (θ_i − θ*_i)²      F and s each brought to 0..1 over all weights

Between tasks the score is the mean of the one before and the task's own, s ← ½ (s + s_task). No ½ in the penalty: the force is
2λ(F + s)(θ − θ*). As in the authors' code F averages the squared gradients of mini-batches; its scale is lost when it is
normalised, but in the score it is a mini-batch's and not an example's. At the end of a stretch F is updated before the score, which so
divides by the Fisher that includes the stretch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.vector import Vector
from ..parts.quadratic import Guarded, Quadratic

__all__ = ["RWalk"]


@final
@dataclass(frozen=True)
class Walk:
    """The guard, the running Fisher and score, and the present stretch of Δt steps."""

    guard: Quadratic
    F: Vector
    score: Vector  # of the tasks before
    own: Vector  # of the present task
    gain: Vector  # ΔL of the present stretch
    squares: Vector  # Σ g² of it
    start: Vector  # θ where it began
    steps: int = 0  # in it


@final
@dataclass(frozen=True)
class RWalk(Guarded):
    """Holds a weight by its Fisher information and by what it took off the loss for the distance it went.

    Args:
        strength: λ.
        alpha: α, the weight of the newest gradient in the running Fisher.
        every: Δt, steps between two updates of score and Fisher.
        epsilon: ε, the damping of the score.
        implicit, scales, head: see `Guarded`.
    """

    strength: float = 0.1
    alpha: float = 0.9
    every: int = 10
    epsilon: float = 1e-3

    name: ClassVar[str] = "rwalk"
    summary: ClassVar[str] = "Riemannian Walk: Fisher information and the loss taken off per distance"
    paper: ClassVar[str] = "Chaudhry et al. 2018, arXiv 1801.10112"
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)
        if not 0 < self.alpha <= 1 or self.every < 1 or self.epsilon <= 0:
            raise MethodError(
                f"rwalk: alpha {self.alpha}, every {self.every}, epsilon {self.epsilon}: expected 0 < alpha ≤ 1, every ≥ 1, "
                "epsilon > 0"
            )

    @property
    def traits(self) -> Traits:
        return Traits(penalises=self.force > 0, ranks=True)

    @property
    def force(self) -> float:
        return 2 * self.strength

    def init(self, theta: Vector, spec: Spec) -> Walk:
        zero = theta.sums
        return Walk(Quadratic.none(theta), zero(), zero(), zero(), zero(), zero(), theta.clone())

    def begin(self, state: Walk, context: TaskContext) -> Walk:
        zero = context.theta.sums
        return replace(state, own=zero(), gain=zero(), squares=zero(), start=context.theta.clone(), steps=0)

    def track(self, state: Walk, step: Step, context: StepContext) -> Walk:
        state.gain.addcmul_(step.grads, step.after - step.before, -1.0)
        state.squares.addcmul_(step.grads, step.grads)
        state = replace(state, steps=state.steps + 1)
        return state if state.steps < self.every else self._stretch_over(state, step.after)

    def _stretch_over(self, state: Walk, theta: Vector) -> Walk:
        if not state.steps:
            return state
        F = state.F * (1 - self.alpha) + state.squares * (self.alpha / state.steps)
        moved = theta.sums().copy_(theta) - state.start
        own = state.own + state.gain.clamp(0.0) / (F * moved.square() * 0.5 + self.epsilon)
        zero = theta.sums
        return replace(state, F=F, own=own, gain=zero(), squares=zero(), start=theta.clone(), steps=0)

    def end(self, state: Walk, context: TaskContext) -> Walk:
        state = self._stretch_over(state, context.theta)
        score = (state.score + state.own) * 0.5 if state.guard.terms else state.own
        importance = _to_unit(state.F) + _to_unit(score)
        return replace(state, score=score, guard=state.guard.moved(self.scaled(importance, context), context.theta))

    def resize(self, state: Walk, mapping: IndexMap, theta: Vector) -> Walk:
        F, squares = (mapping.carry(v, theta, role="square") for v in (state.F, state.squares))
        score, own = (mapping.carry(v, theta, role="importance") for v in (state.score, state.own))
        gain = mapping.carry(state.gain, theta, role="share")
        start = mapping.carry(state.start, theta, fill=theta)
        return Walk(state.guard.resize(mapping, theta), F, score, own, gain, squares, start, state.steps)


def _to_unit(v: Vector) -> Vector:
    """(v − min v) / (max v − min v) over all weights."""
    low = torch.stack([t.min() for t in v.tensors]).min()
    high = torch.stack([t.max() for t in v.tensors]).max()
    return v.map(lambda t: (t - low) / (high - low).clamp(min=torch.finfo(t.dtype).tiny))
