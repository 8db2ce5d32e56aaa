"""Experience replay (Chaudhry et al. 2019, arXiv 1902.10486): each step learns from new and remembered examples together.

    θ ← θ − η ∇ 1/(B + k) Σ_{(x,y) ∈ B_n ∪ B_M} ℓ(f(x; θ), y)                                      (algorithm 1)

Or, with a weight for each task (van de Ven & Tolias 2019, arXiv 1904.07734), in task t:  1/t L_new + (1 − 1/t) L_replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import nn

from ..method import Batch
from ..parts.rehearsal import Past, Rehearsal

__all__ = ["Replay"]


@final
@dataclass(frozen=True)
class Replay(Rehearsal):
    """Learns from new and remembered examples together.

    Args:
        slots, fill, batch, per_class: see `Rehearsal`.
        weighting: examples (every one counts alike), or tasks (each task counts alike, however many examples were drawn).
    """

    weighting: Literal["examples", "tasks"] = "examples"

    name: ClassVar[str] = "replay"
    ranks: ClassVar[bool] = True

    def examples(self, state: Past, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        if not state.memory.filled:
            return batch
        old = state.batch(state.memory.sample(self.batch or len(batch.y), generator))
        if not state.masked:
            old = old._replace(mask=None)  # the batch's own holds for all
        if self.weighting == "tasks" and state.tasks > 1:
            new = 1 / state.tasks
            batch, old = batch.shared(new), old.weighed(1 - new)
        return batch.plus(old)
