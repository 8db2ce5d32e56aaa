"""By which a folder tells whether what it holds was made of the same data and the same network."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .examples import Examples
from .random import untouched
from .stream import Stream

__all__ = [
    "constants",
    "differing",
    "digest",
    "named",
    "same_data",
    "trace",
    "trace_of_weights",
    "weights_digest",
    "worded",
]

ROWS = 64  # examples of each part of a task that a trace is of
WEIGHTS = 4096  # of a tensor, that are traced one by one


def digest(stream: Stream, net: Any, *, labels: bool = True) -> str:
    """Of all inputs (and labels), and of the network: a module's weights, a description's constants, a function's name."""
    found = hashlib.sha256()
    if isinstance(net, nn.Module):
        _add_weights(found, net)
    found.update(named(net).encode())
    for task in stream:
        for part in (task.train, task.test):
            for chunk in part.all(4096):
                found.update(chunk.x.contiguous().cpu().numpy().tobytes())
            if labels:
                found.update(part.labels.contiguous().cpu().numpy().tobytes())
    return found.hexdigest()[:32]


def weights_digest(net: nn.Module) -> str:
    """Of a network's weights and buffers, to the last bit."""
    found = hashlib.sha256()
    _add_weights(found, net)
    return found.hexdigest()[:32]


def _add_weights(found: Any, net: nn.Module) -> None:
    for name, t in _tensors(net):
        found.update(f"{name} {list(t.shape)}".encode())
        found.update(t.cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())


def _tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers by name; what else a network keeps is not compared."""
    for name, t in net.state_dict().items():
        if isinstance(t, Tensor):
            yield name, t.detach()


def named(net: Any) -> str:
    """A network in words that are the same in every process."""
    if hasattr(net, "__qualname__"):  # a function or a class: its repr may hold an address
        return f"{net.__module__}.{net.__qualname__}"
    return worded(net)


def worded(value: Any) -> str:
    """What `value` says of itself, without addresses, which are others in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def constants(method: Any) -> dict[str, Any]:
    """What a method is made of, as JSON has it: two methods that are equal say the same, 1 and 1.0, a list and a tuple alike."""
    return {f.name: _constant(getattr(method, f.name)) for f in fields(method)} if is_dataclass(method) else {}


def _constant(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **constants(value)}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    if isinstance(value, list | tuple):
        return [_constant(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(map(worded, value))
    return worded(value)


def differing(there: Any, here: dict[str, Any]) -> list[str]:
    """The constants that were saved with other values than they have here. One that only one of the two has is of another version."""
    if not isinstance(there, dict):
        return []
    return [f"{k} {_shown(there[k])} there, {_shown(here[k])} here" for k in there if k in here and there[k] != here[k]]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def trace(stream: Stream) -> list[list[float] | None]:
    """A few numbers of what each task trains on and is tested on, in turn, by which another's data are told: sums of inputs and of labels with
    weights of their own, over up to 64 examples spread over the part. Unlike a hash it is the same, but for rounding, where another machine
    transforms the data. None: the data are others each time they are read."""
    return [_trace(part) for task in stream for part in (task.train, task.test)]


def trace_of_weights(net: nn.Module) -> list[list[float]]:
    """Two sums of each weight and buffer of a network, of all its values and of up to 4096 with weights of their own: another network's are told
    by them, and they are the same, but for rounding, where another machine draws the weights of the same seed."""
    found = []
    for _, t in _tensors(net):
        flat = (torch.view_as_real(t) if t.is_complex() else t).cpu().reshape(-1)
        some = flat[torch.linspace(0, len(flat) - 1, min(WEIGHTS, len(flat))).round().long()].double()
        own = torch.arange(1, len(some) + 1, dtype=torch.float64).mul(math.sqrt(2)).cos()
        found.append([float(flat.sum(dtype=torch.float64)) / math.sqrt(max(1, len(flat))), float(some @ own)])
    return found


def same_data(a: Sequence[Sequence[float] | None], b: Sequence[Sequence[float] | None]) -> bool:
    """Whether two traces are of the same data, as far as they tell."""
    return len(a) == len(b) and all(s is None or t is None or _near(s, t) for s, t in zip(a, b))


def _trace(part: Examples) -> list[float] | None:
    if not len(part):
        return [0.0, 0.0]
    spread = torch.linspace(0, len(part) - 1, min(ROWS, len(part))).round().long()
    found = _sums(part, spread)
    return found if _near(_sums(part, spread[:2]), _sums(part, spread[:2])) else None


def _sums(part: Examples, rows: Tensor) -> list[float]:
    with untouched():  # who draws from everybody's generators draws the same each time
        torch.default_generator.manual_seed(0)  # a GPU's are left alone
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 (somebody may draw from it)
        chunks = list(part.chunks(rows, ROWS))
    x, y = (torch.cat(parts).double().cpu().reshape(len(rows), -1) for parts in zip(*((c.x, c.y) for c in chunks)))
    row, column = (torch.arange(1, n + 1, dtype=torch.float64).mul(math.sqrt(2)).cos() for n in x.shape)
    return [float(row @ (x @ column)) / math.sqrt(x.numel()), float(row @ y.sum(1)) / math.sqrt(len(y))]


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True))
