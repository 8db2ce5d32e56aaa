"""The examples, the cache and the stream against what they stand for: plain tensors, picked and put together by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from lifelong.core.errors import DataError
from lifelong.core.examples import Cache, Chunk, Examples, Joined, Lazy, Tensors
from lifelong.core.stream import Scenario, Stream, Task


def drawn(n: int, seed: int = 0, bytes_: bool = False, mask: Tensor | None = None) -> Tensors:
    g = torch.Generator().manual_seed(seed)
    x = (
        torch.randint(0, 256, (n, 2, 3), generator=g, dtype=torch.uint8)
        if bytes_
        else torch.randn(n, 2, 3, generator=g)
    )
    return Tensors(x, torch.randint(0, 4, (n,), generator=g), mask=mask)


def whole(examples: Examples, rows: int = 5, order: Tensor | None = None) -> Chunk:
    """All chunks put together."""
    chunks = list(examples.chunks(torch.arange(len(examples)) if order is None else order, rows))
    assert all(len(c.x) == len(c.y) <= rows for c in chunks)
    masks = [c.mask.expand(len(c.y), -1) for c in chunks if c.mask is not None]
    x, y = torch.cat([c.x for c in chunks]), torch.cat([c.y for c in chunks])
    return Chunk(x, y, torch.cat(masks) if masks else None)


def twice(x: Tensor) -> Tensor:
    return 2 * x


# --- Tensors ----------------------------------------------------------------------------------------------------------
def test_tensors_are_what_indexing_gives() -> None:
    base = drawn(11)
    rows, order = torch.tensor([7, 0, 3, 3, 10]), torch.tensor([4, 2, 0])
    own = replace(base, rows=rows, transform=twice)
    assert len(own) == 5
    assert own.shape == (2, 3)
    assert torch.equal(own.labels, base.y[rows])
    found = whole(own, rows=2, order=order)
    assert torch.equal(found.x, 2 * base.x[rows[order]])
    assert torch.equal(found.y, base.y[rows[order]])
    again = whole(own.subset(order))
    assert torch.equal(again.x, found.x)
    assert torch.equal(again.y, found.y)
    prepared = own.prepared
    assert prepared.rows is None
    assert prepared.transform is None
    assert torch.equal(prepared.x, 2 * base.x[rows])
    assert torch.equal(whole(prepared).y, own.labels)
    assert base.prepared is base


def test_bytes_reach_the_network_between_0_and_1() -> None:
    base = drawn(6, bytes_=True)
    assert torch.equal(whole(base).x, base.x.float() / 255)
    assert whole(base.prepared).x.dtype == torch.float32


def test_nothing_is_copied_by_a_subset() -> None:
    base = drawn(6)
    own = base.subset(torch.tensor([1, 2])).subset(torch.tensor([1]))
    assert own.x.data_ptr() == base.x.data_ptr()
    assert torch.equal(whole(own).x, base.x[2:3])


# --- Joined -----------------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 9), st.data())
def test_joined_is_the_concatenation(sizes: list[int], rows: int, data: st.DataObject) -> None:
    masks = torch.rand(len(sizes), 4, generator=torch.Generator().manual_seed(0)) < 0.5
    parts = [drawn(n, seed, mask=masks[seed]) for seed, n in enumerate(sizes)]
    joined = Joined(parts)
    x, y = torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts])
    m = torch.cat([masks[i].expand(n, -1) for i, n in enumerate(sizes)])
    order = torch.tensor(data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=20)))
    assert len(joined) == len(x)
    assert torch.equal(joined.labels, y)
    for found, own in (
        (whole(joined, rows, order), order),
        (whole(joined.subset(order), rows), order),
        (whole(joined.subset(order).subset(torch.tensor([len(order) - 1])), rows), order[-1:]),
        (whole(Cache()(joined.subset(order)), rows), order),
        (whole(Joined([joined, drawn(2)]), rows, order), order),
    ):
        assert torch.equal(found.x, x[own])
        assert torch.equal(found.y, y[own])
        assert found.mask is not None
        assert torch.equal(found.mask, m[own])
    assert torch.equal(joined.subset(order).labels, y[order])


def test_joined_takes_no_mask_for_all_outputs() -> None:
    some = torch.tensor([True, False, False, True])
    joined = Joined([drawn(2, mask=some), drawn(3, 1)])
    found = whole(joined, rows=5).mask
    assert found is not None
    assert found.tolist() == [some.tolist()] * 2 + [[True] * 4] * 3
    assert whole(Joined([drawn(2), drawn(3, 1)])).mask is None


# --- Lazy -------------------------------------------------------------------------------------------------------------
class Items(Dataset[Any]):
    def __init__(self, examples: Tensors) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.examples.x[index], int(self.examples.y[index])


class Noisy(Items):
    """Changes whenever it is read."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(3), index


