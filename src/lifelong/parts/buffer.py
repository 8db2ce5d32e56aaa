"""A small memory of past examples: a fixed number of slots, in tensors that are allocated once.

What a slot holds is open: input, label, the outputs that compete, the network's logits. Four ways of filling it, each taking a
whole batch with a constant number of tensor operations:

* `reservoir`   every example offered so far is held with the same probability (Vitter 1985, algorithm R)
* `balanced`    the same within each class, and classes share the slots as evenly as they can (the greedy balance of GDumb,
                Prabhu et al. 2020, with random in place of first-come choice within a class)
* `ring`        the latest examples of each group (a task), groups sharing the slots evenly
* `chosen`      given examples, best first, as a group of their own, which keeps a prefix when its share shrinks; `herd` ranks

Slots that are filled come first, so that drawing from them is an index into ``0..filled−1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ..core.errors import MethodError
from ..core.vector import double

__all__ = ["Memory", "balanced", "chosen", "herd", "opened", "placed", "reservoir", "ring", "stored"]


@final
@dataclass(frozen=True)
class Memory:
    """``slots[key]`` is ``[size + 1, ...]``; the last row takes what is not kept and is never read."""

    size: int
    slots: dict[str, Tensor]
    seen: int = 0  # examples offered so far; `ring`: to the present group
    groups: tuple[int, ...] = ()  # how many slots each group fills, in order; one group unless there are more

    @staticmethod
    def empty(size: int) -> Memory:
        """`size` slots that the first batch allocates."""
        if size < 0:
            raise MethodError(f"buffer_size {size}: expected 0 (no memory) or more")
        return Memory(size, {})

    @property
    def filled(self) -> int:
        return sum(self.groups)

    def take(self, index: Tensor) -> dict[str, Tensor]:
        """The slots `index`, ``[n]``."""
        return {key: slot.index_select(0, index) for key, slot in self.slots.items()}

    def sample(self, n: int, draws: torch.Generator, first: int | None = None) -> dict[str, Tensor]:
        """`n` slots drawn at random, with replacement, of the `first` so many; default of all that are filled."""
        among = self.filled if first is None else first
        index = torch.randint(among, (n,), generator=draws, device=draws.device)
        return self.take(index.to(next(iter(self.slots.values())).device))

    def group(self, k: int) -> dict[str, Tensor]:
        """The slots of one group."""
        start = sum(self.groups[:k])
        return {key: slot[start : start + self.groups[k]] for key, slot in self.slots.items()}

    def allocated(self, values: Mapping[str, Tensor]) -> Memory:
        """With slots of the shapes and dtypes of `values` ``[B, ...]``.

        Raises:
            MethodError: they are there already, of another shape or dtype.
        """
        if not self.slots:
            return replace(self, slots={k: v.new_zeros((self.size + 1, *v.shape[1:])) for k, v in values.items()})
        for key, value in values.items():
            slot = self.slots.get(key)
            got = f"{value.dtype} {list(value.shape[1:])}"
            if slot is None:
                raise MethodError(f"the memory holds no {key!r}, but this batch brings one: give it with every batch")
            if slot.shape[1:] != value.shape[1:] or slot.dtype != value.dtype:
                raise MethodError(
                    f"the memory holds {key!r} as {slot.dtype} {list(slot.shape[1:])}, and was offered {got}: bring all tasks' "
                    "examples to one shape and dtype"
                )
        return self

    def write(self, index: Tensor | slice, values: Mapping[str, Tensor]) -> None:
        for key, value in values.items():
            if isinstance(index, slice):
                self.slots[key][index] = value
            else:
                self.slots[key].index_copy_(0, index, value)

    def kept(self, index: Tensor, groups: tuple[int, ...]) -> Memory:
        """Only the slots `index`, at the front."""
        for key, rows in self.take(index).items():
            self.slots[key][: len(index)] = rows
        return replace(self, groups=groups)

    def larger(self, slots: int) -> Memory:
        """With `slots` more."""
        more = {k: torch.cat([v, v.new_zeros((slots, *v.shape[1:]))]) for k, v in self.slots.items()}
        return replace(self, size=self.size + slots, slots=more)

    def trimmed(self, quota: int) -> Memory:
        """With at most the first `quota` slots of each group."""
        if all(n <= quota for n in self.groups) or not self.slots:
            return self
        starts = [sum(self.groups[:k]) for k in range(len(self.groups))]
        index = torch.cat([torch.arange(s, s + min(n, quota)) for s, n in zip(starts, self.groups)])
        device = next(iter(self.slots.values())).device
        return self.kept(index.to(device), tuple(min(n, quota) for n in self.groups))


def _length(values: Mapping[str, Tensor]) -> int:
    return len(next(iter(values.values())))


def reservoir(memory: Memory, values: Mapping[str, Tensor], draws: torch.Generator) -> Memory:
    """The n-th example offered (counted with itself) is kept with probability size/n, in a slot drawn at random."""
    memory = memory.allocated(values)
    B, first, size = _length(values), memory.seen, memory.size
    after = replace(memory, seen=first + B, groups=(min(size, first + B),))
    if first + B <= size:
        memory.write(slice(first, first + B), values)
        return after
    device = draws.device
    n = torch.arange(first + 1, first + B + 1, device=device)
    slot = _below(n, draws)
    slot = torch.where(n <= size, n - 1, slot)
    later = (slot[:, None] == slot).triu(1).any(1)  # of two that fall into one slot the later stays
    memory.write(slot.masked_fill(later | (slot >= size), size).to(next(iter(values.values())).device), values)
    return after


def _below(n: Tensor, draws: torch.Generator) -> Tensor:
    """Uniform in 0..n−1 for each of ``n [B]``."""
    if draws.device.type == "cpu":
        return (torch.rand(len(n), generator=draws, dtype=torch.float64) * n).long()
    # a number in single precision would not reach all of 0..n−1 where n is large; the remainder of one below 2⁶² is uniform to 2⁻⁶² n
    return torch.randint(2**62, (len(n),), generator=draws, device=draws.device) % n


def balanced(memory: Memory, values: Mapping[str, Tensor], draws: torch.Generator) -> Memory:
    """A class holds a uniform sample of what it was offered, and none holds more than another that was offered as many. `values` has
    ``y``."""
    memory, _, slots, key = _offered(memory, values["y"], draws, None)
    return stored(memory, slots, {**values, "key": key})


def placed(
    memory: Memory, y: Tensor, draws: torch.Generator, per_class: int | None = None
) -> tuple[Memory, Tensor, Tensor, Tensor]:
    """Which of the examples with labels `y` ``[B]`` a balanced memory takes, before anything else of them is read: the memory as it
    will be filled, their rows ``[n]``, the slots that they get ``[n]``, and their keys ``[n]``.

    Each example gets a random key; kept are those with the smallest rank by key within their class, at most `per_class` of it.
    """
    memory, kept, slots, key = _offered(memory, y, draws, per_class)
    rows = kept.nonzero().flatten()
    return memory, rows, slots[rows], key[rows]


def _offered(
    memory: Memory, y: Tensor, draws: torch.Generator, per_class: int | None
) -> tuple[Memory, Tensor, Tensor, Tensor]:
    """Of each of B examples: whether it is kept, its slot (the row that is never read, where it is not), its key. Without `per_class` nothing
    is waited for."""
    B, size, held = len(y), memory.size, memory.filled
    kind = memory.slots["key"].dtype if "key" in memory.slots else double(y.device)
    key = torch.rand(B, generator=draws, dtype=kind, device=draws.device).to(y.device)
    keys, labels = key, y
    if held:
        keys, labels = torch.cat([memory.slots["key"][:held], key]), torch.cat([memory.slots["y"][:held], y])
    among = _smallest_ranks(keys, labels, size, per_class)
    stay, kept = among[:held], among[held:]
    # new ones go where others leave, then to the free slots
    free = torch.cat([stay.int().argsort(stable=True), torch.arange(held, size + B, device=y.device)])
    nth = kept.cumsum(0) - 1  # of those that are kept
    slots = free[torch.where(nth < held - stay.sum(), nth, nth + stay.sum()).clamp(min=0)]
    filled = min(size, held + B) if per_class is None else int(among.sum())
    return replace(memory, seen=memory.seen + B, groups=(filled,)), kept, torch.where(kept, slots, size), key


def stored(memory: Memory, slots: Tensor, values: Mapping[str, Tensor]) -> Memory:
    """With `values` in `slots`."""
    memory = memory.allocated(values)
    memory.write(slots, values)
    return memory


def _smallest_ranks(keys: Tensor, labels: Tensor, size: int, most: int | None) -> Tensor:
    """Which ``[N]`` are among the `size` of smallest rank by key within their class, ties by key; ranks from `most` on are not."""
    by_key = keys.argsort()
    order = by_key[labels[by_key].argsort(stable=True)]  # by class, then key
    sorted_labels = labels[order]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(sorted_labels, sorted_labels)
    best = by_key[rank[by_key].argsort(stable=True)][:size]  # by rank, then key
    kept = torch.zeros_like(keys, dtype=torch.bool).index_fill_(0, best, True)
    return kept if most is None else kept & (rank < most)


def opened(memory: Memory, quota: int | None = None) -> Memory:
    """A new group begins, to be filled by `ring`: each group may hold `quota` slots from now on, default an equal share.

    Raises:
        MethodError: there are more groups than slots.
    """
    count = len(memory.groups) + 1
    quota = memory.size // count if quota is None else quota
    if quota < 1:
        raise MethodError(
            f"a buffer_size of {memory.size} for {count} tasks: expected at least one example a task; raise buffer_size"
        )
    if memory.groups and memory.slots:
        last, seen = memory.groups[-1], memory.seen
        start = memory.filled - last
        order = torch.arange(memory.filled)
        # a ring that went round: latest first, so that a smaller share keeps the latest
        order[start:] = start + (seen - 1 - torch.arange(last)) % max(last, 1)
        memory = memory.kept(order.to(next(iter(memory.slots.values())).device), memory.groups).trimmed(quota)
    return replace(memory, seen=0, groups=(*memory.groups, 0))


def ring(memory: Memory, values: Mapping[str, Tensor], quota: int) -> Memory:
    """The present group's latest `quota` examples."""
    memory = memory.allocated(values)
    B, seen = _length(values), memory.seen
    past = memory.filled - memory.groups[-1]
    if quota < B:
        values, seen = {k: v[-quota:] for k, v in values.items()}, seen + B - quota
        B = quota
    device = next(iter(values.values())).device
    memory.write(past + (seen + torch.arange(B, device=device)) % quota, values)
    return replace(memory, seen=seen + B, groups=(*memory.groups[:-1], min(quota, seen + B)))


