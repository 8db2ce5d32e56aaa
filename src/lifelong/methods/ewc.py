"""Elastic Weight Consolidation (Kirkpatrick et al., PNAS 2017, arXiv 1612.00796).

    L(θ) = L_B(θ) + Σ_i λ/2 F_i (θ_i − θ*_A,i)²                                                      (equation 3)

F is the diagonal of the Fisher information of task A at θ*_A, the mean over its examples of the squared gradient of the
log-likelihood. With several past tasks there is one such term a task (here merged into one quadratic, exactly), or,
*online* (Schwarz et al. 2018, arXiv 1805.06370, equations 8 and 9), a single anchor, the latest weights, held with γF*, where
F* ← γF* + F_new. On a linear-Gaussian model with a diagonal Fisher, λ = 1 and sums over examples, the online form with γ = 1 is
the exact posterior for any number of tasks, the separate one for two (Huszár 2018, arXiv 1712.03847).

The force is λF(θ − θ*). The strength λ belongs to the Fisher it was chosen with: exact, sampled, argmax and empirical
Fishers differ in size by orders of magnitude, and none is scaled by the number of examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final, get_args

import torch

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.vector import Vector
from ..parts.fisher import Kind, fisher
from ..parts.quadratic import Guarded, Quadratic

__all__ = ["EWC"]


@final
@dataclass(frozen=True)
class EWC(Guarded):
    """Slows learning on the weights that matter to earlier tasks.

    Args:
        strength: λ; it belongs to the network, the data and the kind of Fisher: choose it with `lifelong.choose`.
        importance: the labels of the Fisher: exact (expectation over the model's own distribution), sampled, argmax, or
            empirical (true labels); or hessian, the Hessian's diagonal, for small networks.
        fisher_examples: how many examples estimate it, drawn at random; default all.
        online: one anchor, the latest weights, in place of one a task.
        gamma: γ, how much of the earlier importance is kept (online only). The penalty is γF*, so that 0 is fine-tuning.
        normalise: each task's importance is brought to mean 1 before it is added (the paper of online EWC asks for the same
            norm for every task, and names none).
        implicit, scales, head: see `Guarded`.
    """

    strength: float = 1.0
    importance: Kind = "exact"
    fisher_examples: int | None = None
    online: bool = False
    gamma: float = 1.0
    normalise: bool = False

    name: ClassVar[str] = "ewc"
    summary: ClassVar[str] = "Elastic Weight Consolidation: holds a weight by its Fisher information"
    paper: ClassVar[str] = "Kirkpatrick et al. 2017, arXiv 1612.00796; online: Schwarz et al. 2018, arXiv 1805.06370"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"strength": 5.0},
        {"strength": 5.0, "implicit": True},
        {"strength": 5.0, "importance": "empirical", "online": True, "fisher_examples": 31},
        {"strength": 0.5, "importance": "hessian", "implicit": True},
    )
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)
        if not 0 <= self.gamma <= 1:
            raise MethodError(f"ewc: gamma {self.gamma}: expected 0 (forget old importance) to 1 (keep all of it)")
        if self.importance not in get_args(Kind):
            raise MethodError(f"ewc: importance {self.importance!r}: expected one of {', '.join(get_args(Kind))}")
        if self.fisher_examples is not None and self.fisher_examples < 1:
            raise MethodError(f"ewc: fisher_examples {self.fisher_examples}: expected at least 1")
        if self.gamma != 1 and not self.online:
            raise MethodError("ewc: gamma belongs to online EWC: set online true, or leave gamma at 1")

    @property
    def force(self) -> float:
        return self.strength * (self.gamma if self.online else 1.0)

    @property
    def traits(self) -> Traits:
        return Traits(
            penalises=self.force > 0,
            likelihood=True,
            unlabelled=self.importance not in ("empirical", "hessian"),
            ranks=self.importance != "sampled",  # its draws go by the order in which one process reads
        )

    def init(self, theta: Vector, spec: Spec) -> Quadratic:
        return Quadratic.none(theta)

    def end(self, state: Quadratic, context: TaskContext) -> Quadratic:
        F = fisher(context, self.importance, self.fisher_examples)
        if self.normalise:
            mean = torch.stack([t.sum() for t in F.tensors]).sum() / len(F)
            F = F.map(lambda t: torch.where(mean > 0, t / mean, t))
        F = self.scaled(F, context)
        if self.online:
            return state.moved(state.A * self.gamma + F, context.theta)
        return state.plus(F, context.theta)

    def resize(self, state: Quadratic, mapping: IndexMap, theta: Vector) -> Quadratic:
        return state.resize(mapping, theta)
