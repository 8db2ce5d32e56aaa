"""Growth as data: what makes a network larger, where each of its new weights came from, and what that does to all that is kept
for each weight.

Net2Net (Chen, Goodfellow & Shlens 2016, arXiv 1511.05641) copies units without changing the function: of one weight θ come n new
ones  U_j = s_j θ,  s_j being 1 where the unit that a weight leads to was copied, and 1/r where it leads from a unit that now stands r
times. As all r copies of a unit do the same, one of the n weights alone moves the outputs by the n-th part of what all would do
together, so that Σ_j U_j ∂L/∂U_j = θ ∂L/∂θ falls into n equal parts:

    a weight, an anchor            s θ
    a gradient, its mean           ∂L/∂U = (∂L/∂θ) / (n s)
    its square, a Fisher           (∂L/∂U)² = (∂L/∂θ)² / (n s)²
    the loss that it took off      Σ g Δθ, in n equal parts
    an importance A                A / (n s²), so that  Σ_j ½ A' (U_j − s m)² = ½ A (θ − m)²  where the copies move together

The last is what a guard needs: where a weight is divided by r its importance grows by the square, r², and n copies share it. It is n
times the grown network's own diagonal Fisher, which leaves out that the n copies move together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor

from .errors import MethodError
from .vector import Vector

__all__ = ["Growth", "IndexMap", "Role", "carry_moments"]

Role = Literal["value", "gradient", "square", "share", "importance", "same"]
POWERS: Mapping[Role, tuple[int, int]] = {  # what follows a weight is multiplied by sᵃ nᵇ
    "value": (1, 0),
    "gradient": (-1, -1),
    "square": (-2, -2),
    "share": (0, -1),
    "importance": (-2, -1),
    "same": (0, 0),
}


@final
@dataclass(frozen=True)
class Growth:
    """One enlargement of a network, as data: a checkpoint replays the list before it loads tensors.

    `kind` is "outputs", "wider", "deeper", or one that the network's own `grow` knows; `noise` is that on copies.
    """

    kind: str
    layer: str = ""
    size: int = 0
    seed: int = 0
    noise: float = 0.0


class IndexMap(NamedTuple):
    """Where each value of a grown parameter came from: for each new name the old one (None: it is new) and, for each
    dimension, the old index of every new one (-1: new). `outputs` is the network's new number of outputs, where that grew.
    `scale` holds s by new name, in a shape that broadcasts to the parameter's; where there is none it is 1."""

    source: dict[str, tuple[str | None, tuple[Tensor, ...]]]
    outputs: int | None = None
    scale: Mapping[str, Tensor] | None = None

    def carry(self, old: Vector, new: Vector, fill: float | Vector = 0.0, role: Role = "value") -> Vector:
        """`old`, laid out as `new`: what is new holds `fill`, a number or values laid out as `new`. `role` says what `old`
        holds of each weight (see the module)."""
        fills = fill.dict() if isinstance(fill, Vector) else {n: torch.full_like(t, fill) for n, t in new}
        carried = self.tensors(old.dict(), fills, role)
        kind = {t.dtype for t in old.tensors}  # of a sum it may be another than the weights'
        return Vector.from_dict({name: t.to(next(iter(kind))) if len(kind) == 1 else t for name, t in carried.items()})

    def tensors(self, old: Mapping[str, Tensor], fill: Mapping[str, Tensor], role: Role = "value") -> dict[str, Tensor]:
        """The values of `old` by their new names, in the layout of `fill`, which holds what is new."""
        return {name: self._carried(name, old, values.detach(), role) for name, values in fill.items()}

    def _carried(self, name: str, old: Mapping[str, Tensor], fill: Tensor, role: Role) -> Tensor:
        origin, indices = self.source.get(name, (name, ()))
        if origin is None or origin not in old:
            return fill.clone()
        if not indices:
            return old[origin].detach().clone()
        value, known = old[origin], torch.ones((), dtype=torch.bool, device=fill.device)
        a, b = POWERS[role]
        for d, index in enumerate(indices):
            index = index.to(value.device)
            along = [-1 if e == d else 1 for e in range(value.dim())]
            value = value.index_select(d, index.clamp(min=0))
            known = known & (index >= 0).view(along)
            if b:
                copies = torch.bincount(index[index >= 0], minlength=1)[index.clamp(min=0)]
                value = value * copies.view(along).to(value) ** b
        if a and self.scale is not None and name in self.scale:
            value = value * self.scale[name].to(value) ** a
        # a buffer is not in `fill`'s layout where only the weights were given
        return value if bool(known.all()) else torch.where(known, value, fill)


def carry_moments(moments: dict[str, Any], old: Vector, new: Vector, mapping: IndexMap) -> dict[str, Any]:
    """An optimiser's state after a growth: moments follow their weights, what is new starts at zero."""
    roles: dict[str, Role] = {"exp_avg": "gradient", "grad_avg": "gradient", "momentum_buffer": "gradient"}
    roles |= {"exp_avg_sq": "square", "max_exp_avg_sq": "square", "square_avg": "square", "sum": "square"}
    kept: dict[int, dict[str, Any]] = {}
    order = moments["param_groups"][0]["params"]
    if len(moments["param_groups"]) != 1:
        raise MethodError("a network that grows needs an optimiser with one parameter group")
    if len(order) != len(old.names):
        raise MethodError(
            f"a network that grows needs an optimiser of all its {len(old.names)} trainable parameters; this one has {len(order)}"
        )
    names = dict(zip(old.names, order))
    keys = {k for s in moments["state"].values() for k in s}
    if "square_avg" in keys:
        roles["momentum_buffer"] = "same"  # RMSprop's is of gradients over their own size
    for key in sorted(keys):
        values = {n: moments["state"][i][key] for n, i in names.items() if i in moments["state"]}
        shaped = Vector.from_dict(
            {n: v for n, v in values.items() if isinstance(v, Tensor) and v.shape == old[n].shape and v.dim() > 0}
        )
        carried = mapping.carry(shaped, new, role=roles.get(key, "same"))
        for i, (name, moment) in enumerate(carried):
            origin = mapping.source.get(name, (name, ()))[0]
            if origin in values:
                whole = origin in shaped.names
                kept.setdefault(i, {})[key] = moment if whole else values[origin]
    groups = [{**moments["param_groups"][0], "params": list(range(len(new.names)))}]
    return {"state": kept, "param_groups": groups}
