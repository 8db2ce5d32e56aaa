"""What a method does around an optimiser's step; the same in the library's loop and in anybody's own."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn

from .method import Batch, Costs, Method, Step, cross_entropy
from .vector import Vector

__all__ = ["Around", "rates"]


def rates(optimizer: torch.optim.Optimizer, theta: Vector) -> list[float]:
    """The learning rate of each of `theta`'s tensors."""
    of = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    return [of.get(id(p), 0.0) for p in theta.tensors]


@final
class Around:
    """Called between backward and the optimiser's step, and after it."""

    def __init__(
        self, method: Method, net: nn.Module, theta: Vector, optimizer: torch.optim.Optimizer, costs: Costs
    ) -> None:
        self.method, self.net, self.theta, self.optimizer, self.costs = method, net, theta, optimizer, costs
        slots = method.slots
        self._changes = "gradient" in slots
        self._tracks = "track" in slots
        self._projects = "project" in slots
        self._follows = self._tracks or self._projects
        self._before: Vector | None = None
        self._grads: Vector | None = None

    @torch.no_grad()
    def before(self, state: Any) -> None:
        """Between backward and the optimiser's step."""
        if not (self._changes or self._follows):
            return
        grads = self._gradient()
        if self._follows:
            self._before = self.theta.clone()
            self._grads = grads.clone() if self._tracks and self._changes else grads
        if self._changes:
            changed = self.method.gradient(state, self.theta, grads, self._grad_of)
            if changed is not grads:
                for p, g in zip(self.theta.tensors, changed.tensors):
                    p.grad = g

    @torch.no_grad()
    def after(self, state: Any) -> Any:
        """After the optimiser's step."""
        if not self._follows:
            return state
        assert self._before is not None
        assert self._grads is not None
        step = Step(self._before, self.theta, self._grads, rates(self.optimizer, self.theta))
        if self._projects:
            self.method.project(state, step)
        return self.method.track(state, step) if self._tracks else state

    def _gradient(self) -> Vector:
        """The gradient that backward left; a weight that had no part in the loss has zero."""
        grads = []
        for p in self.theta.tensors:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            grads.append(p.grad)
        return Vector(self.theta.names, grads)

    def _grad_of(self, batch: Batch) -> Vector:
        with torch.enable_grad():
            loss = cross_entropy(self.net(batch.x), batch)
            grads = torch.autograd.grad(loss, self.theta.tensors, materialize_grads=True)
        self.costs.forward += len(batch.y)
        self.costs.backward += len(batch.y)
        return Vector(self.theta.names, grads)
