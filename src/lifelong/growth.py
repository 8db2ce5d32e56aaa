"""Growth as data: what makes a network larger, and where each of its new weights came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from .errors import MethodError
from .parts.features import last_linear
from .vector import Vector

__all__ = ["Growth", "IndexMap", "carry_moments", "grow"]


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
    dimension, the old index of every new one (-1: new). `outputs` is the network's new number of outputs, where that grew."""

    source: dict[str, tuple[str | None, tuple[Tensor, ...]]]
    outputs: int | None = None

    def carry(self, old: Vector, new: Vector, fill: float | Vector = 0.0) -> Vector:
        """`old`, laid out as `new`: what is new holds `fill`, a number or values laid out as `new`."""
        fills = fill.dict() if isinstance(fill, Vector) else {n: torch.full_like(t, fill) for n, t in new}
        return Vector.from_dict(self.tensors(old.dict(), fills))

    def tensors(self, old: Mapping[str, Tensor], fill: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values of `old` by their new names, in the layout of `fill`, which holds what is new."""
        return {name: self._carried(name, old, values.detach()) for name, values in fill.items()}

    def _carried(self, name: str, old: Mapping[str, Tensor], fill: Tensor) -> Tensor:
        origin, indices = self.source.get(name, (name, ()))
        if origin is None or origin not in old:
            return fill.clone()
        value, known = old[origin], torch.ones((), dtype=torch.bool, device=fill.device)
        for d, index in enumerate(indices):
            index = index.to(value.device)
            value = value.index_select(d, index.clamp(min=0))
            known = known & (index >= 0).view([-1 if e == d else 1 for e in range(value.dim())])
        return torch.where(known, value, fill) if indices else value.detach().clone()


def grow(net: nn.Module, operation: Growth) -> IndexMap:
    """Enlarges `net`, which knows how (`net.grow(operation)`) or whose last linear layer gets more outputs.

    Raises:
        MethodError: it cannot grow so.
    """
    if hasattr(net, "grow"):
        found: IndexMap = net.grow(operation)  # type: ignore[operator]
        return found
    if operation.kind == "outputs":
        return more_outputs(net, operation)
    raise MethodError(
        f"{type(net).__name__} cannot grow by {operation}: it has no method grow(operation); use a network that has"
    )


def more_outputs(net: nn.Module, operation: Growth) -> IndexMap:
    """`size` outputs in the place of fewer: the old rows of the last linear layer, and new ones as torch begins them.

    Raises:
        MethodError: the last linear layer has as many outputs already, or stands alone.
    """
    old = last_linear(net)
    name = next(n for n, m in net.named_modules() if m is old)
    if not name or operation.size <= old.out_features:
        raise MethodError(
            f"cannot grow {type(net).__name__} to {operation.size} outputs: its last linear layer {name or 'is itself'!r} has "
            f"{old.out_features}; put the layer into a module, and ask for more"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(operation.seed)
        new = nn.Linear(old.in_features, operation.size, old.bias is not None)
    rows = torch.full((operation.size,), -1)
    rows[: old.out_features] = torch.arange(old.out_features)
    source: dict[str, tuple[str | None, tuple[Tensor, ...]]] = {
        f"{name}.weight": (f"{name}.weight", (rows, torch.arange(old.in_features))),
        f"{name}.bias": (f"{name}.bias", (rows,)),
    }
    mapping = IndexMap({n: s for n, s in source.items() if new.bias is not None or n != f"{name}.bias"}, operation.size)
    new.to(old.weight)
    carried = mapping.tensors(
        {f"{name}.{n}": p for n, p in old.named_parameters()}, {f"{name}.{n}": p for n, p in new.named_parameters()}
    )
    new.load_state_dict({n.removeprefix(f"{name}."): t for n, t in carried.items()})
    for new_weight, old_weight in zip(new.parameters(), old.parameters()):
        new_weight.requires_grad_(old_weight.requires_grad)
    parent, _, last = name.rpartition(".")
    setattr(net.get_submodule(parent), last, new)
    return mapping


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
