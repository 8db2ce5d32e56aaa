"""GDumb (Prabhu, Torr & Dokania, ECCV 2020): keeps a class-balanced memory, and trains on nothing else.

After each task a network is trained from the start on the memory alone. It learns nothing from the order of tasks; a method that
does not beat it has gained nothing from its stream. (The paper balances greedily, first come; here a class's share is a
uniform sample of what was offered. Its training, with its cut-mix and its schedule, is left to `Training`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch

from ..errors import MethodError
from ..method import Edge, Method, Spec
from ..parts.memory import balanced
from ..parts.rehearsal import Past
from ..stream import Examples, Joined, Tensors
from ..vector import Vector

__all__ = ["GDumb"]


@final
@dataclass(frozen=True)
class GDumb(Method):
    """Trains a new network on a balanced memory after each task.

    Args:
        slots: how many examples are kept.
        passes: how often an epoch goes through the memory, which is small.
    """

    slots: int = 500
    passes: int = 20

    name: ClassVar[str] = "gdumb"
    ranks: ClassVar[bool] = True
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = (
        "it trains on its memory alone, from the start; with no memory there is nothing to train on"
    )
    restarts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("slots", "passes"):
            if getattr(self, name) < 1:
                raise MethodError(f"gdumb: {name} {getattr(self, name)}: expected at least 1")

    def init(self, theta: Vector, spec: Spec) -> Past:
        return Past.none(self.slots, self.name, spec)

    def begin(self, state: Past, edge: Edge) -> Past:
        if edge.index:
            edge.reset()
        memory = state.memory
        for values in state.read(edge.examples, edge):
            memory = balanced(memory, values, edge.generator)
        return replace(state, memory=memory)

    def data(self, state: Past, examples: Examples, past: Sequence[Examples]) -> Examples:
        held = {key: slot[: state.memory.filled] for key, slot in state.memory.slots.items()}
        rows = torch.arange(state.memory.filled, device=held["y"].device)
        if not state.masked:
            return Tensors(held["x"], held["y"], rows.repeat(self.passes))
        masks, which = held["mask"].unique(dim=0, return_inverse=True)
        return Joined(
            [
                Tensors(held["x"], held["y"], rows[which == i].repeat(self.passes), mask=mask)
                for i, mask in enumerate(masks)
            ]
        )
