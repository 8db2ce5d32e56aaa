"""By which a folder tells whether what it holds was made of the same data and the same network."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from .stream import Stream

__all__ = ["digest", "named"]


def digest(stream: Stream, net: Any, *, labels: bool = True) -> str:
    """Of all inputs (and labels), and of the network: a module's weights, a description's constants, a function's name."""
    found = hashlib.sha256()
    if isinstance(net, nn.Module):
        for name, t in net.state_dict().items():
            found.update(f"{name} {list(t.shape)}".encode())
            found.update(t.detach().cpu().contiguous().numpy().tobytes())
    found.update(named(net).encode())
    for task in stream:
        for part in (task.train, task.test):
            for chunk in part.all(4096):
                found.update(chunk.x.contiguous().cpu().numpy().tobytes())
            if labels:
                found.update(part.labels.contiguous().cpu().numpy().tobytes())
    return found.hexdigest()[:32]


def named(net: Any) -> str:
    """A network in words that are the same in every process."""
    if hasattr(net, "__qualname__"):  # a function or a class: its repr may hold an address
        return f"{net.__module__}.{net.__qualname__}"
    return repr(net)
