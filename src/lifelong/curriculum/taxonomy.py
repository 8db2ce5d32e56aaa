"""Which tasks to learn from: a taxonomy of tasks, solved exactly (Taskonomy, Zamir et al. 2018, arXiv 1804.08328).

A transfer i ∈ E goes from one or several sources to a target; p_i says how well it serves the target. A source j ∈ V costs
ℓ_j to supervise, a target t counts r_t. The paper's Boolean program chooses x ∈ {0, 1}^(E+V):

    max Σ_i r_target(i) p_i x_i
    (I)    x_i ≤ x_j for each source j of transfer i       its sources are paid for
    (II)   Σ_{i: target(i) = t} x_i = 1                    one transfer a target
    (III)  Σ_j ℓ_j x_j ≤ γ                                 the budget of supervision

The paper writes (I) as one sum a transfer; one inequality a source says the same of whole numbers and leaves fewer fractions.

The p_i come from losses that are not comparable between tasks, so they are made ordinal by the analytic hierarchy process: for a
target, W_ij is the share of examples on which transfer i beats transfer j, and p is the principal eigenvector of
W'_ij = W_ij / W_ji, scaled to sum 1.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import DataError, nearest

__all__ = [
    "SELF",
    "Affinities",
    "Taxonomy",
    "Transfer",
    "ahp",
    "greedy",
    "random_taxonomy",
    "read_affinities",
    "solve",
    "win_rates",
]

SELF = "self"
"""The source that is the target's own network, trained on all of its examples."""


class Transfer(NamedTuple):
    """From `sources` to `target`. The source ``"self"`` is the target's own network."""

    sources: tuple[str, ...]
    target: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The tasks that must be supervised for it."""
        return tuple(dict.fromkeys(self.target if s == SELF else s for s in self.sources))

    @property
    def key(self) -> str:
        """``source__source__target``, as the published files write it."""
        return "__".join([*self.sources, self.target])

    @staticmethod
    def of(key: str) -> Transfer:
        """The transfer that a `key` names.

        Raises:
            DataError: it names none.
        """
        *sources, target = key.split("__")
        if not sources or not all((*sources, target)):
            raise DataError(f"transfer {key!r}: expected SOURCE__TARGET or SOURCE__SOURCE__TARGET")
        return Transfer(tuple(sources), target)


@final
@dataclass(frozen=True)
class Affinities:
    """How well transfers serve their targets: affinities `p`, and, where they were measured, the paper's *gain* (the share of
    examples on which a transfer beats a network trained from scratch on as few) and *quality* (on which it beats the task's
    own network, trained on all)."""

    p: Mapping[Transfer, float]
    gain: Mapping[Transfer, float]
    quality: Mapping[Transfer, float]

    def to_json(self) -> dict[str, Any]:
        """In the form of the published files: by ``source__target``."""
        parts = {"all_affinities": self.p, "wins_vs_pixels": self.gain, "wins_vs_task": self.quality}
        return {name: {t.key: v for t, v in values.items()} for name, values in parts.items()}


def read_affinities(path: str | Path) -> Affinities:
    """Affinities from a JSON file (also ``.gz``): ``{"all_affinities": {"a__b": p, ...}, "wins_vs_pixels": ...,
    "wins_vs_task": ...}``, or the first of these alone, ``{"a__b": p, ...}``. The word ``taskonomy`` means the published
    ones, in ``$LIFELONG_DATA/taskonomy/affinities.json.gz``.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    where = Path(path)
    if str(path) == "taskonomy":
        given = os.environ.get("LIFELONG_DATA")
        where = Path(given or "").expanduser() / "taskonomy" / "affinities.json.gz"
        if not given or not where.exists():
            raise DataError(
                f"the published affinities are not in {where if given else 'LIFELONG_DATA, which is not set'}: set "
                "LIFELONG_DATA to a folder that has taskonomy/affinities.json.gz in it (the result files of "
                "StanfordVL/taskonomy, written as JSON)"
            )
    try:
        content = where.read_bytes()
        tree = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"cannot read affinities from {where}: {error}; expected JSON, also in gzip, or the word 'taskonomy' for the published ones"
        ) from error
    wrong = DataError(f'{where}: expected {{"all_affinities": {{"a__b": number, ...}}}}; mend it, or name another file')
    if not isinstance(tree, dict) or not tree:
        raise wrong
    parts = tree if "all_affinities" in tree else {"all_affinities": tree}
    found = []
    for name in ("all_affinities", "wins_vs_pixels", "wins_vs_task"):
        values = parts.get(name, {})
        if not isinstance(values, dict) or not all(isinstance(v, int | float) for v in values.values()):
            raise wrong
        found.append({Transfer.of(key): float(v) for key, v in values.items()})
    return Affinities(*found)


