"""What methods share that keep some past examples: what is kept, and when."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.contexts import Spec, StepContext, TaskContext
from ..core.errors import DataError, MethodError
from ..core.examples import Examples
from ..core.hyperparameters import whole_number
from ..core.method import Method
from ..core.modes import evaluating
from ..core.objective import Labels, Objective, labels_of
from ..core.random import generator
from ..core.segments import Segment
from ..core.vector import Vector
from ..nets.heads import features
from .buffer import Memory, balanced, chosen, herd, opened, placed, reservoir, ring, stored

__all__ = ["Fill", "Past", "Rehearsal", "drawn", "herded"]

Fill = Literal["reservoir", "balanced", "ring", "random", "herding"]
AT_STEPS: tuple[Fill, ...] = ("reservoir", "balanced", "ring")


@final
@dataclass(frozen=True)
class Past:
    """The memory, and what must be known to read it."""

    memory: Memory
    tasks: int  # met so far, the present one included
    masked: bool  # whether each example is stored with the outputs that are active for it (the task is known)
    outputs: int
    draws: torch.Generator

    @staticmethod
    def none(slots: int, name: str, spec: Spec) -> Past:
        """Before the first task."""
        draws = generator(spec.seed, f"memory/{name}")
        return Past(Memory.empty(slots), 0, spec.scenario == "task", spec.outputs, draws)

    def values(self, x: Tensor, targets: Any, objective: Objective) -> dict[str, Tensor]:
        """What is stored of examples, ``[B, ...]`` each."""
        if not self.masked:
            return {"x": x, "y": labels_of(targets)}
        own = objective.own(targets)
        if not isinstance(own, Labels):
            own = Labels(own, torch.ones(len(own), self.outputs, dtype=torch.bool, device=x.device))
        return {"x": x, "y": own.y, "active": own.active}

    def read(self, examples: Examples, context: TaskContext) -> Iterator[dict[str, Tensor]]:
        """All of `examples`, as the network gets them."""
        p = context.theta.tensors[0]
        for chunk in examples.all():
            x, y = chunk.x.to(p.device, p.dtype if chunk.x.is_floating_point() else None), chunk.y.to(p.device)
            own = y if chunk.mask is None else Labels(y, chunk.mask.to(p.device).expand(len(y), -1))
            yield self.values(x, own, context.objective)

    def segment(self, stored: dict[str, Tensor]) -> Segment:
        """Stored examples as something to learn from."""
        y = stored["y"]
        return Segment(stored["x"], Labels(y, stored["active"]) if self.masked else y)


@dataclass(frozen=True)
class Rehearsal(Method, ABC):
    """A method that keeps past examples in a memory of fixed size.

    Args:
        buffer_size: how many examples are kept; 0: none.
        fill: which. At every step: reservoir (all seen alike; needs no task edges), balanced (classes share evenly), ring (the
            latest of each task). At the end of each task, classes sharing evenly: random, or herding (those whose mean
            feature is nearest the class's; a class that returns in a later task has a further share).
        batch_size: how many are drawn in a step, with replacement; default as many as the step learns from anyway.
        per_class: of a class at most so many, though there were slots for more (fill random; herding: of a class of a task).
    """

    buffer_size: int = 500
    fill: Fill = field(default="reservoir", kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)
    per_class: int | None = field(default=None, kw_only=True)

    neutral: ClassVar[dict[str, Any]] = {"buffer_size": 0}

    def __post_init__(self) -> None:
        whole_number(self.name, 0, buffer_size=self.buffer_size)
        if self.fill not in get_args(Fill):
            raise MethodError(f"{self.name}: fill {self.fill!r}: expected one of {', '.join(get_args(Fill))}")
        if self.batch_size is not None and self.batch_size < 1:
            raise MethodError(f"{self.name}: batch_size {self.batch_size}: expected at least 1")
        if self.per_class is not None and (self.per_class < 1 or self.fill in AT_STEPS):
            raise MethodError(
                f"{self.name}: per_class {self.per_class} with fill {self.fill!r}: expected at least 1, and random or herding, "
                "which choose a class's examples when its task is over"
            )

    @property
    def acts(self) -> frozenset[str]:
        if not self.buffer_size:
            return frozenset()
        return super().acts - {"end" if self.fill in AT_STEPS else "observe"}

    def init(self, theta: Vector, spec: Spec) -> Past:
        return Past.none(self.buffer_size, self.name, spec)

    def begin(self, state: Past, context: TaskContext) -> Past:
        memory = opened(state.memory) if self.fill == "ring" else state.memory
        return replace(state, memory=memory, tasks=state.tasks + 1)

    def kept(self, state: Past, new: Segment, output: Tensor, context: StepContext) -> dict[str, Tensor]:
        """What is stored of a step's new examples."""
        return state.values(new.x, new.y, context.objective)

    def observe(self, state: Past, new: Segment, output: Tensor, context: StepContext) -> Past:
        values = self.kept(state, new, output, context)
        if self.fill == "ring":
            quota = self.buffer_size // len(state.memory.groups)
            return replace(state, memory=ring(state.memory, values, quota))
        fill = reservoir if self.fill == "reservoir" else balanced
        return replace(state, memory=fill(state.memory, values, context.generator))

    def end(self, state: Past, context: TaskContext) -> Past:
        if self.fill == "random":
            return drawn(state, context, context.examples, self.per_class)
        return herded(state, context, context.examples, self.buffer_size, per_class=self.per_class)


def drawn(state: Past, context: TaskContext, examples: Examples, per_class: int | None = None) -> Past:
    """With some of `examples` drawn at random: classes share the buffer evenly, up to `per_class` each, and of a class all that were
    ever offered are held with the same probability. Only those that are kept are read."""
    labels = examples.labels.to(context.generator.device)
    memory, rows, slots, key = placed(state.memory, labels, context.generator, per_class)
    if not len(rows):
        return replace(state, memory=memory)
    parts = list(state.read(examples.subset(rows.cpu()), context))
    values = _joined(parts)
    device = values["y"].device
    return replace(state, memory=stored(memory, slots.to(device), {**values, "key": key.to(device)}))


def herded(
    state: Past,
    context: TaskContext,
    examples: Examples,
    buffer_size: int,
    replaced: bool = False,
    per_class: int | None = None,
    renormalise: bool = False,
) -> Past:
    """With exemplars of each class of `examples`, herded; all groups share the `buffer_size` slots evenly, up to `per_class` each. A class that
    returns gets a further group, or its old one is `replaced`. `renormalise`: see `herd`."""
    labels = examples.labels
    classes = labels.unique().tolist()
    if replaced and state.memory.filled:
        state = replace(state, memory=_without(state.memory, classes))
    quota = max(1, buffer_size // (len(state.memory.groups) + len(classes)))
    quota = min(quota, per_class or quota)
    groups = []
    for c in classes:
        rows = (labels == c).nonzero().flatten().cpu()
        with evaluating(context.net):
            phi = [features(context.net, part["x"]) for part in state.read(examples.subset(rows), context)]
        context.costs.forward += len(rows)
        order = herd(F.normalize(torch.cat(phi)), quota, renormalise).cpu()
        parts = list(state.read(examples.subset(rows[order]), context))
        groups.append(_joined(parts))
    return replace(state, memory=chosen(state.memory, groups))


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    shapes = {part["x"].shape[1:] for part in parts}
    if len(shapes) > 1:
        one, other = sorted(map(list, shapes))[:2]
        raise DataError(
            f"examples of shapes {one} and {other}: a replay buffer holds inputs of one shape; pad all batches to one length"
        )
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _without(memory: Memory, classes: list[int]) -> Memory:
    """Without the groups of these classes."""
    owner = torch.arange(len(memory.groups)).repeat_interleave(torch.tensor(memory.groups))
    y = memory.slots["y"][: memory.filled]
    index = (~torch.isin(y, torch.tensor(classes, device=y.device))).nonzero().flatten()
    left = owner[index.cpu()].bincount(minlength=len(memory.groups)).tolist()
    return memory.kept(index, tuple(n for n in left if n))
