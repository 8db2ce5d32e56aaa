"""A residual network of eighteen layers (He et al. 2016, arXiv 1512.03385), as continual learning uses it: a stem of 3×3 for small
images, and fewer filters (20 in the first block in GEM, arXiv 1706.08840, where the usual network has 64)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ..core.errors import MethodError

__all__ = ["ResNet18"]


@final
@dataclass(frozen=True)
class ResNet18:
    """Describes a ResNet-18; called with an input shape and a number of outputs it builds one.

    Args:
        width: filters of the first of its four stages; each further one has twice as many.
    """

    width: int = 20

    def __call__(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(shape) not in (2, 3):
            raise MethodError(f"resnet18 learns from images [H, W] or [C, H, W]; got inputs {list(shape)}")
        width, channels = self.width, 1 if len(shape) == 2 else shape[0]
        layers: list[nn.Module] = [_Channels(), _conv(channels, width), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
        for stage in range(4):
            after = width * 2**stage
            layers += [_Block(before, after, 1 if stage == 0 else 2), _Block(after, after, 1)]
            before = after
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs))


@final
class _Channels(nn.Module):
    """``[B, H, W]`` to ``[B, 1, H, W]``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1) if x.dim() == 3 else x


@final
class _Block(nn.Module):
    """y = ReLU(x' + BN(conv(ReLU(BN(conv(x)))))), x' being x, or a 1×1 convolution of it where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm1 = _conv(before, after, stride), nn.BatchNorm2d(after)
        self.second, self.norm2 = _conv(after, after), nn.BatchNorm2d(after)
        self.short = nn.Sequential()
        if stride != 1 or before != after:
            self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm1(self.first(x)))
        return torch.relu(self.short(x) + self.norm2(self.second(h)))


def _conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False)
