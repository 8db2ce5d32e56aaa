"""What methods share that train no network: they look at a task once, when it is over."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.examples import Examples
from ..core.method import Method, Traits

__all__ = ["Stepless", "rows"]


@dataclass(frozen=True)
class Stepless(Method, ABC):
    """Takes no steps: its `data` is empty, and `end` reads the task."""

    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "it trains no network; there is no amount of that to turn down"

    @property
    def traits(self) -> Traits:
        return Traits(idles=True)

    def data(self, state: object, examples: Examples, past: Sequence[Examples]) -> Examples:
        return examples.subset(torch.zeros(0, dtype=torch.int64))


def rows(examples: Examples, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All inputs, flat ``[n, d]`` and of `like`'s kind, and their labels ``[n]``, a few hundred at a time."""
    for chunk in examples.all():
        yield chunk.x.flatten(1).to(like.device).to(like.dtype), chunk.y.to(like.device)
