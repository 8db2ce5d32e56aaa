"""What a network makes of its inputs before it decides: the input of its last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import MethodError

__all__ = ["distances", "features", "head_names", "last_linear"]


def last_linear(net: nn.Module) -> nn.Linear:
    """The linear layer that was registered last; of the network's `head`, where it names one.

    Raises:
        MethodError: there is none.
    """
    head = getattr(net, "head", None)
    found = [m for m in (head if isinstance(head, nn.Module) else net).modules() if isinstance(m, nn.Linear)]
    if not found:
        raise MethodError(
            f"{type(net).__name__} has no linear layer, whose inputs would be its features: end it with one"
        )
    return found[-1]


def head_names(net: nn.Module) -> tuple[str, ...]:
    """The names of its parameters."""
    last = last_linear(net)
    return tuple(name for name, p in net.named_parameters() if any(p is own for own in last.parameters()))


def features(net: nn.Module, x: Tensor) -> Tensor:
    """φ(x) ``[B, d]``."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0])

    hook = last_linear(net).register_forward_pre_hook(keep)
    try:
        net(x)
    finally:
        hook.remove()
    return torch.flatten(kept[-1], 1)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖, ``[n, m]`` of ``[n, d]`` and ``[m, d]``."""
    if torch.compiler.is_exporting():  # as operators that every runtime has, and for any number of rows
        return (x[:, None] - y).square().sum(2).sqrt()
    return torch.cdist(x, y)
