"""The taxonomy: exact where every choice can be tried, and the hierarchy process on matrices whose eigenvector is known."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifelong.core.errors import DataError
from lifelong.curriculum.taxonomy import SELF, Transfer, ahp, greedy, random_taxonomy, read_affinities, solve, win_rates

NAMES = "abcdef"
Table = dict[Transfer, float]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Table, int, dict[str, float], dict[str, float]]:
    """A few transfers of first and second order, a budget, whole costs, whole importances."""
    tasks = NAMES[: draw(st.integers(2, 6))]
    targets = draw(st.lists(st.sampled_from(tasks), min_size=1, max_size=4, unique=True))
    choices = [(SELF,), *[(s,) for s in tasks], *itertools.combinations(tasks, 2)]
    p = {}
    for t in targets:
        for sources in draw(st.lists(st.sampled_from(choices), min_size=1, max_size=6, unique=True)):
            p[Transfer(sources, t)] = draw(st.integers(0, 8)) / 8
    cost = {s: float(draw(st.integers(0, 3))) for s in {s for t in p for s in t.needs}}
    importance = {t: float(draw(st.integers(0, 2))) for t in targets}
    return p, draw(st.integers(0, 8)), cost, importance


def brute_force(p: Table, budget: float, cost: dict[str, float], importance: dict[str, float]) -> float | None:
    """Every choice of one transfer a target, in words of the definition alone."""
    by_target = [[t for t in p if t.target == target] for target in {t.target for t in p}]
    found = [
        sum(importance[t.target] * p[t] for t in chosen)
        for chosen in itertools.product(*by_target)
        if sum(cost[s] for s in {s for t in chosen for s in t.needs}) <= budget
    ]
    return max(found, default=None)


@settings(max_examples=150)
@given(programs())
def test_the_program_is_solved_exactly(program: tuple[Table, int, dict[str, float], dict[str, float]]) -> None:
    p, budget, cost, importance = program
    best = brute_force(p, budget, cost, importance)
    if best is None:
        with pytest.raises(DataError, match="the smallest that does is") as refused:
            solve(p, budget, cost=cost, importance=importance)
        least = float(str(refused.value).split("the smallest that does is ")[1].split()[0])
        assert brute_force(p, least, cost, importance) is not None
        assert brute_force(p, least - 1, cost, importance) is None
        assert greedy(p, budget, cost=cost, importance=importance) is None
        return
    found = solve(p, budget, cost=cost, importance=importance)
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert found.bound == pytest.approx(best, abs=1e-6)
    assert {t.target for t in found.transfers} == {t.target for t in p}
    assert len(found.transfers) == len({t.target for t in p})
    assert set(found.sources) == {s for t in found.transfers for s in t.needs}
    assert sum(cost[s] for s in found.sources) <= budget
    quick = greedy(p, budget, cost=cost, importance=importance)
    if quick is not None:
        assert sum(cost[s] for s in quick.sources) <= budget
        assert quick.objective <= best + 1e-9


def test_an_affinity_far_below_the_solvers_gap_still_decides() -> None:
    p = {Transfer((s,), "t"): v for s, v in zip("abc", (1e-9, 3e-9, 2e-9))} | {Transfer((SELF,), "u"): 1.0}
    p |= {Transfer((s,), "u"): 0.5 for s in "abc"}
    assert solve(p, 1).transfers[0].sources == ("b",)


def test_pairs_are_used_only_where_both_sources_are_paid_for() -> None:
    p = {Transfer(("a",), "t"): 0.1, Transfer(("b", "c"), "t"): 0.9, Transfer((SELF,), "t"): 0.2}
    assert solve(p, 1).transfers == (Transfer((SELF,), "t"),)
    assert solve(p, 1).sources == ("t",)  # its own network is supervised too
    assert solve(p, 2).sources == ("b", "c")
    assert solve(p, 2, order=1).transfers == (Transfer((SELF,), "t"),)
    quick = greedy(p, 3)
    assert quick is not None
    assert quick.transfers == (Transfer(("b", "c"), "t"),)
    assert solve(p, 2).before == {("b", "t"), ("c", "t")}
    assert solve(p, 1).before == frozenset()


def test_one_task() -> None:
    p = {Transfer((SELF,), "only"): 1.0}
    assert solve(p, 1).sources == ("only",)
    with pytest.raises(DataError, match=r"smallest that does is 1 \(only\)"):
        solve(p, 0)


def test_what_cannot_be_solved_is_refused() -> None:
    p = {Transfer(("a",), "t"): 0.5}
    with pytest.raises(DataError, match="'u' has no transfer"):
        solve(p, 1, targets=["t", "u"])
    with pytest.raises(DataError, match="no transfers"):
        solve({}, 1)
    with pytest.raises(DataError, match="'t' has no transfer"):
        solve({Transfer(("a", "b"), "t"): 0.5}, 2, order=1)
    with pytest.raises(DataError, match="affinity of 'a__t' is nan"):
        solve({Transfer(("a",), "t"): float("nan")}, 1)
    with pytest.raises(DataError, match="no such task"):
        solve(p, 1, cost={"z": 1.0})
    with pytest.raises(DataError, match="0 or more"):
        solve(p, 1, importance={"t": -1.0})
    with pytest.raises(DataError, match="SOURCE__TARGET"):
        Transfer.of("alone")


@given(programs(), st.integers(0, 5), st.booleans())
def test_random_taxonomies_are_feasible(
    program: tuple[Table, int, dict[str, float], dict[str, float]], seed: int, best: bool
) -> None:
    p, budget, _, _ = program
    draws = np.random.default_rng(seed)
    try:
        found = random_taxonomy(p, budget, draws, best=best, tries=50)
    except DataError:
        return
    assert len(found.sources) <= budget
    assert sorted(t.target for t in found.transfers) == sorted({t.target for t in p})
    assert found.objective == pytest.approx(sum(p[t] for t in found.transfers))
    assert found.objective <= solve(p, budget).objective + 1e-9


# --- analytic hierarchy process -------------------------------------------------------------------------------------------
@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=8))
def test_a_consistent_matrix_gives_the_weights_it_was_made_of(given_: list[float]) -> None:
    w = np.array(given_)
    W = w[:, None] / (w[:, None] + w)  # W / Wᵀ = w_i / w_j
    assert ahp(W) == pytest.approx(w / w.sum(), rel=1e-6)


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_the_eigenvector_is_one(S: int, seed: int) -> None:
    losses = np.random.default_rng(seed).normal(size=(S, 7)) + np.arange(S)[:, None]
    W = win_rates(losses)
    p = ahp(W)
    ratio = (W / W.T) @ p / p
    assert ratio == pytest.approx(np.full(S, ratio[0]))
    assert ratio[0] >= S - 1e-9  # the principal one of a reciprocal matrix (Saaty)
    assert p.sum() == pytest.approx(1)
    assert (p > 0).all()


def test_win_rates_by_hand() -> None:
    W = win_rates([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]])  # a win, a tie, a loss
    assert pytest.approx(np.full((2, 2), 0.5)) == W
    W = win_rates([[0.0, 0.0], [1.0, 1.0]])
    assert pytest.approx(np.array([[0.5, 0.75], [0.25, 0.5]])) == W
    ties = ahp(win_rates(np.zeros((4, 9))))
    assert ties == pytest.approx(np.full(4, 0.25))


def test_win_rates_that_have_no_ratio() -> None:
    with pytest.raises(DataError, match="smooth"):
        ahp([[0.5, 1.0], [0.0, 0.5]])
    with pytest.raises(DataError, match=r"\[S, S\]"):
        ahp([[0.5, 0.5]])
    with pytest.raises(DataError, match="NaN"):
        win_rates([[float("nan")]])


# --- files ----------------------------------------------------------------------------------------------------------------
def test_files_in_the_published_form(tmp_path: Path) -> None:
    tree = {"all_affinities": {"a__t": 0.25, "a__b__t": 0.75}, "wins_vs_task": {"a__t": 0.1}}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(tree).encode()))
    (tmp_path / "plain.json").write_text(json.dumps(tree["all_affinities"]))
    found = read_affinities(tmp_path / "a.json")
    assert found.p == {Transfer(("a",), "t"): 0.25, Transfer(("a", "b"), "t"): 0.75}
    assert found.quality == {Transfer(("a",), "t"): 0.1}
    assert found == read_affinities(tmp_path / "a.json.gz")
    assert read_affinities(tmp_path / "plain.json").p == found.p
    (tmp_path / "b.json").write_text(json.dumps(found.to_json()))
    assert read_affinities(tmp_path / "b.json") == found


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"a__b": "x"}', b'{"all_affinities": 3}', b"\x80\x04]"])
def test_files_that_hold_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError):
        read_affinities(tmp_path / "x.json")


def test_published_affinities_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    with pytest.raises(DataError, match="StanfordVL"):
        read_affinities("taskonomy")


def test_published_affinities() -> None:
    given = Path(os.environ.get("LIFELONG_DATA", "")) / "taskonomy" / "affinities.json.gz"
    beside = Path(__file__).parents[3] / "shared" / "data" / "taskonomy" / "affinities.json.gz"
    found = next((path for path in (given, beside) if path.exists()), None)
    if found is None:
        pytest.skip("the published affinities are needed: taskonomy/affinities.json.gz in LIFELONG_DATA")
    table = read_affinities(found)
    assert len(table.p) == 814
    one = solve(table.p, 1, order=1)
    # with one source: it, for all targets (its own network where it is the target)
    every = {s for t in table.p for s in t.needs if len(t.sources) == 1}
    best = max(
        sum(
            max(v for t, v in table.p.items() if t.needs == (s,) and t.target == target)
            for target in {t.target for t in table.p}
        )
        for s in every
        if {t.target for t in table.p if t.needs == (s,)} == {t.target for t in table.p}
    )
    assert one.objective == pytest.approx(best)
    values = [solve(table.p, b).objective for b in range(1, 23)]
    assert values == sorted(values)
    assert solve(table.p, 5).objective >= solve(table.p, 5, order=1).objective
    random = random_taxonomy(table.p, 5, np.random.default_rng(0))
    assert random.objective < solve(table.p, 5).objective
