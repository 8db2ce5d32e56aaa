"""Experience replay (Chaudhry et al. 2019, arXiv 1902.10486): each step learns from new and remembered examples together.

    θ ← θ − η ∇ 1/(B + k) Σ_{(x,y) ∈ B_n ∪ B_M} ℓ(f(x; θ), y)                                      (algorithm 1)

Or, with a weight for each task (van de Ven & Tolias 2019, arXiv 1904.07734), in task t:  1/t L_new + (1 − 1/t) L_replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from ..core.contexts import StepContext
from ..core.method import Traits
from ..core.segments import Batch
from ..parts.rehearsal import Past, Rehearsal

__all__ = ["Replay"]


@final
@dataclass(frozen=True)
class Replay(Rehearsal):
    """Learns from new and remembered examples together.

    Args:
        buffer_size, fill, batch_size, per_class: see `Rehearsal`.
        weighting: examples (every one counts alike), or tasks (each task counts alike, however many examples were drawn).
    """

    weighting: Literal["examples", "tasks"] = "examples"

    name: ClassVar[str] = "replay"
    summary: ClassVar[str] = "Experience replay: learns from new and remembered examples together"
    paper: ClassVar[str] = "Chaudhry et al. 2019, arXiv 1902.10486"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"buffer_size": 40},
        {"buffer_size": 40, "fill": "balanced", "batch_size": 7},
        {"buffer_size": 40, "fill": "ring", "weighting": "tasks"},
        {"buffer_size": 40, "fill": "random"},
        {"buffer_size": 40, "fill": "herding"},
    )

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True, stores=True)

    def segments(self, state: Past, batch: Batch, context: StepContext) -> Batch:
        if not state.memory.filled:
            return batch
        old = state.segment(state.memory.sample(self.batch_size or batch.rows, context.generator))
        if self.weighting == "tasks" and state.tasks > 1:
            return batch.scaled(1 / state.tasks).plus(old, weight=1 - 1 / state.tasks)
        return batch.plus(old)
