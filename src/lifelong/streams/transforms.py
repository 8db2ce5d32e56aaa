"""What a task does to its images: many at once, each image the same whatever comes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Permute", "Rotate"]

ROWS = 512  # images worked on at once: what stays in the processor's cache


@final
@dataclass(frozen=True, eq=False)
class Permute:
    """Moves pixels: pixel i of the result is pixel ``index[i]`` of the image. ``[N, ...]`` to the
    same shape; `index` ``[D]`` is a permutation of an image's D pixels."""

    index: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if flat.dtype == torch.uint8 and flat.device.type == "cpu":
            # several times faster on bytes than indexing a tensor
            moved = torch.from_numpy(np.take(flat.numpy(), self.index.numpy(), axis=1))
        else:
            moved = flat.index_select(1, self.index.to(flat.device))
        return moved.view(x.shape)


@final
@dataclass(frozen=True)
class Rotate:
    """Turns images ``[N, H, W]`` or ``[N, C, H, W]`` about their centre, counter-clockwise; between
    pixels bilinear, beyond the edge 0. Unsigned bytes are rounded back to bytes."""

    degrees: float

    def __call__(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        angle = math.radians(self.degrees)
        c, s = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[[c, -s * h / w, 0.0], [s * w / h, c, 0.0]]], device=x.device)
        grid = F.affine_grid(turn, [1, 1, h, w], align_corners=False)
        turned = torch.empty_like(x)
        for start in range(0, len(x), ROWS):
            part = x[start : start + ROWS]
            images = part.view(len(part), -1, h, w)
            images = images if images.is_floating_point() else images.float()
            where = grid.to(images.dtype).expand(len(part), -1, -1, -1)
            found = F.grid_sample(images, where, align_corners=False).view(part.shape)
            turned[start : start + ROWS] = found if x.is_floating_point() else found.round_()
        return turned
