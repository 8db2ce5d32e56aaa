"""Fine-tuning: each task is trained on in its turn and nothing is done against forgetting. What others are held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from ..method import Method

__all__ = ["Finetune"]


@final
@dataclass(frozen=True)
class Finetune(Method):
    """No method."""

    ranks: ClassVar[bool] = True
