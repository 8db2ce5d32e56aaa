"""Growth as data: what makes a network larger, and where each of its new weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from .errors import MethodError
from .vector import Vector

__all__ = ["Growth", "IndexMap", "carry_moments"]


@final
@dataclass(frozen=True)
class Growth:
    """One enlargement of a network, as data: a checkpoint replays the list before it loads tensors."""

    kind: str
    layer: str = ""
    size: int = 0
    seed: int = 0


class IndexMap(NamedTuple):
    """Where each value of a grown parameter came from: for each new name the old one (None: it is new) and, for each
    dimension, the old index of every new one (-1: new)."""

    source: dict[str, tuple[str | None, tuple[Tensor, ...]]]

    def carry(self, old: Vector, new: Vector, fill: float = 0.0) -> Vector:
        """`old`, laid out as `new`: what is new holds `fill`."""
        values = old.dict()
        tensors = []
        for name, like in new:
            origin, indices = self.source.get(name, (name, ()))
            if origin is None or origin not in values:
                tensors.append(torch.full_like(like, fill, requires_grad=False))
                continue
            value = values[origin]
            for d, index in enumerate(indices):
                kept = value.index_select(d, index.clamp(min=0))
                shape = [1] * value.dim()
                shape[d] = -1
                value = torch.where((index >= 0).view(shape), kept, torch.full_like(kept, fill))
            tensors.append(value.clone())
        return Vector(new.names, tensors)


def carry_moments(moments: dict[str, Any], old: Vector, new: Vector, mapping: IndexMap) -> dict[str, Any]:
    """An optimiser's state after a growth: moments follow their weights, what is new starts at zero."""
    kept: dict[int, dict[str, Any]] = {}
    order = moments["param_groups"][0]["params"]
    if len(moments["param_groups"]) != 1:
        raise MethodError("a network that grows needs an optimiser with one parameter group")
    names = dict(zip(old.names, order))
    keys = {k for s in moments["state"].values() for k in s}
    for key in sorted(keys):
        values = {n: moments["state"][i][key] for n, i in names.items() if i in moments["state"]}
        shaped = Vector.from_dict(
            {n: v for n, v in values.items() if isinstance(v, Tensor) and v.shape == old[n].shape and v.dim() > 0}
        )
        carried = mapping.carry(shaped, new)
        for i, (name, moment) in enumerate(carried):
            origin = mapping.source.get(name, (name, ()))[0]
            if origin in values:
                whole = origin in shaped.names
                kept.setdefault(i, {})[key] = moment if whole else values[origin]
    groups = [{**moments["param_groups"][0], "params": list(range(len(new.names)))}]
    return {"state": kept, "param_groups": groups}
