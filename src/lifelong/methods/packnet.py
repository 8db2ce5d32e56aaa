"""PackNet (Mallya & Lazebnik 2018, arXiv 1711.05769): one network of fixed size whose weights are given to the tasks in turn.

A task trains the weights that no earlier task owns, beside those that they own, which rest. Then, layer by layer, only the largest in
magnitude of what it trained stay its own; the others become 0, free for later tasks, and the task trains on with what it kept. A task is
answered with the weights of its own and of the tasks before it, the others being 0: what it was, bit for bit.

The rows of the last layer are pruned like other weights, those of the outputs that compete in the task. (The paper gives each task a
classifier of its own, which is not pruned.) Biases and normalisations belong to the first task (a bias of an output to the first task that has the output). Running statistics are
kept for each task. Here pruning and retraining are stages of the task's own steps, `retrain` of them after the pruning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.method import Method, Traits
from ..core.objective import active_classes
from ..core.stream import Scenario
from ..core.vector import Vector
from ..nets.heads import last_linear

__all__ = ["PackNet"]


@final
@dataclass(frozen=True)
class Packed:
    """Who owns what, and where the present task stands."""

    owner: Vector  # 0: free, k: the k-th task's
    open: Vector  # true where the present task may write
    keep: dict[str, int]  # how many weights of a layer it keeps
    prune_at: int  # the step after which it prunes
    step: int
    buffers: list[dict[str, Tensor]]  # of each task, at its end


@final
@dataclass(frozen=True)
class PackNet(Method):
    """Each task trains free weights, keeps the largest, and frees the others.

    Args:
        prune: the part of a layer's trained weights that is freed, 0 to 1.
        retrain: the part of a task's steps that come after the pruning.
    """

    prune: float = 0.75
    retrain: float = 0.5

    name: ClassVar[str] = "packnet"
    summary: ClassVar[str] = "PackNet: each task keeps the largest of the free weights, and frees the others"
    paper: ClassVar[str] = "Mallya & Lazebnik 2018, arXiv 1711.05769"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "without pruning the first task keeps all weights, and later ones have none"

    def __post_init__(self) -> None:
        if not 0 <= self.prune < 1 or not 0 <= self.retrain < 1:
            raise MethodError(f"packnet: prune {self.prune}, retrain {self.retrain}: expected 0 or more, below 1")

    @property
    def traits(self) -> Traits:
        return Traits(masks=True, counts_steps=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Packed:
        none = theta.map(lambda t: torch.zeros(t.shape, dtype=torch.int16, device=t.device))
        return Packed(none, none.map(lambda o: o == 0), {}, 0, 0, [])

    def begin(self, state: Packed, context: TaskContext) -> Packed:
        head, active = last_linear(context.net), active_classes(context.objective)
        competing = torch.ones(head.out_features, dtype=torch.bool) if active is None else active
        heads = {id(p) for p in head.parameters()}

        def free(p: Tensor, owner: Tensor) -> Tensor:
            rows = competing.to(p.device).view(-1, *[1] * (p.dim() - 1)) if id(p) in heads else True
            return (owner == 0) & rows

        mine = context.theta.map(free, state.owner)
        keep = {name: max(1, round((1 - self.prune) * int(o.sum()))) for name, o in mine if o.dim() > 1 and o.any()}
        steps = context.steps or 1
        return replace(state, open=mine, keep=keep, prune_at=max(1, round(steps * (1 - self.retrain))), step=0)

    def project(self, state: Packed, step: Step, context: StepContext) -> None:
        for p, before, mine in zip(step.after.tensors, step.before.tensors, state.open.tensors):
            p.copy_(torch.where(mine, p, before))  # momentum and decay move what has no gradient as well
        if state.step + 1 == state.prune_at:
            _prune(state, step.after)

    def track(self, state: Packed, step: Step, context: StepContext) -> Packed:
        return replace(state, step=state.step + 1)

    def end(self, state: Packed, context: TaskContext) -> Packed:
        if state.step < state.prune_at:  # it was over before it was known to be
            _prune(state, context.theta)
        task = len(state.buffers) + 1
        owner = state.owner.map(lambda o, mine: o.masked_fill(mine, task), state.open)
        return replace(state, owner=owner, buffers=[*state.buffers, _buffers(context.net)])

    def resize(self, state: Packed, mapping: IndexMap, theta: Vector) -> Packed:
        raise MethodError(
            "packnet shares a network of fixed size among the tasks: it cannot be chained with one that grows"
        )

    def predict(self, state: Packed | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if task is None:
            raise MethodError("packnet needs the task of the inputs: predict(x, task)")
        if state is None or task >= len(state.buffers):  # not learnt yet: the network as it is
            return net(x)  # type: ignore[no-any-return]
        parameters = dict(net.named_parameters())
        own = {
            name: parameters[name] * ((owner > 0) & (owner <= task + 1))
            for name, owner in state.owner
            if owner.dim() > 1
        }
        return functional_call(net, {**own, **state.buffers[task]}, (x,))  # type: ignore[no-any-return]


def _prune(state: Packed, theta: Vector) -> None:
    """Frees all but the largest of what the present task trained; written into the state's and the network's own tensors."""
    for (name, p), mine in zip(theta, state.open.tensors):
        if name in state.keep:
            size = p.abs().masked_fill(~mine, -1.0).flatten()
            kept = torch.zeros_like(size, dtype=torch.bool).index_fill_(0, size.topk(state.keep[name]).indices, True)
            kept = kept.view_as(mine)
            p.masked_fill_(mine & ~kept, 0.0)
            mine.copy_(kept)


def _buffers(net: nn.Module) -> dict[str, Tensor]:
    return {name: b.detach().clone() for name, b in net.named_buffers()}
