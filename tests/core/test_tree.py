"""Trees of examples: every structure that a batch may have is cut, joined and moved as one tensor is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lifelong.core import tree
from lifelong.core.errors import DataError


class Pair(NamedTuple):
    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Scene:
    image: Tensor
    boxes: list[Tensor]  # one an example, each of another length
    crowd: Tensor | None = None


B = 5


def numbers(*shape: int) -> Tensor:
    return torch.arange(B * torch.tensor(shape).prod().item() if shape else B).view(B, *shape)


def ragged() -> list[Tensor]:
    return [torch.full((k, 4), float(k)) for k in range(B)]


TREES: dict[str, Callable[[], Any]] = {
    "tensor": lambda: numbers(3),
    "one number each": lambda: numbers(),
    "dict": lambda: {"ids": numbers(3), "labels": numbers()},
    "tuple": lambda: (numbers(2), numbers(3, 2)),
    "named tuple": lambda: Pair(numbers(3), numbers(3) % 2 == 0),
    "dataclass": lambda: Scene(numbers(1, 2, 2).float(), ragged()),
    "list of items": lambda: ragged(),
    "list of words": lambda: ["a", "bc", "d", "ef", "g"],
    "tree within tree": lambda: {"x": (numbers(2), {"y": Pair(numbers(), numbers(1))}), "boxes": ragged()},
}
every = pytest.mark.parametrize("name", TREES)


def example(value: Any, i: int) -> Any:
    """The i-th example of a tree, by hand."""
    if isinstance(value, Tensor):
        return value[i].tolist()
    if isinstance(value, list):
        item = value[i]
        return item.tolist() if isinstance(item, Tensor) else item
    if isinstance(value, dict):
        return {k: example(v, i) for k, v in value.items()}
    if isinstance(value, tuple):
        return [example(v, i) for v in value]
    return None if value is None else [example(v, i) for v in vars(value).values()]


def examples(value: Any) -> list[Any]:
    return [example(value, i) for i in range(tree.rows(value))]


def structure(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: structure(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return type(value), [structure(v) for v in value]
    return type(value)


@every
def test_rows_and_leaves(name: str) -> None:
    value = TREES[name]()
    assert tree.rows(value) == B
    assert all(len(leaf) == B for leaf in tree.leaves(value))
    assert all(isinstance(leaf, Tensor | list) for leaf in tree.leaves(value))


@every
@pytest.mark.parametrize(
    "index", [torch.tensor([3, 0, 3]), torch.tensor([], dtype=torch.int64), slice(1, 4), slice(1, None, 2)], ids=str
)
def test_take_is_of_each_example(name: str, index: Tensor | slice) -> None:
    value = TREES[name]()
    whole, taken = examples(value), tree.take(value, index)
    rows = index.tolist() if isinstance(index, Tensor) else list(range(B))[index]
    assert [example(taken, i) for i in range(len(rows))] == [whole[i] for i in rows]
    assert all(len(leaf) == len(rows) for leaf in tree.leaves(taken))
    assert structure(taken) == structure(value)


@every
def test_split_and_concat_undo_one_another(name: str) -> None:
    value = TREES[name]()
    parts = tree.split(value, [2, 0, 3])
    assert [examples(p) for p in parts] == [examples(value)[:2], [], examples(value)[2:]]
    joined = tree.concat(parts)
    assert examples(joined) == examples(value)
    assert structure(joined) == structure(value)
    assert tree.split(value, [B])[0] is value  # nothing is copied
    assert tree.concat([value]) is value


@every
def test_placed_changes_the_precision_of_real_numbers_alone(name: str) -> None:
    value = TREES[name]()
    found = tree.placed(value, torch.device("cpu"), torch.float64)
    assert examples(found) == examples(value)
    assert structure(found) == structure(value)
    for before, after in zip(tree.leaves(value), tree.leaves(found)):
        for a, b in zip(before, after) if isinstance(before, list) else [(before, after)]:
            if isinstance(a, Tensor):
                assert b.dtype == (torch.float64 if a.is_floating_point() else a.dtype)
    kept = tree.placed(value, torch.device("cpu"))
    assert [type(leaf) for leaf in tree.leaves(kept)] == [type(leaf) for leaf in tree.leaves(value)]
    there = tree.placed(value, torch.device("meta"))
    tensors = [t for leaf in tree.leaves(there) for t in (leaf if isinstance(leaf, list) else [leaf])]
    assert {t.device.type for t in tensors if isinstance(t, Tensor)} <= {"meta"}


def test_items_that_are_trees_are_placed_as_well() -> None:
    """As a detector has its targets: a dictionary an image."""
    targets = [{"boxes": torch.rand(k, 4), "labels": torch.arange(k)} for k in range(3)]
    found = tree.placed(targets, torch.device("cpu"), torch.float64)
    assert [t["boxes"].dtype for t in found] == [torch.float64] * 3
    assert [t["labels"].dtype for t in found] == [torch.int64] * 3
    assert tree.concat([targets[:1], targets[1:]]) == targets


def test_mapped_gets_the_leaves_side_by_side() -> None:
    one, other = ({"a": torch.full((2,), v), "b": (torch.full((2,), 10 * v), None)} for v in (1.0, 2.0))
    found = tree.mapped(torch.add, one, other)
    assert found["a"].tolist() == [3, 3]
    assert found["b"][0].tolist() == [30, 30]
    assert found["b"][1] is None


def test_gradients_go_through() -> None:
    x = torch.randn(4, 2, requires_grad=True)
    parts = tree.split({"x": x}, [1, 3])
    (2 * tree.take(tree.concat(parts), slice(1, 3))["x"]).sum().backward()
    assert x.grad.tolist() == [[0, 0], [2, 2], [2, 2], [0, 0]]


@pytest.mark.parametrize(
    "value",
    [
        {"x": torch.zeros(3), "y": torch.zeros(4)},
        (torch.zeros(3, 4), ["a"] * 4),
        Scene(torch.zeros(3), [torch.zeros(1)] * 4),
    ],
    ids=lambda v: type(v).__name__,
)
def test_parts_of_different_length_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"parts hold \[3, 4\] examples: expected as many in each"):
        tree.rows(value)


@pytest.mark.parametrize(
    "value",
    ["words", {"x": 3}, (torch.zeros(2), {1, 2}), Scene(torch.zeros(2), [], object())],
    ids=lambda v: type(v).__name__,
)
def test_what_is_no_tree_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"a batch holds a (str|int|set|object): expected tensors, and dictionaries"):
        tree.take(value, slice(0, 1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((numbers(), numbers()), (numbers(),)),
        ((numbers(),), (numbers(), numbers())),
        ({"a": numbers()}, {"a": numbers(), "b": numbers()}),
        ({"a": numbers(), "b": numbers()}, {"a": numbers()}),
        (Pair(numbers(), numbers()), numbers(2)),
        (numbers(2), Pair(numbers(), numbers())),
        ({"a": numbers()}, (numbers(),)),
        (Scene(numbers(), ragged()), Pair(numbers(), numbers())),
        (ragged(), numbers()),
        (Scene(numbers(), ragged()), Scene(numbers(), ragged(), numbers())),
    ],
    ids=lambda v: type(v).__name__,
)
def test_trees_of_different_structure_do_not_join(one: Any, other: Any) -> None:
    """And lose nothing silently."""
    with pytest.raises(DataError, match=r"beside .*: expected the same in each"):
        tree.concat([one, other])
