"""What a method does around an optimiser's step; the same in the library's loop and in anybody's own."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from .method import Batch, Costs, Method, Step, cross_entropy
from .ranks import ALONE, Ranks
from .vector import Vector

__all__ = ["Around", "rates"]


def rates(optimizer: torch.optim.Optimizer, theta: Vector) -> list[float]:
    """How far a constant gradient of 1 moves each of `theta`'s tensors a step in the long run: the learning rate η of its group,
    and with momentum β and dampening τ  η (1 − τ) / (1 − β). An adaptive optimiser's own scaling is not in it."""
    of: dict[int, float] = {}
    for group in optimizer.param_groups:
        eta = float(group["lr"]) * (1 - group.get("dampening", 0.0)) / (1 - group.get("momentum", 0.0))
        of |= {id(p): eta for p in group["params"]}
    return [of.get(id(p), 0.0) for p in theta.tensors]


@final
class Around:
    """Called between backward and the optimiser's step, and after it."""

    def __init__(
        self,
        method: Method,
        net: nn.Module,
        theta: Vector,
        optimizer: torch.optim.Optimizer,
        costs: Costs,
        ranks: Ranks = ALONE,
    ) -> None:
        self.method, self.theta, self.optimizer = method, theta, optimizer
        self._grad_of = _GradOf(net, theta, costs, ranks)
        slots = method.acts
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
        grads = Vector(self.theta.names, [_gradient(p) for p in self.theta.tensors])
        if self._follows:
            self._before = self.theta.clone()
            # what is written to p.grad, by a method or by Nesterov's momentum, must not reach `track`
            self._grads = grads.clone() if self._tracks else grads
        if self._changes:
            changed = self.method.gradient(state, self.theta, grads, self._grad_of)
            for p, g in zip(self.theta.tensors, changed.tensors):
                # a weight that had no part in the loss stays without gradient unless the method gives it one: an optimiser
                # acts on zeros (momentum, decay) and passes over None
                if p.grad is not g and p.requires_grad and (p.grad is not None or bool(g.any())):
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


def _gradient(p: Tensor) -> Tensor:
    if p.grad is None:
        return torch.zeros_like(p)
    return p.grad.to_dense() if p.grad.is_sparse else p.grad  # nn.Embedding(sparse=True)


@final
class _GradOf:
    def __init__(self, net: nn.Module, theta: Vector, costs: Costs, ranks: Ranks) -> None:
        self.net, self.theta, self.costs, self.ranks = net, theta, costs, ranks

    def __call__(self, batch: Batch) -> Vector:
        own = batch.cut(0, self.ranks)
        with torch.enable_grad():
            loss = cross_entropy(self.net(own.x), own)
            grads = torch.autograd.grad(loss, self.theta.tensors, materialize_grads=True)
        grads = tuple(g.to_dense() if g.is_sparse else g for g in grads)
        if own is not batch:
            self.ranks.mean_(grads)
        self.costs.forward += len(own.y)
        self.costs.backward += len(own.y)
        return Vector(self.theta.names, grads)