@final
@dataclass(frozen=True)
class Taxonomy:
    """One transfer for each target, and the sources that are supervised for them.

    `bound` is what no taxonomy can exceed, as the solver proved it; NaN where nothing was proved.
    """

    transfers: tuple[Transfer, ...]
    sources: tuple[str, ...]
    objective: float
    bound: float = math.nan

    @property
    def before(self) -> frozenset[tuple[str, str]]:
        """Pairs of different tasks, a source and a target of it, of which the first is learnt before the second."""
        return frozenset((s, t.target) for t in self.transfers for s in t.needs if s != t.target)

    def mean(self, values: Mapping[Transfer, float]) -> float:
        """The mean of gains or qualities over the chosen transfers; NaN where one was not measured."""
        return float(np.mean([values.get(t, math.nan) for t in self.transfers]))


def solve(
    p: Mapping[Transfer, float],
    budget: float,
    *,
    cost: Mapping[str, float] | None = None,
    importance: Mapping[str, float] | None = None,
    targets: Iterable[str] | None = None,
    order: int | None = None,
) -> Taxonomy:
    """The taxonomy of the greatest Σ r p within a budget, exactly.

    Args:
        p: the affinity of each transfer.
        budget: γ, what the supervised sources may cost together.
        cost: ℓ of each source; 1 where nothing is said.
        importance: r of each target; 1 where nothing is said.
        targets: those that need a transfer; all that `p` has one for, if nothing is said.
        order: transfers of more sources than this are left out.

    Raises:
        DataError: a target without a transfer; a budget that reaches none of the choices (the message says the smallest that
            does); an affinity that is no number; a cost or an importance below 0, or of an unknown task.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program.of(p, cost, importance, targets, order)
    E, V = program.needs.shape
    i, j = program.needs.nonzero()
    rows = np.arange(len(i))
    sources = np.zeros((len(i), E + V))  # (I)
    sources[rows, i], sources[rows, E + j] = 1, -1
    one = np.zeros((len(program.targets), E + V))  # (II)
    one[program.target, np.arange(E)] = 1
    supervision = np.concatenate([np.zeros(E), program.cost])  # (III)

    unit = float(program.cost.max()) or 1.0  # the solver's tolerance is absolute, costs are as they are

    def best(c: NDArray[np.float64], limit: float) -> Any:
        # the solver stops at an absolute gap of 1e-6: on values of thousands that is nothing
        scale = 1e3 / max(float(np.abs(c).max()), 1e-300)
        found = milp(
            c * scale,
            integrality=np.ones(E + V),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(sources, ub=0),
                LinearConstraint(one, 1, 1),
                LinearConstraint(supervision[None] / unit, ub=limit / unit),
            ],
            options={"mip_rel_gap": 0.0},
        )
        return found, scale

    found, scale = best(np.concatenate([-program.value, np.zeros(V)]), budget)
    if found.x is None:
        least, _ = best(supervision, np.inf)
        paid = least.x[E:] > 0.5
        names = ", ".join(s for s, chosen in zip(program.sources, paid) if chosen)
        raise DataError(
            f"budget {budget:g}: too small to give each of {len(program.targets)} targets a transfer; the smallest that does is "
            f"{float(program.cost[paid].sum()):g} ({names})"
        )
    taxonomy = program.taxonomy(found.x[E:] > 0.5)
    assert taxonomy is not None
    return Taxonomy(taxonomy.transfers, taxonomy.sources, taxonomy.objective, -found.mip_dual_bound / scale)


def greedy(
    p: Mapping[Transfer, float],
    budget: float,
    *,
    cost: Mapping[str, float] | None = None,
    importance: Mapping[str, float] | None = None,
    targets: Iterable[str] | None = None,
    order: int | None = None,
) -> Taxonomy | None:
    """Sources taken bit by bit: always those that one transfer still lacks which reach most targets more, and then raise Σ r p most,
    for what they cost, as long as the budget lasts; None where that reaches no taxonomy. Takes and raises what `solve` does."""
    program = _Program.of(p, cost, importance, targets, order)
    lacks = np.unique(program.needs, axis=0)
    paid = np.zeros(len(program.sources), bool)
    while True:
        count, total = program.worth(paid)
        best, taken = (0.0, 0.0), None
        for more in lacks:
            then = paid | more
            price = float(program.cost[then & ~paid].sum())
            if program.cost[then].sum() <= budget * (1 + 1e-9):  # sums are rounded
                reached, value = program.worth(then)
                raised = (reached - count) / max(price, 1e-9), (value - total) / max(price, 1e-9)
                if raised > best:
                    best, taken = raised, then
        if taken is None:
            return program.taxonomy(paid)
        paid = taken


def random_taxonomy(
    p: Mapping[Transfer, float],
    budget: float,
    draws: np.random.Generator,
    *,
    order: int | None = None,
    best: bool = False,
    tries: int = 10_000,
) -> Taxonomy:
    """A feasible taxonomy at random: `budget` sources drawn alike, again until each target has a transfer from them, and then
    for each target one of its transfers, drawn alike or, with `best`, the best. Every source costs 1.

    Raises:
        DataError: what `solve` raises; or nothing feasible was found in so many tries.
    """
    program = _Program.of(p, None, None, None, order)
    count = min(int(budget), len(program.sources))
    for _ in range(tries):
        paid = np.zeros(len(program.sources), bool)
        paid[draws.permutation(len(paid))[:count]] = True
        if best:
            found = program.taxonomy(paid)
            if found is not None:
                return found
            continue
        usable = program.open(paid)
        choices = [usable[program.target[usable] == t] for t in range(len(program.targets))]
        if all(len(c) for c in choices):
            return program.made_of([int(draws.choice(c)) for c in choices])
    raise DataError(f"no {count} sources that reach every target were found in {tries} draws: raise the budget")


@final
@dataclass(frozen=True, eq=False)
class _Program:
    transfers: list[Transfer]
    targets: list[str]
    sources: list[str]
    value: NDArray[np.float64]  # [E] r p
    target: NDArray[np.int64]  # [E]
    needs: NDArray[np.bool_]  # [E, V]
    cost: NDArray[np.float64]  # [V]

    @staticmethod
    def of(
        p: Mapping[Transfer, float],
        cost: Mapping[str, float] | None,
        importance: Mapping[str, float] | None,
        targets: Iterable[str] | None,
        order: int | None,
    ) -> _Program:
        wanted = list(dict.fromkeys(t.target for t in p) if targets is None else dict.fromkeys(targets))
        transfers = [t for t in p if t.target in wanted and (order is None or len(t.sources) <= order)]
        served = {t.target for t in transfers}
        alone = [t for t in wanted if t not in served]
        if not wanted or alone:
            lacking = f"target {alone[0]!r} has no transfer" if alone else "there are no transfers"
            raise DataError(f"{lacking}: measure one (its own network counts, as {SELF!r}), or leave the target out")
        sources = list(dict.fromkeys(s for t in transfers for s in t.needs))
        for what, given, known in (("cost", cost, sources), ("importance", importance, wanted)):
            for name, value in (given or {}).items():
                if name not in known:
                    raise DataError(f"{what} of {name!r}: there is no such task{nearest(name, known)}")
                if not value >= 0:
                    raise DataError(f"{what} of {name!r} is {value}: expected 0 or more")
        bad = [t for t in transfers if not math.isfinite(p[t])]
        if bad:
            raise DataError(f"the affinity of {bad[0].key!r} is {p[bad[0]]}: expected a finite number")
        place = {s: j for j, s in enumerate(sources)}
        needs = np.zeros((len(transfers), len(sources)), bool)
        for i, t in enumerate(transfers):
            needs[i, [place[s] for s in t.needs]] = True
        return _Program(
            transfers,
            wanted,
            sources,
            np.array([(importance or {}).get(t.target, 1.0) * p[t] for t in transfers]),
            np.array([wanted.index(t.target) for t in transfers]),
            needs,
            np.array([(cost or {}).get(s, 1.0) for s in sources]),
        )

    def open(self, paid: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The transfers whose sources are all among these."""
        return np.flatnonzero(~(self.needs & ~paid).any(1))

    def worth(self, paid: NDArray[np.bool_]) -> tuple[int, float]:
        """How many targets these sources reach, and Σ r p of the best transfer to each."""
        best = np.full(len(self.targets), -np.inf)
        usable = self.open(paid)
        np.maximum.at(best, self.target[usable], self.value[usable])
        reached = best[best > -np.inf]
        return len(reached), float(reached.sum())

    def taxonomy(self, paid: NDArray[np.bool_]) -> Taxonomy | None:
        """The best with these sources, those that nothing needs left out; None where a target is not reached."""
        chosen: dict[int, int] = {}
        for i in self.open(paid):
            t = int(self.target[i])
            if t not in chosen or self.value[i] > self.value[chosen[t]]:
                chosen[t] = int(i)
        return self.made_of([chosen[t] for t in sorted(chosen)]) if len(chosen) == len(self.targets) else None

    def made_of(self, chosen: list[int]) -> Taxonomy:
        transfers = tuple(self.transfers[i] for i in chosen)
        needed = {s for t in transfers for s in t.needs}
        return Taxonomy(transfers, tuple(s for s in self.sources if s in needed), float(self.value[chosen].sum()))


