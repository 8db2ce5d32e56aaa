"""Images drawn for a test, and those of a task as bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from lifelong.core.examples import Tensors
from lifelong.core.stream import Stream
from lifelong.streams import Source


def images(n: int = 40, size: int = 6, classes: int = 4) -> Source:
    """Images whose labels say which image they are modulo the classes."""
    x = torch.randint(0, 256, (2 * n, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(2 * n) % classes
    return Source("drawn", "by hand", x[:n], y[:n], x[n:], y[n:], tuple("abcdefghij"[:classes]))


def tensors(stream: Stream, task: int, part: str = "train") -> tuple[Tensor, Tensor]:
    """A task's images as bytes, and labels."""
    examples = getattr(stream[task], part)
    assert isinstance(examples, Tensors)
    prepared = examples.prepared
    return prepared.x, prepared.y
