"""One value for every trainable weight of a network, with the arithmetic that the papers write.

`θ`, a gradient, an importance and an anchor are all `Vector`s, so that a method reads like its equation:
``g + λ * F * (θ - anchor)``. The values stay in the network's own shapes (nothing is copied together); each operation
is one call of torch's multi-tensor routines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .errors import MethodError

__all__ = ["Vector", "double"]


@final
class Vector:
    """Named tensors, one a parameter, in a fixed order. Operators return new vectors; names ending in ``_`` write here."""

    __slots__ = ("names", "tensors")

    def __init__(self, names: tuple[str, ...], tensors: Sequence[Tensor]) -> None:
        self.names = names
        self.tensors = list(tensors)

    @staticmethod
    def of(net: nn.Module) -> Vector:
        """The trainable parameters of `net` themselves (not a copy); a tied parameter appears once.

        Raises:
            MethodError: one has no shape yet.
        """
        for name, p in net.named_parameters():
            if is_lazy(p):
                raise MethodError(
                    f"{name} has no shape yet, as it is of a lazy layer: call the network once on a batch before"
                )
        named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        return Vector(tuple(name for name, _ in named), [p for _, p in named])

    @staticmethod
    def from_dict(values: Mapping[str, Tensor]) -> Vector:
        return Vector(tuple(values), list(values.values()))

    def dict(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.tensors))

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return iter(zip(self.names, self.tensors))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.names.index(name)]

    def __len__(self) -> int:
        """The number of weights, not of tensors."""
        return sum(t.numel() for t in self.tensors)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in self)
        return f"Vector({shapes})"

    # --- arithmetic -------------------------------------------------------------------------------------------------
    def __add__(self, other: Vector | float) -> Vector:
        return Vector(self.names, torch._foreach_add(self.tensors, _operand(other)))

    def __sub__(self, other: Vector | float) -> Vector:
        return Vector(self.names, torch._foreach_sub(self.tensors, _operand(other)))

    def __mul__(self, other: Vector | float) -> Vector:
        return Vector(self.names, torch._foreach_mul(self.tensors, _operand(other)))

    __rmul__ = __mul__
    __radd__ = __add__

    def __truediv__(self, other: Vector | float) -> Vector:
        return Vector(self.names, torch._foreach_div(self.tensors, _operand(other)))

    def __neg__(self) -> Vector:
        return Vector(self.names, torch._foreach_neg(self.tensors))

    def abs(self) -> Vector:
        return Vector(self.names, torch._foreach_abs(self.tensors))

    def square(self) -> Vector:
        return Vector(self.names, torch._foreach_mul(self.tensors, self.tensors))

    def clamp(self, min: float) -> Vector:
        return Vector(self.names, torch._foreach_clamp_min(self.tensors, min))

    def map(self, f: Callable[..., Tensor], *others: Vector) -> Vector:
        """`f` on each tensor, beside those of `others`."""
        return Vector(self.names, [f(*ts) for ts in zip(self.tensors, *(o.tensors for o in others))])

    def dot(self, other: Vector) -> Tensor:
        """The scalar product over all weights, a tensor of no dimensions."""
        return torch.stack([torch.sum(a * b) for a, b in zip(self.tensors, other.tensors)]).sum()

    # --- in place ---------------------------------------------------------------------------------------------------
    def add_(self, other: Vector, scale: float = 1.0) -> Vector:
        torch._foreach_add_(self.tensors, other.tensors, alpha=scale)
        return self

    def addcmul_(self, a: Vector, b: Vector, scale: float = 1.0) -> Vector:
        """self += scale · a · b, in one pass."""
        torch._foreach_addcmul_(self.tensors, a.tensors, b.tensors, value=scale)
        return self

    def mul_(self, other: Vector | float) -> Vector:
        torch._foreach_mul_(self.tensors, _operand(other))
        return self

    def copy_(self, other: Vector) -> Vector:
        torch._foreach_copy_(self.tensors, other.tensors)
        return self

    def clone(self) -> Vector:
        return Vector(self.names, [t.detach().clone() for t in self.tensors])

    def zeros(self) -> Vector:
        return Vector(self.names, [torch.zeros_like(t, requires_grad=False) for t in self.tensors])

    def sums(self) -> Vector:
        """Zeros in at least single precision, to add many terms to: in bfloat16 a sum stops growing at some 256 times its terms."""
        return Vector(
            self.names,
            [torch.zeros_like(t, dtype=_at_least_single(t.dtype), requires_grad=False) for t in self.tensors],
        )

    def ones(self) -> Vector:
        return Vector(self.names, [torch.ones_like(t, requires_grad=False) for t in self.tensors])

    # --- as one row -------------------------------------------------------------------------------------------------
    def flat(self) -> Tensor:
        """All weights in one row, ``[P]``."""
        return torch.cat([t.detach().reshape(-1) for t in self.tensors])

    def like(self, flat: Tensor) -> Vector:
        """The row ``[P]`` in this vector's shapes."""
        parts = flat.split([t.numel() for t in self.tensors])
        return Vector(self.names, [p.view_as(t) for p, t in zip(parts, self.tensors)])


def double(device: torch.device) -> torch.dtype:
    """Double precision where every device of the kind has it: on the CPU (Apple's GPUs have none)."""
    return torch.float64 if device.type == "cpu" else torch.float32


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _operand(other: Vector | float) -> list[Tensor] | float:
    return other.tensors if isinstance(other, Vector) else other
