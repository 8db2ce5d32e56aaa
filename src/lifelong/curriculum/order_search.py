"""The order of tasks whose estimated transfer is best.

The estimate is a matrix R̂ in the shape of R: a network that has learnt o_1..o_m is for task i what the best of these tasks is, faded by each
task that came since,

    R̂[m, i] = max_{k ≤ m} γ^(m−k) A[o_k, i]

where A[s, t] is the affinity of s for t over the largest there is for t. The goal is R̂'s ACC, the accuracy at the end, or its FWT,
what is brought to each coming task; the two ask for different orders, since neighbours learnt one after another help each other and
leave the rest to fade. The estimate is ours and has one constant, γ = 0.5. Whether what it recommends is better has to be measured, and is,
in ``docs/results.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from ..core.errors import DataError
from ..measures.matrix import RMatrix
from .taxonomy import Affinities, Taxonomy

__all__ = ["Goal", "Order", "affinity_matrix", "best_order", "estimate", "recommend", "search"]

Goal = Literal["acc", "fwt"]
Order = tuple[int, ...]
FADE = 0.5
WIDTH = 16


def estimate(A: ArrayLike, order: Sequence[int], fade: float = FADE) -> RMatrix:
    """R̂ ``[T+1, T]``, columns in the order of learning, of affinities `A` ``[T, T]`` (source, target; 0..1)."""
    A = np.asarray(A, dtype=np.float64)[np.ix_(order, order)]
    R = np.zeros((len(A) + 1, len(A)))
    for m, row in enumerate(A):
        R[m + 1] = np.maximum(fade * R[m], row)
    return RMatrix(R)


def best_order(
    A: ArrayLike,
    goal: Goal = "acc",
    *,
    width: int = WIDTH,
    fade: float = FADE,
    before: Collection[tuple[int, int]] = (),
) -> Order:
    """The order of the greatest estimated ACC or FWT that a beam finds, of affinities `A` ``[T, T]`` (source, target).

    ACC is searched from the last task, which matters most, to the first; FWT from the first to the last.
    """
    A = np.asarray(A, dtype=np.float64)
    T = len(A)

    def kept(backwards: Order) -> float:
        return float(np.max([fade**k * A[i] for k, i in enumerate(backwards)], 0).mean())

    def brought(order: Order) -> float:
        return float(np.diagonal(estimate(A, order, fade).R[1:], offset=1).sum())

    if goal == "fwt":
        return search(brought, T, width=width, before=before)
    return search(kept, T, width=width, before=[(b, a) for a, b in before])[::-1]


def search(
    value: Callable[[Order], float], T: int, *, width: int = 1, before: Collection[tuple[int, int]] = ()
) -> Order:
    """The best order that a beam finds: all continuations of the `width` best beginnings, of which the best are kept, and so on.
    A width of 1 is the greedy choice.

    Args:
        value: how good an order is, or the beginning of one.
        T: of how many tasks.
        width: beginnings kept.
        before: pairs (a, b): a comes before b.

    Raises:
        DataError: `before` goes in a circle.
    """
    kept: list[Order] = [()]
    for _ in range(T):
        longer = [
            (*start, i)
            for start in kept
            for i in range(T)
            if i not in start and all(a in start for a, b in before if b == i)
        ]
        if not longer:
            raise DataError(f"the pairs {sorted(before)} go in a circle: no order has each first before its second")
        kept = sorted(longer, key=value, reverse=True)[:width]
    return kept[0]


def affinity_matrix(table: Affinities, tasks: Sequence[str]) -> NDArray[np.float64]:
    """A ``[T, T]``: the affinity of each task (row) for each (column), by single sources, over the largest of the column.

    Raises:
        DataError: a task has no affinity to or from any other.
    """
    T = len(tasks)
    A = np.zeros((T, T))
    for transfer, p in table.p.items():
        if len(transfer.needs) == 1 and transfer.target in tasks and transfer.needs[0] in tasks:
            s, t = tasks.index(transfer.needs[0]), tasks.index(transfer.target)
            A[s, t] = max(A[s, t], p)
    alone = [name for name, column in zip(tasks, A.T) if not column.any()]
    if alone:
        raise DataError(f"task {alone[0]!r} has no affinity: measure its transfers, or leave it out")
    return np.asarray(A / A.max(0))


def recommend(
    table: Affinities,
    taxonomy: Taxonomy | None,
    tasks: Sequence[str],
    goal: Goal = "acc",
    *,
    width: int = WIDTH,
    fade: float = FADE,
) -> Order:
    """The order of `tasks` whose estimated transfer is best, sources before targets. Where sources and targets of a taxonomy go in
    a circle, the circle's own order is left to the search.

    Raises:
        DataError: a task has no affinity to or from any other.
    """
    T, A = len(tasks), affinity_matrix(table, tasks)
    before = set()
    if taxonomy is not None:
        pairs = [(tasks.index(s), tasks.index(t)) for s, t in taxonomy.before if s in tasks and t in tasks]
        graph = np.zeros((T, T))
        for s, t in pairs:
            graph[s, t] = 1
        _, circle = connected_components(graph, connection="strong")
        before = {(s, t) for s, t in pairs if circle[s] != circle[t]}
    return best_order(A, goal, width=width, fade=fade, before=before)
