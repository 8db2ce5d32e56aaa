"""Two clouds of points that drift from task to task."""

from __future__ import annotations

import math

import torch

from lifelong import Stream, stream_of

__all__ = ["drifting"]


def drifting(tasks: int = 4, examples: int = 200, angle: float = 30.0, seed: int = 0) -> Stream:
    """Two classes on either side of a line, which turns between two tasks.

    Args:
        tasks: how many.
        examples: of each task.
        angle: degrees between two tasks.
        seed: of the points.
    """
    draws = torch.Generator().manual_seed(seed)
    data = []
    for t in range(tasks):
        turn = math.radians(angle * t)
        direction = torch.tensor([math.cos(turn), math.sin(turn)])
        x = torch.randn(examples, 2, generator=draws)
        data.append((x, (x @ direction > 0).long()))
    return stream_of(data, scenario="domain", test=0.25, seed=seed)
