"""The gradients of several groups of examples in one pass.

Where every weight belongs to a linear layer, the gradient of group k's mean loss is δ_kᵀ h_k, for the layer's inputs h and the loss's
derivative δ by its outputs: one pass forward and one back for all groups, and a batched product a layer. Whether that holds for a
network is found out once, by comparing it with one pass a group; where it does not, it is one pass a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..core.contexts import StepContext
from ..core.modes import evaluating
from ..core.segments import Segment
from ..core.vector import Vector

__all__ = ["gradients"]

Layers = list[tuple[nn.Module, dict[str, int]]]  # the linear layers, each with the places of its weights in θ
# by the weights themselves: a network that grew has others
_known: WeakKeyDictionary[nn.Module, tuple[list[int], Layers | None]] = WeakKeyDictionary()


def gradients(context: StepContext, past: Segment, sizes: Sequence[int]) -> Vector:
    """The gradient of the mean loss of each group, ``[t, ...]`` a weight.

    Args:
        context: of the step.
        past: the groups one behind the other.
        sizes: how many examples each of the t groups has.
    """
    net, theta = context.net, context.theta
    known, layers = _known.get(net, ([], None))
    present = [id(p) for p in theta.tensors]
    if known != present:
        layers = _linear(net, theta)
        if layers is not None:
            with evaluating(net):  # draws nothing, and moves no statistics
                layers = layers if _holds(context, layers, past) else None
        _known[net] = present, layers
    found = None if layers is None else _in_parts(context, layers, past, sizes)
    return _each(context, past, sizes) if found is None else found


def _linear(net: nn.Module, theta: Vector) -> Layers | None:
    """The layers, where all weights are those of linear layers and no example's output depends on another example."""
    if any(isinstance(m, nn.modules.batchnorm._NormBase) for m in net.modules()):
        return None
    place = {id(p): i for i, p in enumerate(theta.tensors)}
    layers: Layers = []
    for module in net.modules():
        own = {name: place[id(p)] for name, p in module.named_parameters(recurse=False) if id(p) in place}
        if own and type(module) is not nn.Linear:
            return None
        if own:
            layers.append((module, own))
    return layers if sum(len(own) for _, own in layers) == len(place) else None


def _holds(context: StepContext, layers: Layers, past: Segment) -> bool:
    """Whether two halves of a batch have the gradients at once that they have one after the other."""
    halves = [past.rows // 2, past.rows - past.rows // 2]
    if not halves[0]:
        return False
    costs = replace(context.costs)
    found = _at_once(context, layers, past, halves)
    holds = found is not None and _close(found, _each(context, past, halves))
    context.costs.forward, context.costs.backward = costs.forward, costs.backward  # of no part in learning
    return holds


def _close(found: Vector, truth: Vector) -> bool:
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()) + 1e-12)
        for a, b in zip(found.tensors, truth.tensors)
    )


def _each(context: StepContext, past: Segment, sizes: Sequence[int]) -> Vector:
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    found = [context.gradient_of(past.take(slice(end - n, end))).tensors for end, n in zip(ends, sizes)]
    return Vector(context.theta.names, [torch.stack(parts) for parts in zip(*found)])


def _in_parts(context: StepContext, layers: Layers, past: Segment, sizes: Sequence[int]) -> Vector | None:
    """At once, and of several ranks each from every N-th example of a group where that comes out even."""
    ranks = context.ranks
    if ranks.world == 1 or any(n % ranks.world for n in sizes):
        return _at_once(context, layers, past, sizes)
    found = _at_once(context, layers, past.part(ranks), [n // ranks.world for n in sizes])
    if found is not None:
        ranks.mean_(found.tensors)
    return found


def _at_once(context: StepContext, layers: Layers, past: Segment, sizes: Sequence[int]) -> Vector | None:
    """None where a layer was not called just once, with all examples."""
    inputs: dict[nn.Module, Tensor] = {}
    outputs: dict[nn.Module, Tensor] = {}
    calls = 0
    theta, B = context.theta, past.rows
    kind = theta.tensors[0].dtype  # a network that casts for itself has others within

    def record(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
        nonlocal calls
        calls += 1
        h = args[0] if args else next(iter(kwargs.values()))
        inputs[module], outputs[module] = h.detach().to(kind), output

    hooks = [module.register_forward_hook(record, with_kwargs=True) for module, _ in layers]
    try:
        with torch.enable_grad():
            objective = past.objective or context.objective
            total = objective.losses(context.net(past.x), past.y).sum()
    finally:
        for hook in hooks:
            hook.remove()
    modules = [module for module, _ in layers]
    if calls != len(layers) or any(inputs[m].dim() != 2 or len(inputs[m]) != B for m in modules):
        return None
    deltas = torch.autograd.grad(total, [outputs[m] for m in modules], materialize_grads=True)
    context.costs.forward += B
    context.costs.backward += B
    found: list[Tensor | None] = [None] * len(theta.tensors)
    for (module, own), delta in zip(layers, (delta.to(kind) for delta in deltas)):
        for name, place in own.items():
            found[place] = _products(delta, inputs[module], sizes) if name == "weight" else _sums(delta, sizes)
    return Vector(theta.names, [g for g in found if g is not None])


def _products(delta: Tensor, h: Tensor, sizes: Sequence[int]) -> Tensor:
    """δ_kᵀ h_k / n_k of each group, ``[t, outputs, inputs]``."""
    t, n = len(sizes), sizes[0]
    if set(sizes) == {n}:
        return (delta.view(t, n, -1) / n).transpose(1, 2) @ h.view(t, n, -1)
    parts = zip(delta.split(list(sizes)), h.split(list(sizes)), sizes)
    return torch.stack([(d / n).T @ k for d, k, n in parts])


def _sums(delta: Tensor, sizes: Sequence[int]) -> Tensor:
    """Σ δ_k / n_k of each group, ``[t, outputs]``."""
    return torch.stack([d.sum(0) / n for d, n in zip(delta.split(list(sizes)), sizes)])
