"""Each weight is pulled back to where the last task left it.

    g ← g + λ (θ − θ*)

with θ* the weights after the last task. `lifelong.L2` does the same with half the strength: its penalty is λ‖θ − θ*‖², so it adds 2λ(θ − θ*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from lifelong import Method
from lifelong.core.contexts import Spec, StepContext, TaskContext
from lifelong.core.method import Traits
from lifelong.core.vector import Vector

__all__ = ["Pull"]


@final
@dataclass(frozen=True)
class Pull(Method):
    """Pulls each weight back to where the last task left it.

    Args:
        strength: λ.
    """

    strength: float = 0.02

    name: ClassVar[str] = "pull"
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    @property
    def traits(self) -> Traits:
        return Traits(penalises=True, ranks=True)

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.strength else frozenset()

    def init(self, theta: Vector, spec: Spec) -> Vector | None:
        return None

    def end(self, state: Vector | None, context: TaskContext) -> Vector:
        return context.theta.clone()

    def gradient(self, state: Vector | None, grads: Vector, context: StepContext) -> Vector:
        return grads if state is None else grads.add_(context.theta - state, self.strength)
