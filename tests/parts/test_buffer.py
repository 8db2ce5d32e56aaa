"""The memory: its invariants, whatever comes in whatever portions."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from lifelong.core.errors import MethodError
from lifelong.core.random import generator
from lifelong.parts.buffer import Memory, balanced, chosen, herd, opened, reservoir, ring

portions = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def batch(start: int, n: int, classes: int = 3) -> dict[str, Tensor]:
    x = torch.arange(start, start + n)
    return {"x": x[:, None].float(), "y": x % classes}


def held(memory: Memory) -> list[int]:
    return memory.slots["x"][: memory.filled, 0].int().tolist()


def fill(how, size: int, parts: list[int], seed: int = 0, classes: int = 3) -> Memory:
    memory, draws, start = Memory.empty(size), generator(seed, "memory"), 0
    for n in parts:
        memory = how(memory, batch(start, n, classes), draws)
        start += n
    return memory


@given(st.integers(1, 40), portions, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("how", [reservoir, balanced])
def test_size_and_contents(how, size: int, parts: list[int], seed: int) -> None:
    memory, total = fill(how, size, parts, seed), sum(parts)
    rows = held(memory)
    assert memory.filled == min(size, total)
    assert memory.seen == total
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(total))
    assert memory.slots["y"][: memory.filled].tolist() == [r % 3 for r in rows]
    if total <= size:
        assert sorted(rows) == list(range(total))


@given(st.integers(1, 40), portions, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_balance(size: int, parts: list[int], seed: int) -> None:
    """No class holds two more than another that was offered as many as it could hold."""
    memory, total = fill(balanced, size, parts, seed), sum(parts)
    offered = [len(range(c, total, 3)) for c in range(3)]
    kept = [sum(r % 3 == c for r in held(memory)) for c in range(3)]
    for c, d in itertools.permutations(range(3), 2):
        assert kept[c] <= offered[c]
        if kept[c] < offered[c]:
            assert kept[c] >= kept[d] - 1


@pytest.mark.parametrize("parts", [[1] * 40, [10] * 4, [7, 13, 20], [40]])
@pytest.mark.parametrize("how", [reservoir, balanced])
def test_every_example_is_held_alike(how, parts: list[int]) -> None:
    """Vitter: with probability size/n each, whenever it came and in whatever portion; within a class where it is balanced."""
    size, runs, classes = 12, 1500, 3
    counts = torch.zeros(40)
    for seed in range(runs):
        counts[torch.tensor(held(fill(how, size, parts, seed, classes)))] += 1
    groups = [range(40)] if how is reservoir else [range(c, 40, classes) for c in range(classes)]
    for group in groups:
        assert chisquare(counts[list(group)].numpy()).pvalue > 1e-4


def test_a_reservoir_is_not_the_latest_nor_the_first() -> None:
    rows = torch.tensor(held(fill(reservoir, 200, [10] * 400))).float()
    assert 1700 < rows.mean() < 2300  # of 0..3999


def test_of_two_that_fall_into_one_slot_the_later_stays() -> None:
    for seed in range(30):
        at_once = reservoir(Memory.empty(1), batch(0, 50), generator(seed, "memory"))
        draws = generator(seed, "memory")
        n = torch.arange(1, 51, dtype=torch.float64)
        slot = (torch.rand(50, generator=draws, dtype=torch.float64) * n).long()
        slot[0] = 0
        winner = int((slot == 0).nonzero()[-1])
        assert held(at_once) == [winner]


@given(st.integers(6, 40), st.lists(portions, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_ring_holds_the_latest_of_each_task(size: int, tasks: list[list[int]]) -> None:
    memory, start, offered = Memory.empty(size), 0, []
    for t, parts in enumerate(tasks):
        memory = opened(memory)
        quota = size // (t + 1)
        for n in parts:
            memory = ring(memory, batch(start, n), quota)
            start += n
        offered.append((start - sum(parts), start))
        rows = held(memory)
        share = [min(quota, end - begin) for begin, end in offered]
        assert memory.groups == tuple(share)
        for (_, end), n, k in zip(offered, share, range(len(share))):
            first = sum(share[:k])
            assert sorted(rows[first : first + n]) == list(range(end - n, end))


def test_more_tasks_than_slots() -> None:
    memory = ring(opened(ring(opened(Memory.empty(2)), batch(0, 5), 2)), batch(5, 5), 1)
    with pytest.raises(MethodError, match="buffer_size of 2 for 3 tasks: expected at least one example a task"):
        opened(memory)


def test_chosen_examples_keep_their_best_as_shares_shrink() -> None:
    memory = chosen(Memory.empty(10), [batch(0, 8), batch(100, 3)])
    assert held(memory) == [0, 1, 2, 3, 4, 100, 101, 102]  # 5 each; the second class has but 3
    memory = chosen(memory, [batch(200, 9)])
    assert held(memory) == [0, 1, 2, 100, 101, 102, 200, 201, 202]
    with pytest.raises(MethodError, match="buffer_size of 10 for 11 classes"):
        chosen(memory, [batch(300 + k, 1) for k in range(8)])


@pytest.mark.parametrize("renormalise", [False, True])
def test_herding_by_brute_force(renormalise: bool) -> None:
    """iCaRL's algorithm 4 written out: of all examples left, that which brings the mean of those chosen closest to the mean."""
    draws = torch.Generator().manual_seed(0)
    phi = torch.nn.functional.normalize(torch.randn(30, 5, generator=draws, dtype=torch.float64))
    mu, order = phi.mean(0), []
    if renormalise:
        mu = mu / mu.norm()
    for k in range(1, 31):
        left = [i for i in range(30) if i not in order]
        total = phi[order].sum(0) if order else torch.zeros(5, dtype=torch.float64)
        order.append(min(left, key=lambda i: float((mu - (phi[i] + total) / k).norm())))
    assert herd(phi, 30, renormalise).tolist() == order
    assert herd(phi, 7, renormalise).tolist() == order[:7]  # a ranking: a prefix is what fewer would be
    assert herd(phi, 99, renormalise).tolist() == order
    assert renormalise == (herd(phi, 7, renormalise).tolist() != herd(phi, 7).tolist())


def test_what_does_not_fit_is_refused() -> None:
    memory = reservoir(Memory.empty(4), batch(0, 2), generator(0, "m"))
    with pytest.raises(MethodError, match=r"holds 'x' as torch.float32 \[1\], and was offered torch.float64 \[1\]"):
        reservoir(memory, {"x": torch.zeros(2, 1, dtype=torch.float64), "y": torch.zeros(2).long()}, generator(0, "m"))
    with pytest.raises(MethodError, match="holds no 'logits'"):
        reservoir(memory, {**batch(0, 2), "logits": torch.zeros(2, 3)}, generator(0, "m"))
    with pytest.raises(MethodError, match="buffer_size -1: expected 0"):
        Memory.empty(-1)


def test_samples_come_from_what_is_filled() -> None:
    memory = fill(reservoir, 50, [20])
    drawn = memory.sample(500, generator(1, "draw"))
    assert set(drawn["x"][:, 0].int().tolist()) == set(range(20))
    assert torch.equal(drawn["x"][:, 0].int() % 3, drawn["y"].int())
    assert set(memory.sample(200, generator(1, "draw"), 5)["x"][:, 0].int().tolist()) == set(range(5))
