"""Measures of learning while it goes on, against cases worked by hand; and a run that is measured within its tasks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong.cli import main
from lifelong.core import state_io as tree
from lifelong.core.errors import DataError, MethodError, RunError
from lifelong.measures.online import Trace, anytime, faded, gaps, min_acc, prequential, wc_acc, windowed
from lifelong.methods import EWC, Finetune, JointOnce, Replay
from lifelong.runs.checkpoint import Store
from lifelong.runs.fitting import fit
from lifelong.runs.run import Job
from lifelong.runs.spec import RunSpec
from lifelong.runs.stream_loop import follow
from lifelong.streams import turning
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from lifelong.training.test_then_train import test_then_train
from toys import same, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)


# --- by hand -------------------------------------------------------------------------------------------------------------
def test_answers_one_after_another() -> None:
    hits = [1, 0, 0, 1]
    np.testing.assert_allclose(prequential(hits), [1, 1 / 2, 1 / 3, 2 / 4])
    np.testing.assert_allclose(windowed(hits, 2), [1, 1 / 2, 0, 1 / 2])
    np.testing.assert_allclose(windowed(hits, 9), prequential(hits))
    np.testing.assert_allclose(faded(hits, 0.5), [1, 0.5 / 1.5, 0.25 / 1.75, 1.125 / 1.875])
    np.testing.assert_allclose(faded(hits, 1.0), prequential(hits))
    with pytest.raises(DataError, match="window 0"):
        windowed(hits, 0)
    with pytest.raises(DataError, match="alpha 0"):
        faded(hits, 0.0)


def by_hand() -> Trace:
    """Three tasks, measured at steps 1, 2 (the end) of each."""
    trace = Trace(1)
    rows = [[0.5], [0.9], [0.3, 0.4], [0.8, 0.7], [0.6, 0.2, 0.5], [0.7, 0.6, 0.8]]
    for i, row in enumerate(rows):
        trace.add(i // 2, i % 2 + 1, [(a, 10, 0.25) for a in [*row, 0.1]], cost=i % 2 == 0)
    return trace


def test_measures_within_tasks_by_hand() -> None:
    trace = by_hand()
    assert trace.tasks == 3
    assert [trace.end(k) for k in range(3)] == [1, 3, 5]
    # task 1: lowest 0.3 since its end; task 2: lowest 0.2
    assert min_acc(trace) == pytest.approx((0.3 + 0.2) / 2)
    assert wc_acc(trace) == pytest.approx(0.8 / 3 + 2 / 3 * (0.3 + 0.2) / 2)
    means = [0.5, 0.9, 0.35, 0.75, (0.6 + 0.2 + 0.5) / 3, 2.1 / 3]
    assert anytime(trace) == pytest.approx(sum(means) / 6)
    found = {(g.during, g.on): (g.before, g.lowest, g.after) for g in gaps(trace)}
    assert found == {(1, 0): (0.9, 0.3, 0.8), (2, 0): (0.8, 0.6, 0.7), (2, 1): (0.7, 0.2, 0.6)}
    first = gaps(trace)[0]
    assert (first.lost, first.regained) == (pytest.approx(0.6), pytest.approx(0.5))
    assert sum(trace.seconds) == pytest.approx(0.25 * (1 + 2 + 3))
    with pytest.raises(DataError, match="task 3"):
        trace.end(3)


def test_at_tasks_ends_only_it_is_the_matrix() -> None:
    run = fit(Finetune(), toy_net(9), toy_stream("task"), training=TRAINING, evaluate_every=10**6)
    trace = run.records[Job("finetune", 0)].trace
    assert trace is not None
    assert len(trace.task) == 3
    assert wc_acc(trace) == pytest.approx(run.matrix().worst_case)
    assert run.measures(Job("finetune", 0))["wc_acc"] == pytest.approx(run.matrix().worst_case)


# --- a run -----------------------------------------------------------------------------------------------------------------
def test_measuring_within_tasks_changes_nothing() -> None:
    """The same weights, and moments that a loop by hand finds as well."""
    stream = toy_stream("class")
    plain, watched = toy_learner(Replay(20), stream, TRAINING), toy_learner(Replay(20), stream, TRAINING)
    follow(plain, stream)
    record = follow(watched, stream, spec=RunSpec(evaluate_every=5))
    assert same(weights(plain.net), weights(watched.net))
    trace = record.trace
    assert trace is not None
    assert [(t, s) for t, s in zip(trace.task, trace.step)][:4] == [(0, 5), (0, 11), (0, 12), (1, 5)]
    assert [len(a) for a in trace.accuracy] == [t + 1 for t in trace.task]
    again = toy_learner(Replay(20), stream, TRAINING)
    again.learn(stream[0])
    again.every = 5
    at_five = None
    for pause in again.steps(stream[1]):
        if pause.step == 5:
            at_five = [a for a, _, _ in again.evaluate(stream.tasks[:2])]
    assert trace.accuracy[3] == at_five
    assert trace.seconds[2] == 0.0
    assert trace.seconds[0] > 0.0


def test_a_run_goes_on_within_a_task(tmp_path: Path) -> None:
    stream = toy_stream("class")
    whole = follow(toy_learner(Replay(20), stream, TRAINING), stream, spec=RunSpec(evaluate_every=3))
    stops = iter([False] * 5 + [True])
    with pytest.raises(KeyboardInterrupt):
        follow(
            toy_learner(Replay(20), stream, TRAINING),
            stream,
            Store(tmp_path),
            RunSpec(evaluate_every=3),
            stop=lambda: next(stops),
        )
    with pytest.raises(RunError, match="begun with evaluate_every 3, not 4"):
        follow(toy_learner(Replay(20), stream, TRAINING), stream, Store(tmp_path), spec=RunSpec(evaluate_every=4))
    record = follow(toy_learner(Replay(20), stream, TRAINING), stream, Store(tmp_path), spec=RunSpec(evaluate_every=3))
    assert whole.trace is not None
    assert record.trace is not None
    assert (record.trace.task, record.trace.step) == (whole.trace.task, whole.trace.step)
    assert record.trace.accuracy == whole.trace.accuracy
    assert record.accuracy[1:] == whole.accuracy[1:]


def test_a_run_of_the_command_line(tmp_path: Path) -> None:
    args = [
        "run",
        "--stream",
        "rotated",
        "--stream.tasks",
        "2",
        "--stream.examples",
        "200",
        "--stream.test_examples",
        "100",
        "--stream.source",
        "digits",
    ]
    args += [
        "--method",
        "finetune,replay",
        "--epochs",
        "1",
        "--net.hidden",
        "16",
        "--seeds",
        "2",
        "--evaluate_every",
        "3",
        "--out",
    ]
    assert main([*args, str(tmp_path / "run")]) == 0
    with open(tmp_path / "run" / "within.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["method"], r["seed"]) for r in rows} == {(m, s) for m in ("finetune", "replay") for s in ("0", "1")}
    moments = [(r["task"], r["step"], r["on"]) for r in rows if r["method"] == "replay" and r["seed"] == "1"]
    assert moments[:3] == [("1", "3", "1"), ("1", "6", "1"), ("1", "7", "1")]
    assert moments[3:5] == [("2", "3", "1"), ("2", "3", "2")]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["methods"]["replay"]
    assert 0 < summary["min_acc"]["mean"] < 1
    assert summary["anytime_accuracy"]["n"] == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Within tasks" in page
    assert "WC-ACC" in page
    (tmp_path / "run" / "within.csv").write_text("method,seed\nreplay,0\n")
    with pytest.raises(SystemExit):
        raise SystemExit(main(["report", str(tmp_path / "run")]))


def test_what_cannot_be_is_said() -> None:
    stream = toy_stream("class")
    with pytest.raises(MethodError, match="evaluate_every 0"):
        follow(toy_learner(Finetune(), stream), stream, spec=RunSpec(evaluate_every=0))
    run = fit(JointOnce(), toy_net(9), stream, training=TRAINING, evaluate_every=5)
    assert np.isnan(run.measures(Job("joint_once", 0))["min_acc"])


# --- without boundaries ----------------------------------------------------------------------------------------------------
def test_then_training_is_a_loop() -> None:
    """What is answered before it is learnt, in a loop written by hand; the learner hears of no task."""
    stream = turning(tasks=3, examples=60)
    training = Training(lr=0.1, batch_size=10)
    learner = Learner(torch.nn.Sequential(torch.nn.Linear(2, 2)), Finetune(), training, scenario="domain")
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    net.load_state_dict(learner.net.state_dict())
    hits = test_then_train(learner, stream)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    by_hand = []
    for task in stream:
        for x, y in zip(task.train.x.split(10), task.train.y.split(10)):
            by_hand.append(net(x).argmax(1) == y)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert hits.tolist() == torch.cat(by_hand).tolist()
    assert learner.learnt == 0
    assert same(weights(net), weights(learner.net))


def test_recurring_tasks_are_learnt_faster_with_a_memory() -> None:
    """Two directions in turn, four times: one network that remembers both is right more often just after a switch."""
    pair = turning(tasks=2, degrees=150, radius=3.0, examples=200)
    stream = pair.subset([0, 1, 0, 1, 0, 1])
    after_switch = {}
    for method in (Finetune(), Replay(100, batch_size=20)):
        net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        learner = Learner(net, method, Training(lr=0.1, batch_size=10), scenario="domain")
        hits = test_then_train(learner, stream)
        after_switch[method.name] = np.mean([hits[k * 200 : k * 200 + 40].mean() for k in range(2, 6)])
        assert windowed(hits, 100)[-1] > 0.5
    assert after_switch["replay"] != after_switch["finetune"]


def test_new_classes_begin_tasks_and_outputs_grow() -> None:
    stream = toy_stream("class")
    learner = Learner(toy_net(1), Replay(30), Training(lr=0.05, batch_size=8), scenario="class", grows=True)
    hits = test_then_train(learner, stream)
    assert hits[0] == False  # noqa: E712 (nothing was known)
    assert learner.seen == tuple(range(9))
    assert learner.spec is not None
    assert learner.spec.outputs == 9
    assert learner.at is not None
    learner.finish()
    assert learner.at is None


def test_steps_survive_saving(tmp_path: Path) -> None:
    stream = toy_stream("class", tasks=1)
    x, y = stream[0].train.x, stream[0].train.y
    whole = toy_learner(Replay(20), stream, TRAINING, dropout=0.3)
    first = toy_learner(Replay(20), stream, TRAINING, dropout=0.3)
    for i in range(0, 96, 8):
        whole.step(x[i : i + 8], y[i : i + 8])
        first.step(x[i : i + 8], y[i : i + 8])
        if i == 40:
            Store(tmp_path).save(first.state_dict())
            first = toy_learner(Replay(20), stream, TRAINING, dropout=0.3)
            saved = Store(tmp_path).newest()
            assert saved is not None
            first.load_state_dict(saved)
    assert same(weights(whole.net), weights(first.net))
    assert tree.nbytes(whole.state) == tree.nbytes(first.state)


def test_finish_is_a_tasks_end() -> None:
    """EWC in steps, told where a task ends, is EWC in tasks of one pass in that order."""
    stream = toy_stream("domain", tasks=2)
    steps = toy_learner(EWC(5.0), stream, Training(lr=0.05, batch_size=96))
    whole = toy_learner(EWC(5.0), stream, Training(lr=0.05, batch_size=96))
    for task in stream:
        steps.step(task.train.x, task.train.y)
        steps.finish(task.train)
        whole.learn(task)  # one batch: its order moves a sum's last bits only
    for a, b in zip(weights(steps.net).values(), weights(whole.net).values()):
        torch.testing.assert_close(a, b)
