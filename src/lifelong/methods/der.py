"""Dark Experience Replay (Buzzega et al. 2020, arXiv 2004.07211): past examples are remembered with the network's answers.

    DER      L_t + α E_{(x', z') ∼ M} ‖z' − h(x')‖²                                                   (equation 5)
    DER++    L_t + α E_{(x', z') ∼ M} ‖z' − h(x')‖² + β E_{(x'', y'') ∼ M} ℓ(y'', f(x''))              (equation 6)

z' are the logits h(x') when x' was met. The mean is over examples and outputs, as in the authors' code (the paper writes the sum over
outputs); the two terms of DER++ draw independently. All go through the network in one pass.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from ..errors import MethodError
from ..growth import IndexMap
from ..method import Batch, not_negative
from ..parts.rehearsal import AT_STEPS, Past, Rehearsal
from ..vector import Vector

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

    def kept(self, state: Past, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        return super().kept(state, batch, output) | {"logits": output}

    def resize(self, state: Past, mapping: IndexMap, theta: Vector) -> Past:
        slots = state.memory.slots
        if mapping.outputs is None or not slots:
            return state
        nan = slots["logits"].new_full((len(slots["logits"]), mapping.outputs), float("nan"))
        nan[:, : slots["logits"].shape[1]] = slots[
            "logits"
        ]  # answers that an output was too late to give hold it to nothing
        return replace(state, memory=replace(state.memory, slots={**slots, "logits": nan}))

    def examples(self, state: Past, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        if not state.memory.filled:
            return batch
        held = state.memory.sample(self.batch or len(batch.y), generator)
        old = Batch(held["x"], held["y"], held.get("mask"), target=held["logits"])
        return batch.plus(old.weighed(0.0))

    def loss(self, state: Past, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        if batch.target is None:
            return output.new_zeros(())
        none = batch.target.isnan()
        distance = (output - torch.where(none, output.detach(), batch.target)).square().sum()
        return self.alpha * distance / (~none).sum().clamp(min=1)


@final
@dataclass(frozen=True)
class DER(_Dark):
    """Stays close to its own earlier answers on remembered examples.

    Args:
        slots, fill, batch: see `Rehearsal`.
        alpha: α, the weight of the answers.
    """

    name: ClassVar[str] = "der"
    ranks: ClassVar[bool] = True


@final
@dataclass(frozen=True)
class DERpp(_Dark):
    """DER, and learns the labels of remembered examples as well.

    Args:
        slots, fill, batch: see `Rehearsal`.
        alpha: α, the weight of the answers.
        beta: β, the weight of the labels.
    """

    beta: float = 0.5

    name: ClassVar[str] = "derpp"
    ranks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self.name, beta=self.beta)

    def examples(self, state: Past, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        if not state.memory.filled:
            return batch
        k = self.batch or len(batch.y)
        held = state.memory.sample(k, generator)
        old = Batch(held["x"], held["y"], held.get("mask"))
        return super().examples(state, net, batch, generator).plus(old.weighed(self.beta))
