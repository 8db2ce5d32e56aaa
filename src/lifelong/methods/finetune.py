"""Fine-tuning: each task is trained on in its turn and nothing is done against forgetting. What others are held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from ..core.method import Method, Traits

__all__ = ["Finetune"]


@final
@dataclass(frozen=True)
class Finetune(Method):
    """No method."""

    name: ClassVar[str] = "finetune"
    summary: ClassVar[str] = "nothing against forgetting: what others are held to"

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True)
