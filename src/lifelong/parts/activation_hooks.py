"""A place within a network, by the name of the module whose input it is: what arrives there, what may join there, and what comes
before it.

"Before" is the order in which modules were registered, which for nearly every network is that in which they run.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.errors import MethodError, nearest
from ..nets.heads import last_linear

__all__ = ["arriving", "before", "join", "place"]


def place(net: nn.Module, layer: str) -> str:
    """The name of the module `layer` (empty: the last linear layer).

    Raises:
        MethodError: the network has no such module.
    """
    names = [name for name, _ in net.named_modules()]
    if not layer:
        last = last_linear(net)
        return str(next(name for name, module in net.named_modules() if module is last))
    if layer not in names:
        some = [n for n in names if n]
        shown = ", ".join(some[:20]) + (", ..." if len(some) > 20 else "")
        raise MethodError(f"{type(net).__name__} has no layer {layer!r}{nearest(layer, some)}; it has {shown}")
    return layer


def before(net: nn.Module, layer: str) -> tuple[list[nn.Module], tuple[str, ...]]:
    """The modules that come before `layer` and do not hold it, and the names of all parameters that come before it."""
    modules, names = [], []
    for name, module in net.named_modules():
        if name == layer:
            break
        holds = not name or layer.startswith(f"{name}.")
        modules += [] if holds else [module]
        names += [f"{name}.{p}" if name else p for p, _ in module.named_parameters(recurse=False)]
    return modules, tuple(names)


class _Arrived(Exception):  # noqa: N818 (what was asked for is there: no error)
    pass


def arriving(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What arrives at `layer` of inputs ``x [B, ...]``; nothing behind it is computed."""
    kept: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0])
        raise _Arrived

    hook = net.get_submodule(layer).register_forward_pre_hook(stop)
    try:
        net(x)
    except _Arrived:
        pass
    finally:
        hook.remove()
    if not kept:
        raise MethodError(f"nothing arrives at {layer!r}: {type(net).__name__} does not use that module")
    return kept[0]


@final
class _Join:
    """Waits at a module for the next batch in training: the gradient ends there (`stop`), and `more` comes behind the batch."""

    def __init__(self, more: Tensor | None, stop: bool) -> None:
        self.more, self.stop = more, stop
        self.handle: Any = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not module.training:
            return None  # an evaluation in between
        self.handle.remove()
        h = args[0].detach() if self.stop else args[0]
        return (h if self.more is None else torch.cat([h, self.more]), *args[1:])


def join(net: nn.Module, layer: str, more: Tensor | None, stop: bool) -> None:
    """Lets `more` ``[k, ...]`` join the next batch that passes `layer` in training, behind it; with `stop` no gradient goes further
    down than there. What waited there before is forgotten."""
    module = net.get_submodule(layer)
    for waiting in list(module._forward_pre_hooks.values()):
        if isinstance(waiting, _Join):
            waiting.handle.remove()
    hook = _Join(more, stop)
    hook.handle = module.register_forward_pre_hook(hook)