# --- ordinal normalisation -----------------------------------------------------------------------------------------------
def win_rates(losses: ArrayLike) -> NDArray[np.float64]:
    """W ``[S, S]``: the share of n examples on which transfer i has a smaller loss than j, of `losses` ``[S, n]``.

    A tie is half a win for each. Laplace's rule (one more win and one more loss) keeps every share within 0 and 1, so that
    ratios exist; it is ours, the paper leaves open what becomes of a transfer that never wins. Shares are not clipped beyond that: with n
    examples a transfer that always wins has the share (n + 1) / (n + 2), and so the more weight the more examples there are.

    Raises:
        DataError: losses of another shape, none, or NaN.
    """
    D = np.asarray(losses, dtype=np.float64)
    if D.ndim != 2 or 0 in D.shape or np.isnan(D).any():
        raise DataError(f"losses of shape {list(D.shape)}: expected [transfers, examples], none of them empty or NaN")
    wins = np.stack([(row < D).sum(1) + 0.5 * (row == D).sum(1) for row in D])
    return np.asarray((wins + 1) / (D.shape[1] + 2))


def ahp(W: ArrayLike) -> NDArray[np.float64]:
    """p ``[S]``: the principal eigenvector of W'_ij = W_ij / W_ji, scaled to sum 1. If all shares are ties, 1/S each.

    Raises:
        DataError: W is not square, or a share is not within 0 and 1, both excluded.
    """
    W = np.asarray(W, dtype=np.float64)
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not len(W):
        raise DataError(f"win rates of shape {list(W.shape)}: expected [S, S], a row and a column for each transfer")
    if not ((W > 0) & (W < 1)).all():
        raise DataError(
            "a win rate is 0 or 1 (or NaN), whose ratio is not finite: smooth them, as win_rates(losses) does"
        )
    values, vectors = np.linalg.eig(W / W.T)
    first = np.abs(np.real(vectors[:, np.argmax(values.real)]))  # Perron: real, of one sign
    return np.asarray(first / first.sum())
