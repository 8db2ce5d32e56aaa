"""Latent replay (Pellegrini, Graffieti, Lomonaco & Maltoni 2020, arXiv 1912.01100): what is remembered of an example is not its input
but what arrives of it at a chosen layer, and below that layer the network rests.

With f = f_above ∘ f_below, new examples B_n and remembered features B_M of earlier ones:

    θ_above ← θ_above − η ∇ 1/(B + k) [ Σ_{(x,y) ∈ B_n} ℓ(f(x), y) + Σ_{(h,y) ∈ B_M} ℓ(f_above(h), y) ]
    θ_below ← θ_below − ρ η ∇ (the same), where only B_n has a say

from the second task on; in the first all layers learn alike. ρ = 0 freezes: nothing below is differentiated, and a remembered example
costs the upper layers alone. With ρ > 0 features age, since the layers that made them move on. What normalisations below have counted
rests in either case, so that an image arrives as it did.

After a task the memory takes examples of it in place of some of those that it has (algorithm 1); here classes share the slots evenly,
and of a class all examples are held with the same probability, in however many tasks they came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.examples import Chunk, Examples
from ..core.growth import IndexMap
from ..core.hyperparameters import whole_number
from ..core.method import Method, Traits
from ..core.modes import evaluating
from ..core.segments import Batch
from ..core.vector import Vector
from ..parts.activation_hooks import arriving, before, join, place
from ..parts.rehearsal import Past, drawn

__all__ = ["LatentReplay"]


@final
@dataclass(frozen=True)
class Latent:
    """The memory of features, and what lies below them."""

    past: Past
    below: tuple[str, ...]  # parameters


@final
@dataclass(frozen=True)
class LatentReplay(Method):
    """Learns from new examples and from remembered features of old ones together.

    Args:
        buffer_size: how many examples are kept, their features in place of their inputs.
        layer: at which module's input they are kept, by its name in the network (``3`` of a Sequential, ``backbone.layer4``); default
            the last linear layer.
        rate: ρ, what the layers below it learn from the second task on, as a share of the learning rate; 0: they rest.
        batch_size: how many are drawn in a step, with replacement; default as many as the step learns from anyway.
    """

    buffer_size: int = 500
    layer: str = ""
    rate: float = field(default=0.0, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)

    name: ClassVar[str] = "latent_replay"
    summary: ClassVar[str] = "Latent replay: remembers what arrives at a chosen layer, below which the network rests"
    paper: ClassVar[str] = "Pellegrini et al. 2020, arXiv 1912.01100"
    neutral: ClassVar[dict[str, Any]] = {"buffer_size": 0, "rate": 1.0}

    def __post_init__(self) -> None:
        whole_number("latent_replay", 0, buffer_size=self.buffer_size)
        if not 0 <= self.rate <= 1:
            raise MethodError(
                f"latent_replay: rate {self.rate}: expected 0 (they rest) to 1 (they learn like the others)"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise MethodError(f"latent_replay: batch_size {self.batch_size}: expected at least 1")

    @property
    def acts(self) -> frozenset[str]:
        if self.rate == 1 and not self.buffer_size:
            return frozenset()
        idle = {"project"} if self.rate == 1 else set()
        return super().acts - (idle if self.buffer_size else idle | {"end"})

    @property
    def traits(self) -> Traits:
        return Traits(joins=True, masks=True)

    def check_net(self, net: nn.Module) -> None:
        if self.acts:
            place(net, self.layer)

    def init(self, theta: Vector, spec: Spec) -> Latent:
        return Latent(Past.none(self.buffer_size, self.name, spec), ())

    def begin(self, state: Latent, context: TaskContext) -> Latent:
        past = replace(state.past, tasks=state.past.tasks + 1)
        return Latent(past, before(context.net, place(context.net, self.layer))[1])

    def segments(self, state: Latent, batch: Batch, context: StepContext) -> Batch:
        past, net = state.past, context.net
        if past.tasks < 2:
            return batch
        layer = place(net, self.layer)
        for module in before(net, layer)[0]:
            module.training = False
        if not past.memory.filled:
            join(net, layer, None, self.rate == 0)
            return batch
        old = past.segment(past.memory.sample(self.batch_size or batch.rows, context.generator))
        join(net, layer, old.x, self.rate == 0)
        return batch.plus(old._replace(x=None))  # the features are no inputs: they join within the network

    def project(self, state: Latent, step: Step, context: StepContext) -> None:
        if state.past.tasks < 2:
            return
        for name, was, now in zip(step.after.names, step.before.tensors, step.after.tensors):
            if name in state.below:
                now.copy_(torch.lerp(was, now, self.rate))

    def end(self, state: Latent, context: TaskContext) -> Latent:
        latent = _Arriving(context, context.examples, place(context.net, self.layer))
        with evaluating(context.net):
            return replace(state, past=drawn(state.past, context, latent))

    def resize(self, state: Latent, mapping: IndexMap, theta: Vector) -> Latent:
        if mapping.outputs is None and state.past.memory.filled:
            raise MethodError(
                "latent_replay remembers features of the network as it is: it cannot become wider or deeper; grow it before the first "
                "task, or use replay"
            )
        return state


@final
class _Arriving(Examples):
    """What arrives at a layer of some examples."""

    def __init__(self, context: TaskContext, examples: Examples, layer: str) -> None:
        self.context, self.examples, self.layer = context, examples, layer

    def __len__(self) -> int:
        return len(self.examples)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        p = self.context.theta.tensors[0]
        for chunk in self.examples.chunks(order, rows):
            x = chunk.x.to(p.device, p.dtype if chunk.x.is_floating_point() else None)
            self.context.costs.forward += len(chunk.y)
            yield chunk._replace(x=arriving(self.context.net, self.layer, x))

    def subset(self, index: Tensor) -> Examples:
        return _Arriving(self.context, self.examples.subset(index), self.layer)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(next(self.chunks(torch.arange(1), 1)).x.shape[1:])

    @property
    def labels(self) -> Tensor:
        return self.examples.labels
