"""The order in which the slots of a method act: one for the library's own loop and for anybody's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.contexts import Costs, Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.method import Method
from ..core.objective import Objective
from ..core.ranks import ALONE, Ranks
from ..core.segments import Batch, Segment
from ..core.state_io import vectors
from ..core.stream import Scenario
from ..core.vector import Vector
from .task_end import ended

__all__ = ["Held", "Stepper", "rates"]


@final
@dataclass(eq=False)
class Held:
    """What a method holds of some weights. The weights themselves are not in it."""

    method: Method
    scenario: Scenario
    seed: int
    generator: torch.Generator  # for the method's draws in the present task
    spec: Spec | None = None  # known when the first task comes
    state: Any = None
    learnt: int = 0  # tasks
    seen: tuple[int, ...] = ()  # classes, the present task's included


@final
class Stepper:
    """A network, the optimiser that steps its weights, and what a method holds of them. It orders the slots; its owner says when.

    In a step: `batch`, the network's forward pass, `loss`, backward, `before`, the optimiser's step, `after`, `observe`.
    """

    def __init__(
        self,
        net: nn.Module,
        theta: Vector,
        optimizer: torch.optim.Optimizer,
        held: Held,
        objective: Objective,
        costs: Costs,
        ranks: Ranks = ALONE,
    ) -> None:
        self.net, self.theta, self.optimizer, self.held = net, theta, optimizer, held
        self.method = held.method
        self.acts = held.method.acts
        self.costs, self.ranks = costs, ranks
        self._changes = "gradient" in self.acts
        self._tracks = "track" in self.acts
        self._follows = bool(self.acts & {"track", "project"})
        self._before: Vector | None = None
        self._grads: Vector | None = None
        self.at(objective)

    def at(self, objective: Objective) -> None:
        """From now on the outputs are held to this objective."""
        self.objective = objective
        self.context = StepContext(self.net, self.theta, objective, self.held.generator, self.costs, self.ranks)

    # --- the edges of a task ----------------------------------------------------------------------------------------
    def init(self, spec: Spec) -> None:
        """The state before the first task."""
        self.held.spec = spec
        self.held.state = self.method.init(self.theta, spec)

    def begin(self, context: TaskContext) -> None:
        """Before the first step of a task."""
        if "begin" in self.acts:
            with (
                torch.no_grad()
            ):  # and not around the function: a warning names the first line that is not this package's
                self.held.state = self.method.begin(self.held.state, context)

    def end(self, context: TaskContext) -> None:
        """After the last step of a task.

        Raises:
            TrainingError: what the method would hold is NaN or infinite.
        """
        if "end" in self.acts:
            with torch.no_grad():
                self.held.state = ended(self.method, self.held.state, context)

    def may_grow(self) -> None:
        """Raises `MethodError` where a method keeps vectors of the weights and does not say how they follow when the network grows."""
        states = self.held.state if len(self.method.parts()) > 1 else (self.held.state,)
        for part, state in zip(self.method.parts(), states or ()):
            if type(part).resize is Method.resize and next(vectors(state), None) is not None:
                raise MethodError(
                    f"{part.name} keeps a Vector of the network's weights, and the network grows: expected a slot resize(state, mapping, theta), for "
                    "instance with mapping.carry(vector, theta, fill=theta); or a network that has all outputs from the beginning"
                )

    def resize(self, mapping: IndexMap) -> None:
        """The state follows a growth."""
        if self.held.state is not None and "resize" in self.acts:
            self.held.state = self.method.resize(self.held.state, mapping, self.theta)

    # --- the step ---------------------------------------------------------------------------------------------------
    def batch(self, new: Segment) -> Batch:
        """What the step learns from."""
        batch = Batch((new,))
        return self.method.segments(self.held.state, batch, self.context) if "segments" in self.acts else batch

    def loss(self, batch: Batch, output: Any, losses: Tensor | None = None) -> Tensor:
        """The loss of the step, ``[]``; `losses` are somebody's own of each example ``[B]``, in place of the objective's."""
        loss = batch.loss(self.objective, output) if losses is None else batch.weighted(losses)
        if "loss" in self.acts:
            loss = loss + self.method.loss(self.held.state, batch, output, self.context)
        return loss

    @torch.no_grad()
    def before(self) -> None:
        """Between backward and the optimiser's step."""
        if not (self._changes or self._follows):
            return
        grads = Vector(self.theta.names, [_gradient(p) for p in self.theta.tensors])
        if self._follows:
            self._before = self.theta.clone()
            # what is written to p.grad, by a method or by Nesterov's momentum, must not reach `track`
            self._grads = grads.clone() if self._tracks else grads
        if self._changes:
            changed = self.method.gradient(self.held.state, grads, self.context)
            for p, g in zip(self.theta.tensors, changed.tensors):
                # a weight that had no part in the loss stays without gradient unless the method gives it one: an optimiser
                # acts on zeros (momentum, decay) and passes over None
                if p.grad is not g and p.requires_grad and (p.grad is not None or bool(g.any())):
                    p.grad = g

    @torch.no_grad()
    def after(self) -> None:
        """After the optimiser's step."""
        if not self._follows:
            return
        assert self._before is not None
        assert self._grads is not None
        step = Step(self._before, self.theta, self._grads, rates(self.optimizer, self.theta))
        if "project" in self.acts:
            self.method.project(self.held.state, step, self.context)
        if self._tracks:
            self.held.state = self.method.track(self.held.state, step, self.context)

    @torch.no_grad()
    def observe(self, new: Segment, output: Any) -> None:
        """What the method stores of a step: the new examples of all ranks, and what the network answered."""
        if "observe" in self.acts:
            self.held.state = self.method.observe(self.held.state, new, output, self.context)

    def count(self, own: int, learnt: int) -> None:
        """Adds the passes of a step to the costs."""
        forward, backward = (
            self.method.extra_passes(self.held.state, own, learnt) if "extra_passes" in self.acts else (0, 0)
        )
        self.costs.forward += learnt + forward
        self.costs.backward += learnt + backward


def rates(optimizer: torch.optim.Optimizer, theta: Vector) -> list[float]:
    """How far a constant gradient of 1 moves each of `theta`'s tensors a step in the long run: the learning rate η of its group,
    and with momentum β and dampening τ  η (1 − τ) / (1 − β). An adaptive optimiser's own scaling is not in it."""
    of: dict[int, float] = {}
    for group in optimizer.param_groups:
        eta = float(group["lr"]) * (1 - group.get("dampening", 0.0)) / (1 - group.get("momentum", 0.0))
        of |= {id(p): eta for p in group["params"]}
    return [of.get(id(p), 0.0) for p in theta.tensors]


def _gradient(p: Tensor) -> Tensor:
    if p.grad is None:
        return torch.zeros_like(p)
    return p.grad.to_dense() if p.grad.is_sparse else p.grad  # nn.Embedding(sparse=True)
