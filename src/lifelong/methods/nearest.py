"""What answers with the nearest of the inputs met, and trains nothing: to be compared with, on feature vectors.

nearest mean        argmin_c ‖x − μ_c‖,       μ_c the mean of class c's inputs (Mensink et al. 2013)
nearest neighbour   argmin_c min_j ‖x − u_cj‖,  u_cj class c's inputs, all of which are kept
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.contexts import Spec, TaskContext
from ..core.growth import IndexMap
from ..core.method import Traits
from ..core.vector import Vector
from ..nets.heads import distances
from ..parts.stepless import Stepless, rows

__all__ = ["NearestMean", "NearestNeighbour"]


@final
@dataclass(frozen=True)
class Means:
    """Sums of each class's inputs ``[C, d]``, and how many they were ``[C]``."""

    sums: Tensor | None
    counts: Tensor


@final
@dataclass(frozen=True)
class NearestMean(Stepless):
    """Answers with the class whose mean input is nearest."""

    name: ClassVar[str] = "nearest_mean"
    summary: ClassVar[str] = "nearest mean of each class's inputs: a reference for feature vectors"

    @property
    def traits(self) -> Traits:
        return Traits(idles=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Means:
        return Means(None, theta.tensors[0].new_zeros(spec.outputs))

    def end(self, state: Means, context: TaskContext) -> Means:
        x, y = _read(context)
        sums = x.new_zeros(len(state.counts), x.shape[1]) if state.sums is None else state.sums
        return Means(sums.index_add(0, y, x), state.counts + y.bincount(minlength=len(state.counts)))

    def resize(self, state: Means, mapping: IndexMap, theta: Vector) -> Means:
        more = 0 if mapping.outputs is None else mapping.outputs - len(state.counts)
        return Means(None if state.sums is None else F.pad(state.sums, (0, 0, 0, more)), F.pad(state.counts, (0, more)))

    def predict(self, state: Means | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None or state.sums is None:
            return net(x)  # type: ignore[no-any-return]
        means = state.sums / state.counts[:, None].clamp(min=1)
        centre = state.sums.sum(0) / state.counts.sum()  # far from the origin the distances would be rounded
        distance = distances(x.flatten(1).to(means) - centre, means - centre)
        return (-distance).masked_fill(state.counts == 0, float("-inf"))


@final
@dataclass(frozen=True)
class Inputs:
    """All inputs met, ``[n, d]`` of each task, and their labels."""

    x: tuple[Tensor, ...]
    y: tuple[Tensor, ...]
    outputs: int


@final
@dataclass(frozen=True)
class NearestNeighbour(Stepless):
    """Answers with the class of the nearest input; keeps them all."""

    name: ClassVar[str] = "nearest_neighbour"
    summary: ClassVar[str] = "nearest input met, all of them kept: a reference for feature vectors"

    @property
    def traits(self) -> Traits:
        return Traits(idles=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Inputs:
        return Inputs((), (), spec.outputs)

    def end(self, state: Inputs, context: TaskContext) -> Inputs:
        x, y = _read(context)
        return Inputs((*state.x, x), (*state.y, y), state.outputs)

    def resize(self, state: Inputs, mapping: IndexMap, theta: Vector) -> Inputs:
        return Inputs(state.x, state.y, mapping.outputs or state.outputs)

    def predict(self, state: Inputs | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None or not state.x:
            return net(x)  # type: ignore[no-any-return]
        u, y = torch.cat(state.x), torch.cat(state.y)
        nearest = u.new_full((x.shape[0], state.outputs), float("inf"))
        centre = u.mean(0)  # far from the origin the distances would be rounded
        distance = distances(x.flatten(1).to(u) - centre, u - centre)
        return -nearest.scatter_reduce(1, y.expand(x.shape[0], -1), distance, "amin")


def _read(context: TaskContext) -> tuple[Tensor, Tensor]:
    """All of the task's inputs, flat ``[N, d]``, and their labels."""
    assert context.task is not None
    x, y = zip(*rows(context.task.train, context.theta.tensors[0]))
    return torch.cat(x), torch.cat(y)
