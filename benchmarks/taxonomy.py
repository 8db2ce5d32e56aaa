"""The taxonomy program on Taskonomy's published affinities (arXiv 1804.08328): 26 sources, 22 targets.

For budgets 1 to 22 and transfers of first and up to second order: the optimum, the mean gain and quality of its transfers, random
feasible taxonomies, and a greedy choice. Each optimum is verified by trying all 2^26 sets of sources, and by the solver's bound.
Two edges of a lecture are looked for: 3D edges and surface normals help point matching and reshading.

    LIFELONG_DATA=... python benchmarks/taxonomy.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import Benchmark, say
from lifelong.curriculum import figures as curricula
from lifelong.curriculum.taxonomy import Affinities, Taxonomy, Transfer, greedy, random_taxonomy, read_affinities, solve
from lifelong.report import figures

BUDGETS = range(1, 23)
DRAWN = (2, 5, 10)
RANDOM = 1000
EDGES = {"edge3d", "rgb2sfnorm"}


def every_set(p: Mapping[Transfer, float], order: int) -> NDArray[np.float64]:
    """The best objective with at most k sources, ``[V+1]``, found by trying all sets: each is a half of the sources A and a
    half B, and what a pair across the halves adds is laid over B for each A."""
    transfers = [t for t in p if len(t.sources) <= order]
    sources = list(dict.fromkeys(s for t in transfers for s in t.needs))
    targets = list(dict.fromkeys(t.target for t in transfers))
    halves = sources[: len(sources) // 2], sources[len(sources) // 2 :]
    best = []
    for half in halves:
        table = np.full((2 ** len(half), len(targets)), -np.inf)
        number = np.arange(len(table))
        for t in transfers:
            if set(t.needs) <= set(half):
                bits = sum(1 << half.index(s) for s in t.needs)
                k = targets.index(t.target)
                table[:, k] = np.where(number & bits == bits, np.maximum(table[:, k], p[t]), table[:, k])
        best.append(table)
    across = []
    for t in transfers:
        own = [s for s in t.needs if s in halves[0]]
        if 0 < len(own) < len(t.needs):
            a = sum(1 << halves[0].index(s) for s in own)
            b = sum(1 << halves[1].index(s) for s in t.needs if s in halves[1])
            across.append((a, b, targets.index(t.target), p[t]))
    A, B = best
    number = np.arange(len(B))
    size = np.array([n.bit_count() for n in range(len(B))])
    has = {b: number & b == b for _, b, _, _ in across}
    found = np.full(len(sources) + 1, -np.inf)
    columns = [np.ascontiguousarray(B[:, k]) for k in range(len(targets))]
    for a, row in enumerate(A):
        total = np.zeros(len(B))
        extra: dict[int, list[tuple[int, float]]] = {}
        for need, b, k, value in across:
            if a & need == need and value > row[k]:
                extra.setdefault(k, []).append((b, value))
        for k, column in enumerate(columns):
            reached = np.maximum(column, row[k])
            for b, value in extra.get(k, []):
                reached = np.where(has[b], np.maximum(reached, value), reached)
            total += reached
        for k in range(size.max() + 1):
            where = a.bit_count() + k
            found[where] = max(found[where], total[size == k].max())
    return np.maximum.accumulate(found)


def about(taxonomy: Taxonomy, table: Affinities) -> dict[str, object]:
    return {
        "objective": taxonomy.objective,
        "gain": taxonomy.mean(table.gain),
        "quality": taxonomy.mean(table.quality),
        "sources": list(taxonomy.sources),
        "transfers": [t.key for t in taxonomy.transfers],
    }


def chance(drawn: list[Taxonomy], table: Affinities) -> dict[str, Any]:
    """Means over taxonomies that were drawn."""
    keys = ("objective", "gain", "quality")
    return {"n": len(drawn), **{k: float(np.mean([about(t, table)[k] for t in drawn])) for k in keys}}


def row(table: Affinities, order: int, budget: int, tried: NDArray[np.float64], best: Taxonomy) -> dict[str, Any]:
    """What results/ holds of a budget: the optimum, and what it is held against."""
    quick = greedy(table.p, budget, order=order)
    draws = np.random.default_rng(budget)
    drawn = [random_taxonomy(table.p, budget, draws, order=order) for _ in range(RANDOM)]
    well = [random_taxonomy(table.p, budget, draws, order=order, best=True) for _ in range(RANDOM)]
    say(order, budget, f"{best.objective:.6f} {tried[budget]:.6f} {best.bound:.6f}")
    below = float(np.mean([t.objective < best.objective for t in drawn]))
    return {
        "optimum": about(best, table),
        "bound": best.bound,
        "every_set": tried[budget],
        "greedy": None if quick is None else about(quick, table),
        "random": {**chance(drawn, table), "below_optimum": below},
        "random_sources": {**chance(well, table), "best": max(t.objective for t in well)},
    }


def edge(table: Affinities, target: str, orders: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Where 3D edges and surface normals stand among what helps a target, and the budgets at which one of them is chosen."""
    first = sorted((t for t in table.p if t.target == target), key=lambda t: -table.p[t])
    single = [t for t in first if len(t.sources) == 1 and target not in t.needs]
    pair = next(t for t in first if set(t.sources) == EDGES)
    others = [t for t in first if target not in t.needs]
    chosen = {
        order: [
            budget
            for budget, row in rows.items()
            for key in row["optimum"]["transfers"]
            if Transfer.of(key).target == target and set(Transfer.of(key).needs) & EDGES
        ]
        for order, rows in orders.items()
    }
    return {
        "rank_among_single_sources": {s: [t.sources[0] for t in single].index(s) + 1 for s in ("edge3d", "rgb2sfnorm")},
        "single_sources": len(single),
        "rank_of_the_pair": others.index(pair) + 1,
        "transfers": len(others),
        "pair_gain": table.gain[pair],
        "pair_quality": table.quality[pair],
        "budgets_where_chosen": chosen,
    }


def picture(orders: dict[str, dict[str, Any]]) -> bytes:
    best = {f"budget {budget}": orders["2"][str(budget)]["optimum"] for budget in DRAWN}
    drawn = {
        name: Taxonomy(tuple(map(Transfer.of, t["transfers"])), tuple(t["sources"]), t["objective"])
        for name, t in best.items()
    }
    return figures.png(curricula.graphs(drawn))


def main() -> None:
    bench = Benchmark("taxonomy", __doc__, draws=True)
    if bench.said.draw:
        bench.picture("taxonomy.png", picture(bench.before()["orders"]))
        return
    table = read_affinities("taskonomy")
    orders: dict[str, dict[str, Any]] = {}
    for order in (1, 2):
        tried = every_set(table.p, order)
        best = {budget: solve(table.p, budget, order=order) for budget in BUDGETS}
        orders[str(order)] = {str(budget): row(table, order, budget, tried, best[budget]) for budget in BUDGETS}
    bench.picture("taxonomy.png", picture(orders))
    edges = {target: edge(table, target, orders) for target in ("point_match", "reshade")}
    bench.save(torch.get_num_threads(), orders=orders, edges=edges)


if __name__ == "__main__":
    main()
