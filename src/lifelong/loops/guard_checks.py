"""What a guard is given, looked at: models, optimisers, batches, losses, classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DataError, MethodError
from ..core.loaders import finite
from ..core.method import Method, is_method
from ..core.vector import Vector

__all__ = [
    "carried",
    "check_optimizer",
    "innermost",
    "labelled",
    "other_weights",
    "output_indices",
    "own_losses",
    "stepped",
]


def carried(method: Method, *, loop: str = "", fix: str = "use Learner or fit") -> None:
    """Raises `MethodError` for a method that somebody else's `loop` cannot carry, or for what is none."""
    if not is_method(method).portable:
        raise MethodError(
            f"{method.name} needs a training loop of its own{loop} (it chooses the data, builds, restarts or grows the network, or plans a task's "
            f"steps): {fix}"
        )


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The one that steps, within those that wrap it (accelerate's)."""
    while not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        if not hasattr(optimizer, "optimizer"):
            got = "several" if isinstance(optimizer, list | tuple) else f"a {type(optimizer).__name__}"
            raise MethodError(
                f"expected protect(model, optimizer, method) with one torch optimizer, got {got}: guard each with a protect of its own"
            )
        optimizer = optimizer.optimizer
    return optimizer


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> Vector:
    """The weights of a model that train and that an optimiser steps."""
    ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found = [(name, t) for name, t in Vector.of(model) if id(t) in ids]
    return Vector(tuple(name for name, _ in found), [t for _, t in found])


def other_weights(there: Sequence[Any], here: Sequence[Any]) -> str:
    """What differs between two lists of the shapes of weights."""
    differ = [f"{a} there, {b} here" for a, b in zip(there, here) if a != b] or [
        f"{len(there)} there, {len(here)} here"
    ]
    return (
        f"the model has other trainable weights than the one that this was kept for ({differ[0]}): give it the layers and as many outputs as it had, "
        "those of classes to come included (a Learner with grows=True gets more as they come)"
    )


def output_indices(classes: Any, outputs: int | None) -> list[int]:
    """`classes` as sorted output indices; `outputs` is how many there are, where that is known."""
    try:
        found = sorted({int(c) for c in classes})
    except (TypeError, ValueError):
        found = []
    if not found or found[0] < 0 or (outputs is not None and found[-1] >= outputs):
        raise MethodError(
            f"classes {classes!r}: expected output indices, as labels are, from 0 to {'the last' if outputs is None else outputs - 1}"
        )
    return found


def labelled(x: Any, y: Any) -> None:
    """Raises `DataError` for what is no batch of inputs and labels."""
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise DataError(f"expected tensors, got {type(x).__name__} and {type(y).__name__}: torch.as_tensor(...)")
    if y.dim() != 1 or len(y) != len(x) or y.is_floating_point():
        raise DataError(
            f"labels of {y.dtype} {list(y.shape)} for {len(x)} inputs: expected output indices [B] (one class an example: methods that have part "
            "in the loss use cross-entropy)"
        )
    if x.device.type == "cpu":  # elsewhere looking would be waiting
        finite(x, "this batch")


def check_optimizer(model: nn.Module, theta: Vector, method: Method, optimizer: torch.optim.Optimizer) -> list[Any]:
    """Who hooks into the steps of an optimiser; raises `MethodError` where a guard of the weights `theta` cannot act at these steps."""
    now = stepped(model, optimizer)
    if not now.names:
        raise MethodError("the optimizer holds none of the model's parameters: pass the one that trains it")
    own = {id(p) for p in theta.tensors}
    more = [name for name, t in now if id(t) not in own] if method.acts else []
    if more:
        raise MethodError(
            f"the optimizer steps weights that this guard does not hold ({', '.join(more[:3])}{', ...' if len(more) > 3 else ''}): "
            "protect(model, optimizer, method) with an optimizer of all weights that are to be held"
        )
    if isinstance(optimizer, torch.optim.SparseAdam) and "gradient" in method.acts:
        raise MethodError(
            f"SparseAdam takes sparse gradients alone, and {method.name} adds a dense one: a penalty with implicit=True acts after the "
            "optimizer's step, or use another optimizer"
        )
    return [getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_pre_hooks.values()]


def shares_weights(a: Vector, b: Vector) -> bool:
    """Whether some weight is in both."""
    own = {id(p) for p in a.tensors}
    return any(id(p) in own for p in b.tensors)


def own_losses(losses: Tensor, n: int, method: Method) -> None:
    """Raises where somebody's own losses of `n` examples cannot stand in the place of the objective's."""
    if losses.shape != (n,):
        raise DataError(
            f"losses {list(losses.shape)} for the {n} examples of the mixed batch: expected one an example, [B] "
            '(reduction="none")'
        )
    takes = [m.name for m in method.parts() if {"gradient", "observe"} <= m.acts]
    if takes:
        raise MethodError(
            f"{takes[0]} takes the cross-entropy of stored examples itself, and would hold another loss to it: leave losses= out, "
            "or use replay, der, lwf or a penalty"
        )
