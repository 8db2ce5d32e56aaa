"""What the slots of a method are told: of the run, of a task where it begins and ends, and of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from torch import nn

from .errors import warn
from .examples import Examples
from .objective import Objective
from .ranks import ALONE, Ranks
from .segments import Segment
from .stream import Scenario, Task
from .vector import Vector

__all__ = ["Costs", "Spec", "Step", "StepContext", "TaskContext"]


@final
@dataclass(frozen=True)
class Spec:
    """What a method may know before the first task. No length: a stream may never end."""

    shape: tuple[int, ...]  # of one input
    outputs: int
    scenario: Scenario
    seed: int = 0


@dataclass
class Costs:
    """What a run has cost so far."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    forward: int = 0  # examples passed forward in training, through this network or another (a teacher, a generator), estimates included
    backward: int = 0

    @property
    def passes(self) -> int:
        """Of examples, forward and backward together: what a budget of compute counts."""
        return self.forward + self.backward


class Step(NamedTuple):
    """What the optimiser did: the weights before and after, and each tensor's learning rate."""

    before: Vector
    after: Vector  # the network's own tensors; `project` writes to them
    grads: Vector  # of the examples' loss, before any method's change
    rates: Sequence[float]


@final
@dataclass(frozen=True)
class StepContext:
    """What every slot of a step is told. It is one object for all steps of a task."""

    net: nn.Module
    theta: Vector  # the trainable weights themselves
    objective: Objective  # of the task
    generator: torch.Generator  # for this method's draws
    costs: Costs = field(default_factory=Costs)
    ranks: Ranks = ALONE

    def gradient_of(self, segment: Segment) -> Vector:
        """The gradient of the mean loss on other examples, at the present weights. Of several ranks all give the same examples, and each
        takes its part of them."""
        own = segment.part(self.ranks)
        objective = segment.objective or self.objective
        with torch.enable_grad():
            loss = objective.loss(self.net(own.x), own.y)
            found = torch.autograd.grad(loss, self.theta.tensors, materialize_grads=True)
        grads = [g.to_dense() if g.is_sparse else g for g in found]
        if own is not segment:
            self.ranks.mean_(grads)
        self.costs.forward += own.rows
        self.costs.backward += own.rows
        return Vector(self.theta.names, grads)


@final
@dataclass(frozen=True)
class TaskContext:
    """What is known where a task begins and ends."""

    net: nn.Module
    theta: Vector  # the trainable weights themselves
    examples: Examples  # what the task trains on
    objective: Objective  # what its outputs are held to in training
    index: int  # how many tasks came before
    task: Task | None  # None inside somebody's own loop
    generator: torch.Generator  # of this task, for this method's draws
    reset: Callable[[], None]  # back to the network's and the optimiser's initial state
    costs: Costs = field(default_factory=Costs)
    seen: tuple[int, ...] = ()  # classes, the present task's included; empty where all tasks share theirs
    steps: int | None = None  # that the task takes, a round; None: nobody knows
    epoch: int | None = None  # steps of one pass over its examples
    ranks: Ranks = ALONE  # who learns this network together
    known: int = 0  # the first so many outputs stood for something before the first task
    trial: bool = False  # whether the end of a task is only tried, on a few examples, before the task is learnt
    count: int = 0  # then: how many examples the end will look at; 0: nobody knows
    warn: Callable[[str], None] = warn  # reports what goes on differently than its user probably expects
