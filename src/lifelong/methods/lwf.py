"""Learning without Forgetting (Li & Hoiem 2016, arXiv 1606.09282): on the new task's inputs, answer as the network did before it.

    L = λ_o Σ_o H(y_o, ŷ_o) + L_new(y_n, ŷ_n)                                        (the algorithm of figure 3)

y_o are the answers that the network as it was gave on the new inputs for an old task o, ŷ_o those it gives now, both at
temperature T = 2 (see `lifelong.parts.distillation`). Where tasks are known each old task has a head of its own, and the distances add; where
they are not there is one head of all earlier outputs. Or, with a weight for each task (van de Ven & Tolias 2019, arXiv
1904.07734), in task k:  1/k L_new + (1 − 1/k) λ_o mean_o H. The paper records y_o before training; asking the old network at each
step is the same, and holds for augmented inputs too. It warms up a new head alone first (`warmup`), as the paper does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Method, Traits
from ..core.segments import Batch
from ..core.vector import Vector
from ..nets.heads import head_names
from ..parts.distillation import Before, Normaliser, answers, distance

__all__ = ["LwF"]


@final
@dataclass(frozen=True)
class Earlier:
    """The network before the present task, and the steps taken in it as long as its head warms up."""

    before: Before
    head: tuple[str, ...] = ()  # the last layer's weights
    steps: int = 0


@final
@dataclass(frozen=True)
class LwF(Method):
    """Answers as it did before, on the new inputs; keeps no examples.

    Args:
        strength: λ_o.
        temperature: T.
        weighting: paper (the new loss counts whole), or tasks (each task counts alike: 1/k and 1 − 1/k).
        normaliser: what the present answers sum to 1 over: old (the outputs of the past), or all seen so far. Where tasks are known each old
            head is normalised by itself in either case, as no other outputs compete with it.
        warmup: steps at the beginning of a task in which only its new outputs learn.
    """

    strength: float = 1.0
    temperature: float = 2.0
    weighting: Literal["paper", "tasks"] = "paper"
    normaliser: Normaliser = "old"
    warmup: int = 0

    name: ClassVar[str] = "lwf"
    summary: ClassVar[str] = "Learning without Forgetting: answers as before on the new inputs; keeps no examples"
    paper: ClassVar[str] = "Li & Hoiem 2016, arXiv 1606.09282"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"weighting": "tasks", "warmup": 3})
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength, warmup=self.warmup)
        if not self.temperature > 0:
            raise MethodError(f"lwf: temperature {self.temperature}: expected more than 0 (the paper's is 2)")

    @property
    def acts(self) -> frozenset[str]:
        if not self.strength:
            return frozenset()
        without = {"segments"} if self.weighting == "paper" else set()
        return super().acts - without - (set() if self.warmup else {"gradient", "project", "track"})

    @property
    def traits(self) -> Traits:
        return Traits(masks=self.warmup > 0, compares=True, asks=True, adopts=True, later=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Earlier:
        return Earlier(Before.none(theta, spec))

    def begin(self, state: Earlier, context: TaskContext) -> Earlier:
        before = state.before.next(context)
        fresh = bool((before.present & ~before.heads.any(0)).any())
        return Earlier(before, head_names(context.net), 0 if fresh else self.warmup)  # nothing new: nothing to warm up

    def segments(self, state: Earlier, batch: Batch, context: StepContext) -> Batch:
        return batch if state.before.weights is None else batch.scaled(1 / state.before.tasks)

    def loss(self, state: Earlier, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        before = state.before
        if before.weights is None:
            return output.new_zeros(())
        y = answers(context.net, before.weights, batch.x)
        over = (
            before.present if self.normaliser == "all" and not before.known else None
        )  # heads of known tasks do not compete
        H = distance(output, y, before.heads[:, None], self.temperature, over).mean(1)  # of each head
        if self.weighting == "paper":
            return self.strength * H.sum()
        return self.strength * (1 - 1 / before.tasks) * H.mean()

    def extra_passes(self, state: Earlier, own: int, learnt: int) -> tuple[int, int]:
        return (0 if state.before.weights is None else learnt, 0)

    # --- warming up -------------------------------------------------------------------------------------------------
    def _warm(self, state: Earlier) -> Tensor | None:
        """The outputs that learn alone now, ``[C]``; None: everything learns."""
        if state.before.weights is None or state.steps >= self.warmup:
            return None
        return state.before.present & ~state.before.heads.any(0)

    def gradient(self, state: Earlier, grads: Vector, context: StepContext) -> Vector:
        new = self._warm(state)
        return grads if new is None else grads.map(torch.mul, _rows(context.theta, state.head, new))

    def project(self, state: Earlier, step: Step, context: StepContext) -> None:
        new = self._warm(state)
        if new is not None:  # momentum and decay move weights without gradient
            for p, before, rows in zip(
                step.after.tensors, step.before.tensors, _rows(step.after, state.head, new).tensors
            ):
                p.copy_(torch.where(rows > 0, p, before))

    def track(self, state: Earlier, step: Step, context: StepContext) -> Earlier:
        return replace(state, steps=state.steps + 1) if state.steps < self.warmup else state

    # --- growing ----------------------------------------------------------------------------------------------------
    def resize(self, state: Earlier, mapping: IndexMap, theta: Vector) -> Earlier:
        return replace(state, before=state.before.resize(mapping, theta))


def _rows(theta: Vector, head: tuple[str, ...], outputs: Tensor) -> Vector:
    """1 for the last layer's weights to these outputs, otherwise 0."""
    ones = []
    for name, t in theta:
        rows = outputs.to(t).view(-1, *[1] * (t.dim() - 1))
        ones.append(rows.expand_as(t) if name in head else torch.zeros_like(t))
    return Vector(theta.names, ones)