@pytest.mark.parametrize("bytes_", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_lazy_equals_tensors(bytes_: bool, workers: int) -> None:
    base = drawn(9, bytes_=bytes_)
    order, rows = torch.tensor([8, 1, 1, 5]), torch.tensor([3, 0, 2])
    lazy = Lazy(Items(base), base.y, workers=workers)
    assert len(lazy) == 9
    assert lazy.shape == base.shape
    for a, b in ((lazy, base), (lazy.subset(order), base.subset(order))):
        assert len(a) == len(b)
        assert torch.equal(a.labels, b.labels)
        for own in (None, rows):
            one, other = whole(a, 2, own), whole(b, 2, own)
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.y, other.y)


def test_reading_lazily_draws_nothing_from_torch() -> None:
    base = drawn(9)
    before = torch.get_rng_state()
    whole(Lazy(Items(base), base.y))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_draw_anew_for_another_order_and_alike_for_the_same() -> None:
    base = drawn(4)
    lazy = Lazy(Noisy(base), base.y, workers=1)
    first, again = (whole(lazy, order=torch.tensor([0, 1, 2, 3])).x for _ in range(2))
    other = whole(lazy, order=torch.tensor([0, 2, 1, 3])).x
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- Cache ------------------------------------------------------------------------------------------------------------
def held(cache: Cache) -> int:
    """Bytes of what a cache keeps, counted from outside."""
    kept = [prepared for _, prepared in cache._held.values()]
    return sum(t.numel() * t.element_size() for p in kept for t in (p.x, p.y))


def test_cache_gives_the_same_and_prepares_once() -> None:
    calls = []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return 2 * x

    base = replace(drawn(8), transform=counted)
    cache = Cache()
    first, second = cache(base), cache(base)
    assert first is second
    assert calls == [8]
    assert torch.equal(whole(first).x, 2 * base.x)
    assert cache(drawn(8)) is not None
    plain = drawn(8)
    assert cache(plain) is plain
    lazy = Lazy(Items(plain), plain.y)
    assert cache(lazy) is lazy


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.integers(0, 900))
def test_cache_never_holds_more_than_its_budget(calls: list[tuple[int, bool]], budget: int) -> None:
    def larger(x: Tensor) -> Tensor:
        return torch.cat([x, x], 1)

    sets = [[replace(drawn(2 + 3 * i), transform=t) for t in (twice, larger)] for i in range(6)]
    cache = Cache(budget)
    for i, enlarged in calls:
        example = sets[i][enlarged]
        assert torch.equal(whole(cache(example)).x, whole(example).x)
        assert held(cache) == cache._bytes <= budget


def test_cache_drops_what_was_used_longest_ago() -> None:
    sets = [replace(drawn(4, seed), transform=twice) for seed in range(3)]
    cache = Cache(2 * (4 * 6 * 4 + 4 * 8))
    a, b = cache(sets[0]), cache(sets[1])
    assert cache(sets[0]) is a
    cache(sets[2])  # makes room by dropping the second
    assert cache(sets[0]) is a
    assert cache(sets[1]) is not b


# --- Stream -----------------------------------------------------------------------------------------------------------
def stream(tasks: int = 3, n: int = 20) -> Stream:
    shared = drawn(n)
    made = [
        Task(f"t{i}", replace(shared, transform=twice), drawn(5, seed=i + 10), (0, 1, 2, 3), index=9)
        for i in range(tasks)
    ]
    return Stream(tuple(made), "domain", ("a", "b", "c", "d"), notes={"known": 1})