def chosen(memory: Memory, groups: Sequence[Mapping[str, Tensor]]) -> Memory:
    """New groups, each best example first; every group keeps an equal share of the slots.

    Raises:
        MethodError: there are more groups than slots.
    """
    count = len(memory.groups) + len(groups)
    quota = memory.size // count
    if quota < 1:
        raise MethodError(
            f"a buffer_size of {memory.size} for {count} classes: expected at least one example a class; raise buffer_size"
        )
    memory = memory.trimmed(quota)
    for values in groups:
        memory = memory.allocated(values)
        n, start = min(quota, _length(values)), memory.filled
        memory.write(slice(start, start + n), {k: v[:n] for k, v in values.items()})
        memory = replace(memory, seen=memory.seen + _length(values), groups=(*memory.groups, n))
    return memory


def herd(features: Tensor, n: int, renormalise: bool = False) -> Tensor:
    """The order ``[n]`` of examples whose running mean stays closest to the mean of all (iCaRL, arXiv 1611.07725, algorithm 4):

        p_k = argmin_x ‖ μ − 1/k (φ(x) + Σ_{j<k} φ(p_j)) ‖

    The equation leaves open whether μ, the mean of features of length 1, is brought to length 1 as well, as the classifier of the paper does
    with its means. The two variants choose other exemplars.

    Args:
        features: ``[N, d]``, as φ gives them.
        n: how many; at most N are given.
        renormalise: whether μ is brought to length 1.
    """
    mean = features.mean(0)
    if renormalise:
        mean = mean / mean.norm().clamp(min=torch.finfo(mean.dtype).tiny)
    features = features - mean  # far from the origin the squares below would be rounded
    left = features.new_zeros(features.shape[1])  # k μ − Σ_{j<k} φ(p_j), which φ(x) must meet; μ is the origin now
    square = features.square().sum(1)  # ‖φ(x)‖²; infinite where an example is taken
    taken = torch.full_like(square[:1], float("inf"))
    order = []
    for _ in range(min(n, len(features))):
        best = torch.addmv(square, features, left, alpha=-2).argmin()  # ‖left − φ(x)‖² less a constant: one product
        order.append(best)
        square.index_copy_(0, best[None], taken)
        left = left - features[best]
    return torch.stack(order) if order else torch.zeros(0, dtype=torch.int64, device=features.device)
