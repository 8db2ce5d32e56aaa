"""Dark Experience Replay (Buzzega et al. 2020, arXiv 2004.07211): past examples are remembered with the network's answers.

    DER      L_t + α E_{(x', z') ∼ M} ‖z' − h(x')‖²                                                   (equation 5)
    DER++    L_t + α E_{(x', z') ∼ M} ‖z' − h(x')‖² + β E_{(x'', y'') ∼ M} ℓ(y'', f(x''))              (equation 6)

z' are the logits h(x') when x' was met. The mean is over examples and outputs, as in the authors' code (the paper writes the sum over
outputs); the two terms of DER++ draw independently. All go through the network in one pass.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.contexts import StepContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Traits
from ..core.segments import Batch, Segment
from ..core.vector import Vector
from ..parts.rehearsal import AT_STEPS, Past, Rehearsal

__all__ = ["DER", "DERpp"]


@dataclass(frozen=True)
class _Dark(Rehearsal, ABC):
    """Both forms."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self.name, alpha=self.alpha)
        if self.fill not in AT_STEPS:
            raise MethodError(
                f"{self.name}: fill {self.fill!r}: it keeps the answers given at a step: {', '.join(AT_STEPS)}"
            )

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True, stores=True)

    def kept(self, state: Past, new: Segment, output: Tensor, context: StepContext) -> dict[str, Tensor]:
        values = super().kept(state, new, output, context) | {"logits": output}
        if "width" in state.memory.slots:
            values["width"] = torch.full_like(output[:, 0], output.shape[1], dtype=torch.int32)
        return values

    def resize(self, state: Past, mapping: IndexMap, theta: Vector) -> Past:
        slots = state.memory.slots
        if mapping.outputs is None or not slots:
            return state
        logits = slots["logits"]
        n, C = logits.shape
        # an output that came too late to answer holds an example to nothing
        width = slots.get("width", torch.full((n,), C, dtype=torch.int32, device=logits.device))
        wider = {"logits": F.pad(logits, (0, mapping.outputs - C)), "width": width}
        return replace(state, memory=replace(state.memory, slots={**slots, **wider}))

    def segments(self, state: Past, batch: Batch, context: StepContext) -> Batch:
        if not state.memory.filled:
            return batch
        stored = state.memory.sample(self.batch_size or batch.rows, context.generator)
        z, held = stored["logits"], None
        if "width" in stored:
            held = torch.arange(z.shape[1], device=z.device) < stored["width"][:, None]
        return batch.plus(state.segment(stored)._replace(teacher=z, held=held), weight=0.0)

    def loss(self, state: Past, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        for segment, h in batch.parts(output):
            if segment.teacher is not None:
                square: Tensor = (h - segment.teacher).square()
                if segment.held is None:
                    return self.alpha * square.mean()
                return self.alpha * square.masked_fill(~segment.held, 0.0).sum() / segment.held.sum()
        return output.new_zeros(())


@final
@dataclass(frozen=True)
class DER(_Dark):
    """Stays close to its own earlier answers on remembered examples.

    Args:
        buffer_size, fill, batch_size: see `Rehearsal`.
        alpha: α, the weight of the answers.
    """

    name: ClassVar[str] = "der"
    summary: ClassVar[str] = "Dark Experience Replay: stays close to its own earlier answers on remembered examples"
    paper: ClassVar[str] = "Buzzega et al. 2020, arXiv 2004.07211"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"buffer_size": 40},)


@final
@dataclass(frozen=True)
class DERpp(_Dark):
    """DER, and learns the labels of remembered examples as well.

    Args:
        buffer_size, fill, batch_size: see `Rehearsal`.
        alpha: α, the weight of the answers.
        beta: β, the weight of the labels.
    """

    beta: float = 0.5

    name: ClassVar[str] = "derpp"
    summary: ClassVar[str] = "DER++: DER, and learns the labels of remembered examples as well"
    paper: ClassVar[str] = "Buzzega et al. 2020, arXiv 2004.07211"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"buffer_size": 40}, {"buffer_size": 40, "batch_size": 5})

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self.name, beta=self.beta)

    def segments(self, state: Past, batch: Batch, context: StepContext) -> Batch:
        if not state.memory.filled:
            return batch
        old = state.segment(state.memory.sample(self.batch_size or batch.rows, context.generator))
        return super().segments(state, batch, context).plus(old, weight=self.beta)
