"""Staying close to what a network answered before: its weights are kept, and asked again.

    y'_c = y_c^{1/T} / Σ_d y_d^{1/T},   H(y, ŷ) = −Σ_c y'_c log ŷ'_c               (LwF, arXiv 1606.09282, equations 2 and 3)

y are the earlier network's probabilities, ŷ the present one's; with logits z, y' is the softmax of z/T. No factor T² is in it (some
code multiplies by it, which with T = 2 is a strength four times as large).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .fisher import evaluating

__all__ = ["Normaliser", "answers", "distance", "kept", "only"]

# what the present network's probabilities sum to 1 over: the outputs of the past, or all that compete (new ones then count as
# outputs to which the earlier network gave 0, as in van de Ven's code)
Normaliser = Literal["old", "all"]


def kept(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers."""
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def answers(net: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """What `net` with other weights gives for ``x [B, ...]``, in evaluation mode: logits ``[B, C]`` without a graph."""
    with torch.no_grad(), evaluating(net):
        found: Tensor = functional_call(net, weights, (x,))
        return found


def only(outputs: Tensor, known: Tensor) -> Tensor:
    """Earlier logits ``[..., C]`` as targets: NaN where `known` (which broadcasts) is false, and nothing is to be held."""
    return torch.where(known, outputs, float("nan"))


def distance(output: Tensor, target: Tensor, T: float, over: Tensor | None = None) -> Tensor:
    """H(y, ŷ) of each example, ``[..., B]``; 0 for one without targets.

    Args:
        output: logits ``[B, C]``.
        target: earlier logits ``[..., B, C]``, NaN where there are none.
        T: the temperature.
        over: ``[C]`` or ``[B, C]`` the outputs that ŷ sums to 1 over; None: those that have a target.
    """
    known = ~target.isnan()
    some = known.any(-1, keepdim=True)
    y = torch.where(known, target, float("-inf")).masked_fill(~some, 0.0).div(T).softmax(-1)
    among = known if over is None else known | over
    log = output.masked_fill(~(among | ~some), float("-inf")).div(T).log_softmax(-1)
    return -(y * log.masked_fill(~known, 0.0)).sum(-1) * some.squeeze(-1)
