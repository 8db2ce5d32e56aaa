"""Trees of tensors whose leaves share axis 0: what inputs, targets and outputs of a batch are.

A tree is a tensor ``[B, ...]``; a dictionary, a tuple (also a named one) or a dataclass of trees; or a list of B items, one an example,
where the examples differ in shape (boxes, ragged text).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import DataError

__all__ = ["concat", "leaves", "mapped", "placed", "rows", "split", "take"]


def mapped(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The same tree with ``f(leaf, ...)`` in the place of each leaf (a tensor or a list of items), given the leaves of `others` beside it.

    Raises:
        DataError: this is no tree, or the others are built otherwise.
    """
    for other in others:
        if _built(other) != _built(tree):
            raise DataError(f"a batch holds {_told(tree)} beside {_told(other)}: expected the same in each")
    if isinstance(tree, Tensor | list):
        return f(tree, *others)
    if isinstance(tree, dict):
        return {k: mapped(f, v, *(o[k] for o in others)) for k, v in tree.items()}
    if isinstance(tree, tuple):
        parts = [mapped(f, *each) for each in zip(tree, *others)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [x.name for x in dataclasses.fields(tree)]
        parts = [mapped(f, getattr(tree, n), *(getattr(o, n) for o in others)) for n in names]
        return dataclasses.replace(tree, **dict(zip(names, parts)))
    if tree is None:
        return None
    raise DataError(
        f"a batch holds a {type(tree).__name__}: expected tensors, and dictionaries, tuples, dataclasses or lists of them"
    )


def _built(tree: Any) -> Any:
    """What the outermost level is, and what of it."""
    if isinstance(tree, Tensor):
        return Tensor
    return type(tree), set(tree) if isinstance(tree, dict) else len(tree) if isinstance(tree, tuple) else None


def _told(tree: Any) -> str:
    of = (
        f" of {', '.join(map(repr, tree))}"
        if isinstance(tree, dict)
        else f" of {len(tree)}"
        if isinstance(tree, tuple)
        else ""
    )
    return f"a {type(tree).__name__}{of}"


def leaves(tree: Any) -> Iterator[Any]:
    """The tensors and the lists of items, in order."""
    if isinstance(tree, Tensor | list):
        yield tree
    elif isinstance(tree, dict):
        for v in tree.values():
            yield from leaves(v)
    elif isinstance(tree, tuple):
        for v in tree:
            yield from leaves(v)
    elif dataclasses.is_dataclass(tree):
        for x in dataclasses.fields(tree):
            yield from leaves(getattr(tree, x.name))


def rows(tree: Any) -> int:
    """B: how many examples a tree holds.

    Raises:
        DataError: its leaves disagree.
    """
    if isinstance(tree, Tensor):
        return tree.shape[0]
    found = {len(leaf) for leaf in leaves(tree)}
    if len(found) != 1:
        raise DataError(f"a batch whose parts hold {sorted(found)} examples: expected as many in each")
    return found.pop()


def take(tree: Any, index: Tensor | slice) -> Any:
    """The examples `index`: indices ``[n]``, or a slice."""
    if isinstance(tree, Tensor):
        return tree[index]

    def of(leaf: Any) -> Any:
        if isinstance(leaf, list) and isinstance(index, Tensor):
            return [leaf[i] for i in index.tolist()]
        return leaf[index]

    return mapped(of, tree)


def concat(trees: Sequence[Any]) -> Any:
    """The examples of several trees of one structure, one behind the other."""
    first = trees[0]
    if len(trees) == 1:
        return first
    if all(isinstance(t, Tensor) for t in trees):
        return torch.cat(list(trees))

    def joined(*each: Any) -> Any:
        return list(itertools.chain(*each)) if isinstance(each[0], list) else torch.cat(each)

    return mapped(joined, *trees)


def split(tree: Any, sizes: Sequence[int]) -> list[Any]:
    """The tree cut into trees of so many examples each."""
    if len(sizes) == 1:
        return [tree]
    if isinstance(tree, Tensor):
        return list(tree.split(list(sizes)))
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [take(tree, slice(end - n, end)) for end, n in zip(ends, sizes)]


def placed(tree: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """On a device; real numbers as `dtype`, where it is given."""

    def to(t: Any) -> Any:
        if isinstance(t, list):
            return [placed(item, device, dtype) if isinstance(item, Tensor | dict | tuple) else item for item in t]
        return t.to(device, dtype if t.is_floating_point() else None)

    return to(tree) if isinstance(tree, Tensor) else mapped(to, tree)
