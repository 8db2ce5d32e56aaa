"""GDumb (Prabhu, Torr & Dokania, ECCV 2020): keeps a class-balanced memory, and trains on nothing else.

After each task a network is trained from the start on the memory alone. It learns nothing from the order of tasks; a method that
does not beat it has gained nothing from its stream. (The paper balances greedily, first come; here a class's share is a
uniform sample of what was offered. Its training, with its cut-mix and its schedule, is left to `Training`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.examples import Examples, Joined, Tensors
from ..core.method import Method, Traits
from ..core.vector import Vector
from ..parts.buffer import balanced
from ..parts.rehearsal import Past

__all__ = ["GDumb"]


@final
@dataclass(frozen=True)
class GDumb(Method):
    """Trains a new network on a balanced memory after each task.

    Args:
        buffer_size: how many examples are kept.
        passes: how often an epoch goes through the memory, which is small.
    """

    buffer_size: int = 500
    passes: int = 20

    name: ClassVar[str] = "gdumb"
    summary: ClassVar[str] = (
        "GDumb: a new network on a balanced memory after each task; what every other method should beat"
    )
    paper: ClassVar[str] = "Prabhu, Torr & Dokania, ECCV 2020"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"buffer_size": 40, "passes": 2},)
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = (
        "it trains on its memory alone, from the start; with no memory there is nothing to train on"
    )

    def __post_init__(self) -> None:
        for name in ("buffer_size", "passes"):
            if getattr(self, name) < 1:
                raise MethodError(f"gdumb: {name} {getattr(self, name)}: expected at least 1")

    @property
    def traits(self) -> Traits:
        return Traits(restarts=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Past:
        return Past.none(self.buffer_size, self.name, spec)

    def begin(self, state: Past, context: TaskContext) -> Past:
        if context.index:
            context.reset()
        memory = state.memory
        for values in state.read(context.examples, context):
            memory = balanced(memory, values, context.generator)
        return replace(state, memory=memory)

    def data(self, state: Past, examples: Examples, past: Sequence[Examples]) -> Examples:
        held = {key: slot[: state.memory.filled] for key, slot in state.memory.slots.items()}
        rows = torch.arange(state.memory.filled, device=held["y"].device)
        if not state.masked:
            return Tensors(held["x"], held["y"], rows.repeat(self.passes))
        masks, which = held["active"].unique(dim=0, return_inverse=True)
        return Joined(
            [
                Tensors(held["x"], held["y"], rows[which == i].repeat(self.passes), mask=mask)
                for i, mask in enumerate(masks)
            ]
        )
