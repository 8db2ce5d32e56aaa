"""iCaRL (Rebuffi et al. 2017, arXiv 1611.07725): few exemplars of each class, distillation, and the nearest mean of exemplars.

    ℓ(Θ) = Σ_i [ Σ_{new y} BCE(δ_{y=y_i}, g_y(x_i)) + Σ_{old y} BCE(q_i^y, g_y(x_i)) ]                    (algorithm 3)
    y*   = argmin_y ‖φ(x) − μ_y‖                                                                          (algorithm 1)

g_y are sigmoids of the outputs, q_i^y those of the network as it was before the task; the sum is over the new examples and all
exemplars, of which a step takes a batch (its mean over examples). φ is the input of the last linear layer at length 1, and μ_y the
mean over class y's exemplars, again at length 1. At most K exemplars are kept, ⌊K/t⌋ of each of t classes, chosen by herding
(algorithm 4, `lifelong.parts.buffer.herd`) and given up from the end (algorithm 5). A class that returns in a later task is learnt
there as new, and its exemplars are chosen anew.

The paper's table 3: hybrid 1 is ``classifier="network"``; hybrid 2 is ``distil=False``; hybrid 3 is both; LwF.MC is ``buffer_size=0,
classifier="network"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.contexts import Spec, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.examples import Examples, Joined, Tensors
from ..core.growth import IndexMap
from ..core.method import Method, Traits
from ..core.modes import evaluating
from ..core.objective import Classification, Measure, Objective, labels_of
from ..core.segments import Batch, Segment
from ..core.stream import Scenario
from ..core.vector import Vector
from ..nets.heads import distances, features
from ..parts.buffer import Memory
from ..parts.distillation import answers, grown, kept
from ..parts.rehearsal import Past, herded

__all__ = ["ICaRL"]


@final
@dataclass(frozen=True)
class Exemplars:
    """The exemplars, the network as it was, and the means of the classes."""

    past: Past
    seen: Tensor  # [C] classes met, the present task's included
    old: Tensor  # [C] those of them that are learnt from the network as it was
    weights: dict[str, Tensor] | None  # that network
    means: Tensor | None  # μ [C, d] as the last task left them; 0 for a class without exemplars


@final
@dataclass(frozen=True, eq=False)
class _Sigmoids(Objective):
    """Σ_y BCE(q_y, g_y) over the classes that were met; targets are q ``[B, C]``."""

    seen: Tensor  # [C]

    measure: ClassVar[Measure] = Classification.measure

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return (each * self.seen).sum(1)


@final
@dataclass(frozen=True)
class ICaRL(Method):
    """Learns classes with few exemplars of the old ones, and answers with the nearest mean.

    Args:
        buffer_size: K, how many exemplars are kept in all.
        classifier: nearest (mean of exemplars), or the network's own outputs.
        distil: hold the old classes' outputs to what they were; otherwise to the labels.
        renormalise: whether herding compares with the class's mean at length 1 (`lifelong.parts.buffer.herd`), as the classifier does; the
            paper's algorithm 4 does not say.
    """

    buffer_size: int = 1000
    classifier: Literal["nearest", "network"] = "nearest"
    distil: bool = True
    renormalise: bool = False

    name: ClassVar[str] = "icarl"
    summary: ClassVar[str] = "iCaRL: few herded exemplars, distillation, and the nearest mean of exemplars"
    paper: ClassVar[str] = "Rebuffi et al. 2017, arXiv 1611.07725"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "class")
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "its loss is one of sigmoids, at any number of exemplars"

    def __post_init__(self) -> None:
        if self.buffer_size < (1 if self.classifier == "nearest" else 0):
            raise MethodError(
                f"icarl: buffer_size {self.buffer_size}: expected at least 1 (0 only with classifier 'network': a nearest mean needs exemplars)"
            )

    @property
    def traits(self) -> Traits:
        return Traits(compares=True, adopts=self.classifier == "network" and self.distil, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Exemplars:
        none = torch.zeros(spec.outputs, dtype=torch.bool, device=theta.tensors[0].device)
        return Exemplars(Past.none(self.buffer_size, self.name, spec), none, none, None, None)

    def begin(self, state: Exemplars, context: TaskContext) -> Exemplars:
        assert context.task is not None  # not portable
        met = [
            c for c in context.seen if c >= context.known or c in context.task.classes
        ]  # of those known before there are no exemplars
        if self.buffer_size and len(met) > self.buffer_size:
            raise MethodError(
                f"icarl: {self.buffer_size} exemplars for {len(met)} classes: expected at least one a class; raise buffer_size"
            )
        new = torch.zeros_like(state.seen)
        new[list(context.task.classes)] = True
        before = state.seen | (torch.arange(len(new), device=new.device) < context.known)
        weights = kept(context.net) if context.index and self.distil else None
        return replace(state, seen=before | new, old=before & ~new, weights=weights)

    def data(self, state: Exemplars, examples: Examples, past: Sequence[Examples]) -> Examples:
        memory = state.past.memory
        if not memory.filled:
            return examples
        held = {key: memory.slots[key][: memory.filled] for key in ("x", "y")}
        return Joined([examples, Tensors(held["x"], held["y"])])

    def segments(self, state: Exemplars, batch: Batch, context: StepContext) -> Batch:
        sigmoids = _Sigmoids(state.seen)
        kind = context.theta.tensors[0].dtype

        def held(segment: Segment) -> Segment:
            q = F.one_hot(labels_of(segment.y), len(state.seen)).to(kind)
            if state.weights is not None:
                q = torch.where(state.old, answers(context.net, state.weights, segment.x).sigmoid(), q)
            return segment._replace(y=q, objective=sigmoids)

        return batch.mapped(held)

    def extra_passes(self, state: Exemplars, own: int, learnt: int) -> tuple[int, int]:
        return (0 if state.weights is None else learnt, 0)

    def end(self, state: Exemplars, context: TaskContext) -> Exemplars:
        if not self.buffer_size:
            return state
        assert context.task is not None
        past = herded(
            state.past, context, context.task.train, self.buffer_size, replaced=True, renormalise=self.renormalise
        )
        held = past.memory.slots
        y = held["y"][: past.memory.filled]
        with evaluating(context.net):
            phi = torch.cat([F.normalize(features(context.net, x)) for x in held["x"][: len(y)].split(512)])
        context.costs.forward += len(y)
        sums = phi.new_zeros(len(state.seen), phi.shape[1]).index_add_(0, y, phi)
        return replace(state, past=past, means=F.normalize(sums))

    def resize(self, state: Exemplars, mapping: IndexMap, theta: Vector) -> Exemplars:
        weights, means = grown(state.weights, mapping, theta), state.means
        more = 0 if mapping.outputs is None else mapping.outputs - len(state.seen)
        seen, old = F.pad(state.seen, (0, more)), F.pad(state.old, (0, more))
        # wider features have other means, which the task's end will know
        means = None if means is None or mapping.outputs is None else F.pad(means, (0, 0, 0, more))
        return replace(state, seen=seen, old=old, weights=weights, means=means)

    def answering(self, state: Exemplars) -> Exemplars:
        return replace(state, past=replace(state.past, memory=Memory.empty(0)), weights=None)

    def predict(self, state: Exemplars | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None or state.means is None or self.classifier == "network":
            return net(x)  # type: ignore[no-any-return]
        distance = distances(F.normalize(features(net, x)), state.means)
        return (-distance).masked_fill(~state.means.any(1), float("-inf"))
