"""A network made larger by one enlargement, in place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.errors import MethodError
from ..core.growth import Growth, IndexMap
from .heads import last_linear
from .net2net import deepen, widen

__all__ = ["grow", "more_outputs"]


def grow(net: nn.Module, operation: Growth) -> IndexMap:
    """Enlarges `net`, which knows how (`net.grow(operation)`), or whose last linear layer gets more outputs, or which becomes
    wider or deeper as in Net2Net.

    Raises:
        MethodError: it cannot grow so.
    """
    if hasattr(net, "grow"):
        found: IndexMap = net.grow(operation)  # type: ignore[operator]
        return found
    if operation.kind == "outputs":
        return more_outputs(net, operation)
    if operation.kind == "wider":
        return widen(net, operation.layer, operation.size, seed=operation.seed, noise=operation.noise)
    if operation.kind == "deeper":
        return deepen(net, operation.layer, seed=operation.seed, noise=operation.noise)
    raise MethodError(
        f"{type(net).__name__} cannot grow by {operation}: it has no method grow(operation), and is none of 'outputs', 'wider', "
        "'deeper'; use a network that has"
    )


def more_outputs(net: nn.Module, operation: Growth) -> IndexMap:
    """`size` outputs in the place of fewer: the old rows of the last linear layer, and new ones as torch begins them. A network whose inputs
    are words of the vocabulary that its outputs are says which of its weights have a row a word as well, and how far new rows spread
    (`net.vocabulary`, by name).

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
    words: Mapping[str, float] = getattr(net, "vocabulary", {})
    more = operation.size - old.out_features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(operation.seed)
        new = nn.Linear(old.in_features, operation.size, old.bias is not None)
        drawn = {n: std * torch.randn(more, *net.get_parameter(n).shape[1:]) for n, std in words.items()}
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
    _announced(net, old.out_features, operation.size)
    for own, weights in drawn.items():
        if own == f"{name}.weight":
            with torch.no_grad():
                new.weight[-more:] = weights
        else:
            mapping.source[own] = own, _more_rows(net, own, weights)
    return mapping


def _announced(net: nn.Module, before: int, now: int) -> None:
    """What a model of transformers says of its labels follows: its own loss and its saved configuration go by that."""
    for module in net.modules():
        for place in (getattr(module, "config", None), module):
            if getattr(place, "num_labels", None) == before and not isinstance(place, type):
                place.num_labels = now  # type: ignore[union-attr]


def _more_rows(net: nn.Module, name: str, new: Tensor) -> tuple[Tensor, ...]:
    """Puts `new` rows behind those of a weight, and says where each of its values came from."""
    old = net.get_parameter(name)
    parent, _, last = name.rpartition(".")
    module = net.get_submodule(parent)
    setattr(module, last, nn.Parameter(torch.cat([old.detach(), new.to(old)]), old.requires_grad))
    if isinstance(module, nn.Embedding):
        module.num_embeddings += len(new)
    rows = torch.cat([torch.arange(len(old)), torch.full((len(new),), -1)])
    return rows, *(torch.arange(n) for n in old.shape[1:])