def test_a_stream_is_its_tasks_in_order() -> None:
    s = stream()
    assert len(s) == 3
    assert [t.index for t in s] == [0, 1, 2]
    assert s[1].name == "t1"
    assert s.outputs == 4
    assert s.shape == (2, 3)
    back = s.reorder([2, 0, 1])
    assert [t.name for t in back] == ["t2", "t0", "t1"]
    assert [t.index for t in back] == [0, 1, 2]
    assert back[0].train is s[2].train
    assert [t.name for t in s.subset([1])] == ["t1"]
    assert [t.index for t in s.subset([1])] == [0]
    assert s.subset([1]).outputs == 4


def test_shared_memory_counts_once() -> None:
    s = stream(tasks=50)
    images = 20 * 6 * 4 + 20 * 8
    tests = 50 * (5 * 6 * 4 + 5 * 8)
    assert s.nbytes == images + tests
    joined = Stream((Task("both", Joined([t.train for t in s]), s[0].test, (0,)),), "domain", ("a",))
    assert joined.nbytes == images + tests // 50


def test_held_out_examples_leave_training_and_the_test_set_is_not_touched() -> None:
    s = stream()
    held_out = s.hold_out(0.25, seed=3)
    for task, was in zip(held_out, s):
        assert isinstance(task.train, Tensors)
        assert isinstance(task.test, Tensors)
        assert task.train.rows is not None
        assert task.test.rows is not None
        assert len(task.test) == 5
        assert sorted([*task.train.rows.tolist(), *task.test.rows.tolist()]) == list(range(20))
        assert isinstance(was.test, Tensors)
        assert task.test.x.data_ptr() != was.test.x.data_ptr()
        assert torch.equal(whole(task.test).x, whole(was.train.subset(task.test.rows)).x)
    assert held_out.notes == {"known": 1, "held_out": 0.25}
    again, other = s.hold_out(0.25, seed=3), s.hold_out(0.25, seed=4)
    assert torch.equal(whole(again[0].test).x, whole(held_out[0].test).x)
    assert not torch.equal(whole(other[0].test).x, whole(held_out[0].test).x)
    assert torch.equal(whole(held_out[1].test).x, whole(held_out[0].test).x)  # they share their examples


def test_few_keeps_some_of_the_training_examples() -> None:
    s = stream()
    for task in s.few(7):
        assert isinstance(task.train, Tensors)
        assert task.train.rows is not None
        assert len(set(task.train.rows.tolist())) == len(task.train) == 7
        assert len(task.test) == 5
    assert [len(t.train) for t in s.few(100)] == [20, 20, 20]


def test_what_cannot_be_a_stream_is_refused_by_name() -> None:
    one = drawn(4)
    none = one.subset(torch.tensor([], dtype=torch.int64))
    wide = Tensors(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))

    def made(train: Examples, test: Examples, scenario: Scenario = "domain") -> Stream:
        return Stream((Task("ok", one, one, (0,)), Task("odd", train, test, (0,))), scenario, ("a",))

    with pytest.raises(DataError, match=r"scenario 'domains': expected one of 'task'"):
        made(one, one, "domains")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least one task"):
        Stream((), "domain", ())
    with pytest.raises(DataError, match="task 'odd' has no training examples"):
        made(none, one)
    with pytest.raises(DataError, match=r"task 'odd' has no test examples.*stream_of\(data, test=0.2\)"):
        made(one, none)
    with pytest.raises(DataError, match=r"task 'odd' has inputs of shape \[5\] .*\[2, 3\] \(test\)"):
        made(wide, one)
    with pytest.raises(DataError, match=r"\[5\] \(test\)"):
        made(one, wide)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], []])
def test_an_order_is_a_permutation(order: list[int]) -> None:
    with pytest.raises(DataError, match=r"expected each of 0\.\.2 once"):
        stream().reorder(order)


def test_numbers_out_of_range_are_refused() -> None:
    s = stream()
    for wrong in (3, -1):
        with pytest.raises(DataError, match=rf"no task {wrong}: this stream has tasks 0\.\.2"):
            s.subset([wrong])
    for fraction in (0.0, 1.0, -0.5, math.nan):
        with pytest.raises(DataError, match="between 0 and 1"):
            s.hold_out(fraction)
    with pytest.raises(DataError, match="too few to hold any out"):
        stream(n=1).hold_out(0.5)
    with pytest.raises(DataError, match="at least 1"):
        s.few(0)
