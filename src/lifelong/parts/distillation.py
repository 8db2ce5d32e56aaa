"""Staying close to what a network answered before: its weights are kept, and asked again.

    y'_c = y_c^{1/T} / Σ_d y_d^{1/T},   H(y, ŷ) = −Σ_c y'_c log ŷ'_c               (LwF, arXiv 1606.09282, equations 2 and 3)

y are the earlier network's probabilities, ŷ the present one's; with logits z, y' is the softmax of z/T. No factor T² is in it (some
code multiplies by it, which with T = 2 is a strength four times as large).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..core.contexts import Spec, TaskContext
from ..core.growth import IndexMap
from ..core.modes import evaluating
from ..core.objective import active_classes
from ..core.vector import Vector

__all__ = ["Before", "Normaliser", "answers", "distance", "grown", "kept"]

# what the present network's probabilities sum to 1 over: the outputs of the past, or all that compete (new ones then count as
# outputs to which the earlier network gave 0, as in van de Ven's code)
Normaliser = Literal["old", "all"]


@final
@dataclass(frozen=True)
class Before:
    """The network as it was before the present task, and which of its outputs meant what."""

    weights: dict[str, Tensor] | None  # None in the first task
    heads: Tensor  # [h, C] the outputs that competed in old task o; one row where the task is not known
    present: Tensor  # [C] the outputs that compete now
    known: bool  # whether each task has a head of its own
    tasks: int = 0  # met so far, the present one included

    @staticmethod
    def none(theta: Vector, spec: Spec) -> Before:
        """Before the first task."""
        every = torch.ones(spec.outputs, dtype=torch.bool, device=theta.tensors[0].device)
        return Before(None, every.new_zeros(0, spec.outputs), every, spec.scenario == "task")

    def next(self, context: TaskContext) -> Before:
        """At the beginning of a task."""
        present = torch.ones_like(self.present)
        past = self.present if self.tasks else torch.arange(len(present), device=present.device) < context.known
        active = active_classes(context.objective)
        if self.known and active is not None:
            present = active
        elif not self.known and context.seen:
            present = torch.zeros_like(present).index_fill_(0, torch.tensor(context.seen, device=present.device), True)
        if not context.index:
            return replace(self, present=present, tasks=1)
        heads = torch.cat([self.heads, past[None]]) if self.known else past[None]
        return Before(kept(context.net), heads, present, self.known, self.tasks + 1)

    def resize(self, mapping: IndexMap, theta: Vector) -> Before:
        """After a growth."""
        more = 0 if mapping.outputs is None else mapping.outputs - len(self.present)
        heads, present = F.pad(self.heads, (0, more)), F.pad(self.present, (0, more))
        return replace(self, weights=grown(self.weights, mapping, theta), heads=heads, present=present)


def grown(weights: dict[str, Tensor] | None, mapping: IndexMap, theta: Vector) -> dict[str, Tensor] | None:
    """An earlier network's weights after a growth: its new outputs are those of the present one, and stand for nothing."""
    if weights is None:
        return None
    known = theta.dict()
    fill = {n: known[n] if n in known else _room(mapping, n, t) for n, t in weights.items()}
    return mapping.tensors(weights, {**fill, **known})


def _room(mapping: IndexMap, name: str, old: Tensor) -> Tensor:
    """Zeros in the new shape of what is not trained."""
    _, indices = mapping.source.get(name, (name, ()))
    return old.new_zeros([len(i) for i in indices]) if indices else old


def kept(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers."""
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def answers(net: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """What `net` with other weights gives for ``x [B, ...]``, in evaluation mode: logits ``[B, C]`` without a graph."""
    with torch.no_grad(), evaluating(net):
        found: Tensor = functional_call(net, weights, (x,))
        return found


def distance(output: Tensor, target: Tensor, held: Tensor, T: float, over: Tensor | None = None) -> Tensor:
    """H(y, ŷ) of each example, ``[..., B]``; 0 for one that is held to nothing.

    Args:
        output: logits ``[B, C]``.
        target: earlier logits ``[B, C]``.
        held: ``[..., C]`` or ``[..., B, C]`` the outputs that are held to them.
        T: the temperature.
        over: ``[C]`` or ``[B, C]`` the outputs that ŷ sums to 1 over; None: those that are held.
    """
    some = held.any(-1, keepdim=True)
    y = torch.where(held, target, float("-inf")).masked_fill(~some, 0.0).div(T).softmax(-1)
    among = held if over is None else held | over
    log = output.masked_fill(~(among | ~some), float("-inf")).div(T).log_softmax(-1)
    return -(y * log.masked_fill(~held, 0.0)).sum(-1) * some.squeeze(-1)
