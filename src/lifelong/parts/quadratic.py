"""The guard of each weight: one quadratic, whatever the number of tasks.

Σ_t ½ F_t (θ − θ_t)²  equals  ½ A (θ − m)²  plus a constant, with  A = Σ_t F_t  and  m = Σ_t F_t θ_t / A
(where A is 0 there is no force, and m is the latest θ_t). So one penalty a task costs constant memory and time in the
number of tasks, exactly. The force is λ A (θ − m); taken implicitly, after the optimiser's step of size η,

    θ ← argmin_u  ½ (u − θ)² + ηλ ½ A (u − m)²  =  (θ + ηλA m) / (1 + ηλA),

which no λ can make diverge (a proximal step). With momentum η is what a constant gradient moves in the long run, so that both
ways of taking the penalty come to rest at the same point; an adaptive optimiser (Adam) scales each weight's gradient by itself,
and there the implicit penalty is another one: unscaled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.contexts import Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.method import Method
from ..core.objective import active_classes
from ..core.stream import Scenario
from ..core.vector import Vector
from ..nets.heads import head_names

__all__ = ["Guarded", "Quadratic"]


@final
@dataclass(frozen=True)
class Quadratic:
    """½ Σ_i A_i (θ_i − m_i)²."""

    A: Vector
    m: Vector
    terms: int = 0  # how many were added; with none there is no force

    @property
    def guard(self) -> Quadratic:
        """Itself: the whole state of a method that keeps nothing else."""
        return self

    @staticmethod
    def none(theta: Vector) -> Quadratic:
        """No term yet. A and m are in at least single precision: a merged anchor in bfloat16 would be none of those that it merges."""
        return Quadratic(theta.sums(), theta.sums())

    def plus(self, F: Vector, theta: Vector) -> Quadratic:
        """With the term ½ F (θ − `theta`)² added."""
        A = self.A + F
        m = A.map(_mean, self.m, F, theta)
        return Quadratic(A, m, self.terms + 1)

    def moved(self, A: Vector, theta: Vector) -> Quadratic:
        """The weights `A` about the single anchor `theta`."""
        return Quadratic(A, theta.sums().copy_(theta), self.terms + 1)

    def pull(self, theta: Vector, grads: Vector, strength: float) -> Vector:
        """`grads` + λ A (θ − m), written into `grads`."""
        return grads.addcmul_(self.A, theta - self.m, strength) if self.terms else grads

    def settle(self, step: Step, strength: float) -> None:
        """The implicit step, as θ + r (m − θ) with r = 1 / (1 + 1/(ηλA)), 0 where there is no importance: exact at λ = 0 and
        at λ = ∞."""
        if self.terms:
            for p, A, m, eta in zip(step.after.tensors, self.A.tensors, self.m.tensors, step.rates):
                r = 1 / (1 + 1 / (A * strength * eta))
                p.copy_(p.to(A.dtype).lerp(m, torch.where(A * eta > 0, r, 0.0)))

    def resize(self, mapping: IndexMap, theta: Vector) -> Quadratic:
        """After a growth: what is new has no guard, and stands where it began; where weights were copied the quadratic is what it
        was as long as the copies move together."""
        A = mapping.carry(self.A, theta, role="importance")
        return Quadratic(A, mapping.carry(self.m, theta, fill=theta), self.terms)


def _mean(A: Tensor, m0: Tensor, F: Tensor, theta: Tensor) -> Tensor:
    """(A_0 m_0 + F θ) / A, as m_0 + (θ − m_0) F / A."""
    theta = theta.to(A.dtype)
    return torch.where(A > 0, m0.to(A.dtype).lerp(theta, F / A), theta)


@dataclass(frozen=True, kw_only=True)
class Guarded(Method, ABC):
    """A method that holds each weight by a guard b_i: what they share. Each says its importance and its anchor, in `end`.

    Args:
        implicit: take the penalty after the optimiser's step, where no strength can make it diverge.
        scales: factors on λ by parameter name, ``PATTERN=FACTOR`` (``0.*=2``); the first pattern that fits counts.
        head: guard the last layer as well.
    """

    implicit: bool = False
    scales: tuple[str, ...] = ()
    head: bool = True

    @property
    @abstractmethod
    def force(self) -> float:
        """λ, times the factor that its paper's penalty has beyond ½."""

    @property
    def acts(self) -> frozenset[str]:
        return super().acts - {"gradient" if self.implicit else "project"}

    def advice(self, scenario: Scenario) -> str:
        idle = super().advice(scenario)
        if not idle and not self.force:
            return f"{self} has a penalty of 0 and is fine-tuning"
        if scenario != "class" or idle:
            return idle
        return (
            f"{self.name} only guards weights: where classes of different tasks compete it forgets about as fine-tuning does "
            "(docs/limits.md); try --scenario task, or a method that remembers examples"
        )

    def scaled(self, importance: Vector, context: TaskContext) -> Vector:
        """λ by layer, as factors on the importance that the task which ends has given; reports one that holds nothing."""
        found = self._by_layer(importance, context.net)
        if self.force and not context.trial and not any(bool(t.any()) for t in found.tensors):
            active = active_classes(context.objective)
            one = "" if active is None or int(active.sum()) > 1 else ", as a single class competes"
            context.warn(
                f"{self.name}: the importance of every weight is 0 after this task{one}, so that nothing of it is held: give a task two classes "
                "or more, or use a method that remembers examples (replay)"
            )
        return found

    def _by_layer(self, importance: Vector, net: nn.Module) -> Vector:
        if not self.scales and self.head:
            return importance
        head = () if self.head else head_names(net)
        factors = []
        for name in importance.names:
            given = [_factor(scale, name) for scale in self.scales]
            found = next((f for f in given if f is not None), 1.0)
            factors.append(0.0 if name in head else found)
        return Vector(importance.names, [t * f for t, f in zip(importance.tensors, factors)])

    def gradient(self, state: Any, grads: Vector, context: StepContext) -> Vector:
        guard: Quadratic = state.guard
        return guard.pull(context.theta, grads, self.force)

    def project(self, state: Any, step: Step, context: StepContext) -> None:
        guard: Quadratic = state.guard
        guard.settle(step, self.force)


def _factor(scale: str, name: str) -> float | None:
    pattern, _, factor = scale.rpartition("=")
    try:
        value = float(factor)
    except ValueError:
        value = -1.0
    if not pattern or value < 0:
        raise MethodError(f"scales {scale!r}: expected PATTERN=FACTOR with a factor of 0 or more (0.*=2)")
    return value if fnmatchcase(name, pattern) else None
