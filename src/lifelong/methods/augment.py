"""Augmentation of images as a part of the step: each image of each batch is mirrored and moved in its own way, all at once and on the
device (as He et al. 2016, arXiv 1512.03385, section 4.2: 4 pixels, and mirrored). No guard against forgetting; it goes beside one:

    chain(Replay(500), Augment())       new and remembered images anew in every step
    chain(Augment(), LwF())             the teacher sees the same images as the pupil
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.contexts import StepContext
from ..core.errors import MethodError
from ..core.method import Method
from ..core.segments import Batch

__all__ = ["Augment"]


@final
@dataclass(frozen=True)
class Augment(Method):
    """Mirrors and moves the images of each batch, ``[B, H, W]`` or ``[B, C, H, W]``.

    Args:
        shift: up to so many pixels in each direction; what comes in is 0.
        flip: whether every other image, by chance, is mirrored left to right.
    """

    shift: int = 4
    flip: bool = True

    name: ClassVar[str] = "augment"
    neutral: ClassVar[dict[str, Any]] = {"shift": 0, "flip": False}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"shift": 1},)
    inputs: ClassVar[tuple[int, ...]] = (3, 4)

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise MethodError(f"augment: shift {self.shift}: expected 0 or more pixels")

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.shift or self.flip else frozenset()

    def segments(self, state: None, batch: Batch, context: StepContext) -> Batch:
        return batch.with_inputs(self.changed(batch.x, context.generator))

    def changed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """`x`, each image in its own way.

        Raises:
            MethodError: these are no images.
        """
        if x.dim() not in (3, 4):
            raise MethodError(f"augment: inputs {list(x.shape[1:])}: expected images [H, W] or [C, H, W]")
        B, (h, w), s, device = len(x), x.shape[-2:], self.shift, x.device
        images = F.pad(x.view(B, -1, h, w), (s, s, s, s))
        draws = torch.rand(3, B, generator=generator, device=generator.device).to(device)
        top, left = (draws[:2] * (2 * s + 1)).long()
        rows = top[:, None] + torch.arange(h, device=device)  # [B, h]
        columns = left[:, None] + torch.arange(w, device=device)
        if self.flip:
            columns = torch.where(draws[2, :, None] < 0.5, columns, columns.flip(1))
        images = images.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3]))
        return images.gather(3, columns[:, None, None, :].expand(-1, images.shape[1], h, -1)).view(x.shape)
