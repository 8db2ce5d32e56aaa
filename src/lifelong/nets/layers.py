"""A plain network as its layers in order, for methods that must know which unit leads where."""

from __future__ import annotations

from torch import nn

from ..core.errors import MethodError

__all__ = ["inputs", "layers_of", "outputs", "weighted"]

_ROOM = (nn.BatchNorm1d, nn.BatchNorm2d)  # these may have weights as well


def layers_of(net: nn.Module, who: str) -> list[nn.Module]:
    """The layers of an `nn.Sequential` (which may hold others), in order.

    Raises:
        MethodError: it is none, it ends with no `Linear`, or something has weights that is no `Linear`, `Conv2d` or batch norm;
            `who` needs that.
    """
    found = list(_flat(net))
    odd = [
        m
        for m in found
        if any(True for _ in m.parameters()) and not isinstance(m, nn.Linear | nn.Conv2d | _ROOM[0] | _ROOM[1])
    ]
    if not isinstance(net, nn.Sequential) or odd or not found or not isinstance(found[-1], nn.Linear):
        what = type(odd[0] if odd else net).__name__
        raise MethodError(
            f"{who} needs to know which unit leads where: expected an nn.Sequential of Linear, Conv2d, batch norm and layers without "
            f"weights, with a Linear at its end; got {what}: use such a network (--net mlp)"
        )
    names = [id(m) for m in found if any(True for _ in m.parameters())]
    if len(set(names)) < len(names):
        raise MethodError(f"{who}: a layer stands twice in the network: give each place a layer of its own")
    return found


def _flat(net: nn.Module) -> list[nn.Module]:
    if isinstance(net, nn.Sequential):
        return [layer for part in net for layer in _flat(part)]
    return [net]


def weighted(layer: nn.Module) -> bool:
    """Whether it is a `Linear` or a `Conv2d`."""
    return isinstance(layer, nn.Linear | nn.Conv2d)


def inputs(layer: nn.Module) -> int:
    """How many features or channels it reads."""
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)  # type: ignore[arg-type]


def outputs(layer: nn.Module) -> int:
    """How many features or channels it makes."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]
