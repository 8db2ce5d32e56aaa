"""A method writes into what is its own: not into the step's inputs, nor into the network's weights but where it may move them.

The method learns with each of its slots watched: what a slot was given is compared with what it was before. A copy of the method is watched, whose
class is the method's, so that what is read from the class stays as it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..core import state_io, tree
from ..core.chain import Chain
from ..core.contexts import Step, StepContext, TaskContext
from ..core.method import GROUPS, InStep, Method
from ..core.segments import Batch, Segment
from ..core.vector import Vector
from .laws import LawBroken, holds

__all__ = ["watched"]

_EDGES = ("begin", "end", "expand")  # where weights may be moved
_SLOTS = ({*GROUPS[InStep]} - {"extra_passes"}) | {*_EDGES}
_INSTEAD = {
    "inputs": "make new ones, as in batch.with_inputs(0.9 * batch.x)",
    "targets": "make new ones, as in segment._replace(y=...)",
    "outputs": "make new ones, as in 0.9 * output",
    "record of the step": "clone() what is to be changed",
    "weights": "only `project`, `begin`, `end` and `expand` may move them; `gradient` returns another gradient",
}


def watched(method: Method) -> Method:
    """A copy of a method whose slots raise `LawBroken` where they write into what is not theirs."""
    parts = [copy.copy(part) for part in method.parts()]
    for part in parts:
        for slot in part.acts & _SLOTS:
            object.__setattr__(part, slot, _watching(slot, getattr(part, slot)))
    return replace(method, members=tuple(parts)) if isinstance(method, Chain) else parts[0]


def _watching(slot: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The slot, which looks at what it is given before and after."""

    @functools.wraps(function)
    def looking(state: Any, *given: Any, **named: Any) -> Any:
        lent = (*given, *named.values())
        context = next(a for a in lent if isinstance(a, StepContext | TaskContext))
        mode = context.net.training
        before = [_Seen.of(what, t) for what, t in _lent(slot, lent, context)]
        found = function(state, *given, **named)
        for seen in before:
            holds(not seen.changed, f"{slot} writes into the {_of(seen.what)}: {_INSTEAD[seen.what]}")
        # layers that are frozen may be put into evaluation mode, and not the whole network
        if context.net.training != mode:
            raise LawBroken(
                f"{slot} leaves the network in another mode than it found it in, in which others go on to train it: ask it within "
                "evaluating(context.net)"
            )
        if slot == "observe":
            _holds_copies(found, lent)
        return found

    return looking


def _of(what: str) -> str:
    return "network's weights" if what == "weights" else what if what.startswith("record") else f"step's {what}"


@dataclass(frozen=True)
class _Seen:
    """A tensor as it was."""

    what: str
    tensor: Tensor
    version: int
    values: Tensor

    @staticmethod
    def of(what: str, tensor: Tensor) -> _Seen:
        return _Seen(what, tensor, tensor._version, tensor.detach().clone())

    @property
    def changed(self) -> bool:
        """Whether it was written to. Weights may be moved and put back."""
        now, was = self.tensor.detach(), self.values
        if now.shape != was.shape or not bool(((now == was) | ((now != now) & (was != was))).all()):
            return True
        return self.what != "weights" and self.tensor._version != self.version


def _lent(slot: str, given: tuple[Any, ...], context: StepContext | TaskContext) -> Iterator[tuple[str, Tensor]]:
    """What a slot may read and not write to."""
    if slot not in (*_EDGES, "project"):
        for p in context.net.parameters():
            yield "weights", p
    for value in given:
        if isinstance(value, Batch | Segment):
            for segment in value.segments if isinstance(value, Batch) else (value,):
                yield from _tensors("inputs", segment.x)
                yield from _tensors("targets", (segment.y, segment.teacher, segment.held))
        elif isinstance(value, Step):
            yield from _tensors("record of the step", (*value.before.tensors, *value.grads.tensors))
        elif not isinstance(value, StepContext | TaskContext | Vector):
            yield from _tensors("outputs", value)


def _tensors(what: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    yield from ((what, t) for t in tree.leaves(value) if isinstance(t, Tensor))


def _holds_copies(state: Any, given: tuple[Any, ...]) -> None:
    """What `observe` stores is no view of what it was given, which whoever calls may use again."""
    new, output = (value for value in given if not isinstance(value, StepContext))
    every = [*_tensors("inputs", new.x), *_tensors("targets", new.y), *_tensors("outputs", output)]
    lent = {t.untyped_storage().data_ptr(): what for what, t in every if t.numel()}
    tensors, _ = state_io.split(state, "state")
    for name, t in tensors.items():
        what = lent.get(t.untyped_storage().data_ptr()) if t.numel() else None
        holds(
            what is None,
            f"observe stores {what} of the step in {name} without a copy, and whoever brought them may use that memory again: clone() them",
        )
