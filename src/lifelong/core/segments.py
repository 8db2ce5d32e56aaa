"""What a step learns from: segments of examples, each with its weight in the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from . import tree
from .errors import DataError, MethodError
from .objective import Objective, labels_of
from .ranks import Ranks

__all__ = ["Batch", "Segment", "together"]


class Segment(NamedTuple):
    """Some examples of a step: the new ones, or those that a method adds.

    The loss of a step is the sum over its segments of `weight` times the mean loss of the segment's examples. Segments that are `alike`
    share one weight by their numbers of examples, so that every one of these examples counts alike.
    """

    x: Any  # inputs, a tree of B examples; None: they join within the network, behind all others
    y: Any  # targets
    weight: float = 1.0  # 0: has no loss of its own (is only held to a teacher)
    alike: bool = True
    objective: Objective | None = None  # None: the task's
    teacher: Any = None  # outputs that a method holds these examples to
    held: Tensor | None = None  # [B, C], true where the teacher's outputs stand for something; None: everywhere

    @property
    def rows(self) -> int:
        """B."""
        return tree.rows(self.y)

    def take(self, index: Tensor | slice) -> Segment:
        """The examples `index`."""
        x, y, teacher, held = (
            None if t is None else tree.take(t, index) for t in (self.x, self.y, self.teacher, self.held)
        )
        return self._replace(x=x, y=y, teacher=teacher, held=held)

    def part(self, ranks: Ranks) -> Segment:
        """Every N-th example, for each of N ranks others; all of them where they cannot be shared out evenly."""
        if ranks.world == 1 or self.rows % ranks.world:
            return self
        return self.take(slice(ranks.rank, None, ranks.world))


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """The segments of one step, the new examples first. They pass through the network together, in order."""

    segments: tuple[Segment, ...]

    @property
    def new(self) -> Segment:
        """The new examples."""
        return self.segments[0]

    @cached_property
    def sizes(self) -> list[int]:
        """How many examples each segment has."""
        return [s.rows for s in self.segments]

    @property
    def rows(self) -> int:
        """How many examples the step learns from."""
        return sum(self.sizes)

    @cached_property
    def x(self) -> Any:
        """The inputs of all segments, as the network gets them."""
        return tree.concat([s.x for s in self.segments if s.x is not None])

    @cached_property
    def y(self) -> Any:
        """The targets of all segments."""
        return tree.concat([labels_of(s.y) for s in self.segments])

    def parts(self, output: Any) -> Iterator[tuple[Segment, Any]]:
        """Each segment beside its part of the network's output."""
        return zip(self.segments, tree.split(output, self.sizes))

    # --- what methods make of it ------------------------------------------------------------------------------------
    def plus(self, segment: Segment, weight: float | None = None) -> Batch:
        """With a segment behind the others.

        Args:
            segment: the examples.
            weight: what their mean loss counts, beside what is there; default: each of them counts like a new one.

        Raises:
            MethodError: another segment is held to a teacher already, or joins within the network.
            DataError: the inputs differ in shape from the others'.
        """
        last = self.segments[-1]
        if last.x is None:
            raise MethodError("what latent_replay stores joins behind the batch: put it behind the others in the chain")
        if segment.teacher is not None and any(s.teacher is not None for s in self.segments):
            raise MethodError("two methods of this chain hold examples to earlier answers: leave one of them out")
        if isinstance(segment.x, Tensor) and isinstance(last.x, Tensor) and segment.x.shape[1:] != last.x.shape[1:]:
            raise DataError(
                f"inputs of {list(last.x.shape[1:])} beside stored ones of {list(segment.x.shape[1:])}: pad all to one shape (in a Trainer, length=...)"
            )
        if weight is not None:
            return Batch((*self.segments, segment._replace(weight=weight, alike=False)))
        return Batch((*self.segments, segment._replace(alike=True)))._shared(self.share)

    @property
    def share(self) -> float:
        """What the segments that are alike weigh together."""
        return sum(s.weight for s in self.segments if s.alike)

    def scaled(self, factor: float) -> Batch:
        """With `factor` times the weight of the segments that are alike. What others weigh stays, so that the order in a chain does not
        matter."""
        return Batch(tuple(s._replace(weight=s.weight * factor) if s.alike else s for s in self.segments))

    def _shared(self, weight: float) -> Batch:
        """With `weight` shared out among the segments that are alike."""
        n = sum(k for s, k in zip(self.segments, self.sizes) if s.alike)
        return Batch(
            tuple(s._replace(weight=weight * k / n) if s.alike else s for s, k in zip(self.segments, self.sizes))
        )

    def with_inputs(self, x: Any) -> Batch:
        """With other inputs, of as many examples."""
        having = [s.x is not None for s in self.segments]
        parts = iter(tree.split(x, [k for k, there in zip(self.sizes, having) if there]))
        return Batch(tuple(s._replace(x=next(parts)) if there else s for s, there in zip(self.segments, having)))

    def mapped(self, f: Callable[[Segment], Segment]) -> Batch:
        """With ``f(segment)`` in the place of each segment."""
        return Batch(tuple(f(s) for s in self.segments))

    # --- its loss ---------------------------------------------------------------------------------------------------
    def loss(self, objective: Objective, output: Any) -> Tensor:
        """Σ w_s mean_s ℓ over the segments s."""
        terms = []
        for group, f in self._groups(output):
            weight = sum(s.weight for s in group)
            own = group[0].objective or objective
            term = own.loss(f, own.joined([s.y for s in group]))
            terms.append(term if abs(weight - 1) < 1e-12 else term * weight)
        if not terms:  # a method's own term takes its place
            none: Tensor = next(tree.leaves(output)).new_zeros(())
            return none
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum()

    def weighted(self, losses: Tensor) -> Tensor:
        """The same of somebody's own losses ``[B]``, one an example of the batch."""
        if len(self.segments) == 1 and self.new.weight == 1:
            return losses.mean()
        terms = [own.mean() * s.weight for s, own in self.parts(losses) if s.weight]
        return torch.stack(terms).sum() if terms else losses.new_zeros(())

    def _groups(self, output: Any) -> Iterator[tuple[list[Segment], Any]]:
        """The segments that have a loss, those whose examples count alike and that stand side by side as one, each beside its part of the
        output."""
        groups: list[list[int]] = []
        for i in range(len(self.segments)):
            if groups and self._count_alike(groups[-1][-1], i):
                groups[-1].append(i)
            else:
                groups.append([i])
        parts = tree.split(output, [sum(self.sizes[i] for i in group) for group in groups])
        for group, part in zip(groups, parts):
            if any(self.segments[i].weight for i in group):
                yield [self.segments[i] for i in group], part

    def _count_alike(self, i: int, k: int) -> bool:
        """Whether every example of these two segments counts alike, for one objective."""
        a, b, n, m = self.segments[i], self.segments[k], self.sizes[i], self.sizes[k]
        return a.alike and b.alike and a.objective is b.objective and math.isclose(a.weight * m, b.weight * n)

    # --- several processes ------------------------------------------------------------------------------------------
    def part(self, ranks: Ranks) -> Batch:
        """What this rank learns from, so that the mean over ranks of its loss is that of the whole batch: of the new examples a block, of
        the others every N-th. Where they cannot be shared out evenly it is the batch itself."""
        N = ranks.world
        if N == 1 or any(n % N for n in self.sizes) or any(not _even(s.held, N) for s in self.segments):
            return self
        n = self.sizes[0] // N
        return Batch(
            (self.new.take(slice(ranks.rank * n, (ranks.rank + 1) * n)), *(s.part(ranks) for s in self.segments[1:]))
        )


def _even(held: Tensor | None, N: int) -> bool:
    """Whether all ranks hold their examples to as many outputs."""
    if held is None:
        return True
    counts = held.sum(1).view(-1, N).sum(0)
    return bool((counts == counts[0]).all())


def together(segments: Sequence[Segment]) -> Segment:
    """Segments of one kind as one (those of several batches of one step)."""
    first = segments[0]
    x, y = (tree.concat([getattr(s, of) for s in segments]) for of in ("x", "y"))
    return first._replace(x=x, y=y)
