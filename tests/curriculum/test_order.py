"""Orders: the search against every order, the estimate against a closed form, slopes against scipy, and a stream whose best order
is known by construction."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from lifelong import MLP, DataError, Finetune, MethodError, RunError, Training, fit
from lifelong.core.contexts import Costs
from lifelong.core.stream import Stream
from lifelong.curriculum.affinity import Probe, Transfers, measure
from lifelong.curriculum.order_effect import orders, slope, study
from lifelong.curriculum.order_rules import by_difficulty, from_transfers, learned, read_order
from lifelong.curriculum.order_search import Goal, affinity_matrix, best_order, estimate, recommend, search
from lifelong.curriculum.taxonomy import Affinities, Taxonomy, Transfer
from lifelong.streams import copying, turning
from lifelong.streams.turning import closed_form
from toys import toy_stream

NET = MLP((16,))
TRAINING = Training(lr=0.1, batch_size=16, epochs=2)


def test_orders() -> None:
    assert sorted(orders(3, 6)) == sorted(itertools.permutations(range(3)))
    assert len(orders(3, 100)) == 6
    some = orders(6, 20, seed=1)
    assert len(set(some)) == 20
    assert all(sorted(o) == list(range(6)) for o in some)
    assert some == orders(6, 20, seed=1) != orders(6, 20, seed=2)
    assert orders(1, 5) == [(0,)]
    assert len(orders(30, 2)) == 2
    with pytest.raises(MethodError, match="at least 1"):
        orders(3, 0)


# --- the search ---------------------------------------------------------------------------------------------------------------
matrices = st.integers(1, 5).flatmap(
    lambda T: st.lists(st.lists(st.floats(0, 1), min_size=T, max_size=T), min_size=T, max_size=T)
)


@given(matrices, st.floats(0, 1))
def test_the_estimate_is_its_definition(A: list[list[float]], fade: float) -> None:
    for order in itertools.islice(itertools.permutations(range(len(A))), 6):
        R = estimate(A, order, fade).R
        for m, i in itertools.product(range(1, len(A) + 1), range(len(A))):
            terms = [fade ** (m - k) * A[order[k - 1]][order[i]] for k in range(1, m + 1)]
            assert R[m, i] == pytest.approx(max(terms))


@settings(max_examples=40)
@given(matrices, st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4), st.sampled_from(["acc", "fwt"]))
def test_a_wide_beam_finds_the_best_of_all_orders(
    A: list[list[float]], pairs: set[tuple[int, int]], goal: Goal
) -> None:
    T = len(A)
    before = {(a, b) for a, b in pairs if a < b < T}  # no circle
    allowed = [o for o in itertools.permutations(range(T)) if all(o.index(a) < o.index(b) for a, b in before)]

    def worth(order: tuple[int, ...]) -> float:
        return 0.0 if T == 1 else float(getattr(estimate(A, order), goal))

    found = best_order(A, goal, width=math.factorial(T), before=before)
    assert found in allowed
    assert worth(found) == pytest.approx(max(map(worth, allowed)))
    assert best_order(A, goal, width=1, before=before) in allowed


def test_a_circle_has_no_order() -> None:
    with pytest.raises(DataError, match="circle"):
        search(len, 2, before=[(0, 1), (1, 0)])


def test_sources_come_before_targets_but_for_circles() -> None:
    names = ("a", "b", "c")
    p = {Transfer((s,), t): 0.1 if s != t else 0.8 for s in names for t in names}
    table = Affinities(p, {}, {})
    for source, target in itertools.permutations(names, 2):
        taxonomy = Taxonomy((Transfer((source,), target),), (source,), 1.0)
        order = [names[i] for i in recommend(table, taxonomy, names)]
        assert order.index(source) < order.index(target)
    circle = Taxonomy((Transfer(("a",), "b"), Transfer(("b",), "a"), Transfer(("c",), "a")), names, 1.0)
    order = [names[i] for i in recommend(table, circle, names)]
    assert order.index("c") < order.index("a")
    with pytest.raises(DataError, match="'d' has no affinity"):
        recommend(table, None, ("a", "d"))
    assert recommend(table, None, ("a",)) == (0,)


# --- a stream whose best order is known ---------------------------------------------------------------------------------------
LINEAR, WELL = MLP(()), Training(lr=0.1, batch_size=10, epochs=4, weight_decay=0.1)


def test_the_best_order_by_construction_is_found_and_is_best_when_run() -> None:
    stream = turning(tasks=4, degrees=50, seed=0, examples=250, test_examples=1000)
    angles = [stream.notes["degrees"][t.name] for t in stream]
    every = orders(4, 24)
    # forward transfer is best where neighbours follow one another
    truth = {o: closed_form([angles[i] for i in o]) for o in every}
    rising = tuple(np.argsort(angles).tolist())
    sweeps = {rising, rising[::-1]}
    ranked = sorted(every, key=lambda o: -truth[o].fwt)
    assert set(ranked[:2]) == sweeps
    assert {angles[i] for o in every for i in o[-1:] if truth[o].acc == max(t.acc for t in truth.values())} <= {50, 100}
    # the search, given what each task is worth for each, finds the best of all by forward transfer and by accuracy
    A = np.array([[closed_form([angles[s], angles[t]]).R[1, 1] for t in range(4)] for s in range(4)])
    assert best_order(A, "fwt", fade=0.0) in sweeps
    best = max(t.acc for t in truth.values())
    assert truth[best_order(A, "acc", fade=0.0)].acc == pytest.approx(best)
    # and when the orders are run, the matrices are those of the closed form
    ran = study(stream, every, Finetune(), LINEAR, WELL)
    for order, R in zip(every, ran.R[:, 0]):
        assert np.abs(R[1:] - truth[order].R[1:]).max() < 0.15
    # (FWT itself subtracts what the untrained network happens to answer)
    ahead = {o: np.diagonal(R[1:], offset=1).mean() for o, R in zip(every, ran.R[:, 0])}
    assert set(sorted(every, key=lambda o: -ahead[o])[:2]) == sweeps


def test_its_measured_transfers_are_largest_between_neighbours() -> None:
    stream = turning(tasks=4, degrees=50, seed=3)
    probe = Probe(few=20, how="finetune")
    A = affinity_matrix(measure(stream, LINEAR, WELL, probe).affinities, [t.name for t in stream])
    angles = np.array([stream.notes["degrees"][t.name] for t in stream])
    apart = np.abs(angles[:, None] - angles)
    assert (A.argmax(0) == np.arange(4)).all()  # most of all a task's own network
    assert A[apart == 50].mean() > A[apart == 100].mean() > A[apart == 150].mean()
    found = learned(stream, LINEAR, WELL, probe=probe, budget=4)
    assert sorted(found.order) == [0, 1, 2, 3]
    assert found.costs.forward > 0
    assert found(stream).tasks[0].name == stream[found.order[0]].name
    assert json.loads(found.to_json(stream, "learned"))["order"] == [stream[i].name for i in found.order]


# --- rules ----------------------------------------------------------------------------------------------------------------------
def hard_and_easy() -> Stream:
    """Blobs of which task 2's labels are half noise, task 3's all."""
    import dataclasses

    import torch

    stream = toy_stream("domain", examples=300)
    made = []
    for task, noise in zip(stream, (0.0, 0.5, 1.0)):
        y = task.train.labels.clone()
        n = int(noise * len(y))
        y[:n] = torch.randint(3, (n,), generator=torch.Generator().manual_seed(1))
        made.append(dataclasses.replace(task, train=dataclasses.replace(task.train, y=y)))  # type: ignore[type-var]
    return dataclasses.replace(stream, tasks=tuple(made))


def test_easy_and_hard_tasks_are_told_apart() -> None:
    stream = hard_and_easy().reorder([1, 2, 0])
    easy = by_difficulty(stream, NET, TRAINING)
    assert easy.order == (2, 0, 1)
    assert by_difficulty(stream, NET, TRAINING, hardest=True).order == (1, 0, 2)
    assert easy.costs.forward == easy.costs.backward == 3 * 240 * TRAINING.epochs
    assert easy.costs.train_seconds > 0


def test_files_of_orders(tmp_path: Path) -> None:
    names = ["one", "two words", "three"]
    path = tmp_path / "order.txt"
    path.write_text("three\none\n\ntwo words\n")
    assert read_order(path, names) == ((2, 0, 1), Costs())
    path.write_text(json.dumps({"order": ["one", "three", "two words"], "costs": {"forward": 7}}))
    assert read_order(path, names) == ((0, 2, 1), Costs(forward=7))
    for text, match in (("one\ntwo words", "once"), ("one\none\nthree", "once"), ("thre", "did you mean 'three'")):
        path.write_text(text)
        with pytest.raises(MethodError, match=match):
            read_order(path, names)
    for text in ('{"order": 3}', "{", '{"order": [], "costs": {"x": 1}}'):
        path.write_text(text)
        with pytest.raises(MethodError, match="easy-first"):
            read_order(path, names)
    with pytest.raises(MethodError, match="cannot read"):
        read_order(tmp_path / "absent", names)


def test_transfers_that_are_all_ties_still_give_an_order() -> None:
    names = ("a", "b", "c")
    pairs = itertools.product((*names, "self"), names)
    losses = {Transfer((s,), t): np.ones(5) for s, t in pairs}
    found = from_transfers(Transfers(names, losses, {n: np.ones(5) for n in names}, Costs()))
    assert sorted(found.order) == [0, 1, 2]


# --- the effect of order ------------------------------------------------------------------------------------------------------
@example([(0, 0.0), (0, 0.0), (1, 5e-324)])
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=3, max_size=30))
def test_slopes(points: list[tuple[int, float]]) -> None:
    x, y = np.array(points).T
    found = slope(x, y)
    if len(set(x)) == 1:
        assert math.isnan(found.mean)
        return
    if np.ptp(y) < 1e-150:  # smaller squares are 0, which the reference divides by
        assert found[:3] == pytest.approx((0, 0, 0), abs=1e-7)
        return
    theirs = stats.linregress(x, y)
    assert found.mean == pytest.approx(theirs.slope, abs=1e-9)
    assert found.sd == pytest.approx(theirs.stderr, abs=1e-7)
    assert found.half == pytest.approx(stats.t.ppf(0.975, len(x) - 2) * theirs.stderr, abs=1e-6)


def test_slopes_of_few_points() -> None:
    assert slope([0, 1], [0, 2])[:1] == (2.0,)
    assert math.isnan(slope([0, 1], [0, 2]).half)
    assert math.isnan(slope([1], [1]).mean)


def test_a_study_is_its_runs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    stream = toy_stream("domain")
    every = orders(3, 6)
    told: list[str] = []
    folder = tmp_path / "study"
    first = study(stream, every[:2], Finetune(), NET, TRAINING, seeds=(0, 1), folder=folder, tell=told.append)
    assert len(told) == 4
    for o, order in enumerate(every[:2]):
        for s in (0, 1):
            alone = fit(Finetune(), NET, stream.reorder(order), seeds=[s], training=TRAINING).matrix(seed=s)
            assert np.array_equal(first.R[o, s], alone.R)
    damaged = next((folder / "orders").glob("*.json"))
    damaged.write_text("{")
    told.clear()
    again = study(stream, every, Finetune(), NET, TRAINING, seeds=(0, 1), folder=folder, tell=told.append)
    assert told[0] == "3 of 12 were there already"
    assert np.array_equal(again.R[:2], first.R)
    assert again.values("acc").shape == (6, 2)
    assert again.over_orders("acc").n == 6
    with pytest.raises(RunError, match="another training"):
        study(stream, every, Finetune(), NET, Training(lr=0.2), folder=folder)
    with pytest.raises(DataError, match="expected each of"):
        study(stream, [(0, 0, 1)], Finetune(), NET, TRAINING)

    # what a task's place does, in words of the definition
    acc = again.values("acc").mean(1)
    for i, (name, wanted) in enumerate(again.wants().items()):
        places = [order.index(i) for order in every]
        assert wanted.mean == pytest.approx(stats.linregress(places, acc).slope)
        final = [again.R[o, :, -1, order.index(i)].mean() for o, order in enumerate(every)]
        assert again.own()[name].mean == pytest.approx(stats.linregress(places, final).slope)
    assert acc[again.ranked()[0]] == acc.max()
    assert acc[again.ranked()[-1]] == acc.min()
    between, within = again.spread("acc")
    assert between == pytest.approx(acc.std(ddof=1))
    assert within == pytest.approx(np.sqrt(np.mean([np.var(v, ddof=1) for v in again.values("acc")])))


def test_one_task_has_one_order() -> None:
    stream = toy_stream("domain").subset([1])
    found = study(stream, orders(1, 10), Finetune(), NET, TRAINING)
    assert found.orders == ((0,),)
    assert math.isnan(found.values("bwt")[0, 0])
    assert math.isnan(found.wants()["blobs 2"].mean)
    chosen = learned(stream, NET, TRAINING, probe=Probe(few=20))
    assert chosen.order == (0,)


# --- sequences of increasing length -----------------------------------------------------------------------------------
def test_copying_asks_for_what_stood_at_the_place() -> None:
    stream = copying((2, 5), symbols=3, seed=1, examples=50, test_examples=20)
    assert stream.shape == (6, 1)
    assert stream.outputs == 3 + 5
    for task, length in zip(stream, (2, 5)):
        for part, n in ((task.train, 50), (task.test, 20)):
            chunk = next(part.all())
            assert len(chunk.y) == n
            for story, answer in zip(chunk.x[..., 0].tolist(), chunk.y.tolist()):
                *rows, question = story
                shown = [word for word in rows if word]
                assert len(shown) == length
                assert rows[-length:] == shown, "the latest symbol stands in the row before the question"
                assert shown[question - 3 - 1] == answer + 1
    again = next(copying((5,), symbols=3, seed=1, examples=50)[0].train.all())
    assert torch.equal(again.x, next(stream[1].train.all()).x), "a length's sequences do not depend on the others'"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lengths": ()}, "lengths"),
        ({"lengths": (0, 2)}, "lengths"),
        ({"lengths": (3, 3)}, "each once"),
        ({"symbols": 1}, "two symbols"),
        ({"scenario": "class"}, "the scenario 'domain'"),
    ],
)
def test_copying_refuses(wrong: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        copying(**wrong)
