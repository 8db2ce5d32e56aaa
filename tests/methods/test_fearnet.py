"""FearNet's parts against their definitions, its sleep, and what it is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lifelong import Finetune, MethodError, RMatrix, Stream, Task, Tensors, Training, TrainingError, fit
from lifelong.core.objective import Classification
from lifelong.core.segments import Segment
from lifelong.methods import FearNet, NearestMean, NearestNeighbour
from lifelong.methods.fearnet import EPSILON, _drawn, nearness
from lifelong.nets.mirror import Mirror
from lifelong.training.learner import Learner
from toys import FEATURES, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(optimizer="adam", lr=0.01, batch_size=16, epochs=15)


def learnt(method: FearNet, tasks: int, stream: Stream | None = None) -> Learner:
    stream = stream or toy_stream("class", tasks=5, examples=150)
    learner = toy_learner(method, stream, TRAINING)
    for task in stream.tasks[:tasks]:
        learner.learn(task)
    return learner


def test_nearness_by_brute_force() -> None:
    g = torch.Generator().manual_seed(0)
    x, u, y = torch.randn(5, 3, generator=g), torch.randn(8, 3, generator=g), torch.tensor([0, 2, 2, 0, 3, 3, 3, 0])
    found = nearness(x, u, y, 5)
    for b in range(5):
        beta = [0.0] * 5
        for c in (0, 2, 3):
            beta[c] = 1 / (EPSILON + min(float((x[b] - u[j]).norm()) for j in range(8) if y[j] == c))
        assert found[b].tolist() == pytest.approx([v / sum(beta) for v in beta], rel=1e-4)


def test_the_loss_is_its_equation() -> None:
    learner = learnt(FearNet(input_weight=0.5, code_weight=0.2), 1)
    net = learner.net
    x, y = torch.randn(6, FEATURES), torch.tensor([0, 1, 2, 2, 1, 0])
    h1 = net.stages[0](x)
    h2 = net.stages[1](h1)
    back = net.decoder[0](h2).relu()
    expected = F.cross_entropy(net.head(h2)[:, :3], y)
    expected = (
        expected + 0.2 * (back - h1).square().sum(1).mean() + 0.5 * (net.decoder[1](back) - x).square().sum(1).mean()
    )
    learner.stepper.at(Classification())  # whatever the task's: all classes that either memory knows are active
    found = learner.stepper.loss(learner.stepper.batch(Segment(x, y)), net(x))
    torch.testing.assert_close(found, expected)
    assert torch.equal(net(x), net.head(h2))


def test_a_mirror_answers_as_its_network() -> None:
    net = toy_net(9)
    x = torch.randn(4, FEATURES)
    before = net(x)
    mirror = Mirror(net)
    assert torch.equal(mirror(x), before)
    assert [c.shape[1] for c in mirror.codes(x)] == [12, 16, 16]
    assert [c.shape[1] for c in mirror.decode(mirror.codes(x)[-1])] == [16, 12]
    with pytest.raises(MethodError, match="hidden one"):
        Mirror(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(MethodError, match="Linear layers only"):
        Mirror(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_statistics_are_those_of_the_codes() -> None:
    stream = toy_stream("class", examples=150)
    learner = learnt(FearNet(), 1, stream)
    x, y = stream[0].train.x, stream[0].train.y
    with torch.no_grad():
        codes = learner.net.eval().codes(x)[-1]
    for c in range(3):
        of = codes[y == c].numpy()
        torch.testing.assert_close(learner.state.means[c], torch.tensor(of.mean(0)))
        root = learner.state.roots[c]
        torch.testing.assert_close(root @ root.T, torch.tensor(np.cov(of.T)).float(), atol=1e-4, rtol=1e-3)
    drawn, labels = _drawn(learner.net, replace(learner.state, x=x), 4000)
    again = learner.net.codes(drawn)[-1]
    assert labels.bincount().tolist() == [4000] * 3
    assert again.shape == (12000, 16)


def test_between_sleeps_the_network_rests_and_examples_are_kept() -> None:
    stream = toy_stream("class", tasks=5, examples=150)
    learner = learnt(FearNet(every=3), 1, stream)
    before = weights(learner.net)
    for k, task in enumerate(stream.tasks[1:3], start=1):
        learner.learn(task)
        assert torch.equal(learner.state.x, torch.cat([t.train.x for t in stream.tasks[1 : k + 1]]))
        assert all(torch.equal(t, before[n]) for n, t in weights(learner.net).items())
    learner.learn(stream[3])  # the third session: it sleeps
    assert learner.state.x is None
    assert not len(learner.state.y)
    assert learner.state.known.nonzero().flatten().tolist() == list(range(12))
    assert not torch.equal(weights(learner.net)["stages.0.0.weight"], before["stages.0.0.weight"])


def test_it_remembers_through_recent_memory_and_sleep() -> None:
    stream = toy_stream("class", tasks=5, examples=150)
    free = fit(Finetune(), toy_net(stream.outputs), stream, training=TRAINING).matrix().acc
    learner = learnt(FearNet(every=2), 5, stream)  # two sleeps
    acc = np.mean([a for a, _, _ in learner.evaluate(stream)])
    assert acc > free + 0.3
    awake = learnt(FearNet(), 4, stream)  # three sessions in the recent memory
    scores = [a for a, _, _ in awake.evaluate(stream.tasks[:4])]
    assert min(scores) > 0.6


@pytest.mark.parametrize("reads", ["code", "input"])
def test_the_gate_knows_where_the_answer_is(reads: Literal["code", "input"]) -> None:
    stream = toy_stream("class", tasks=3, examples=150)
    learner = learnt(FearNet(gate=reads), 2, stream)
    width = {"code": learner.net.codes(torch.zeros(1, *stream.shape))[-1].shape[1], "input": stream.shape[0]}[reads]
    weight = next(t for t in learner.state.gate.weights.tensors if t.dim() == 2)
    assert weight.shape[1] == width
    for task, recent in ((stream[0], False), (stream[1], True)):
        answers = learner.predict(task.test.x)
        assert float(((answers >= 3) == recent).float().mean()) > 0.8


def test_one_example_of_a_class() -> None:
    stream = toy_stream("class", tasks=2)
    one = Task("one", Tensors(stream[1].train.x[:1], stream[1].train.y[:1]), stream[1].test, (3, 4, 5))
    learner = learnt(FearNet(every=1), 1, stream)
    learner.learn(replace(one, index=1))
    assert torch.isfinite(learner.state.roots).all()
    assert set(learner.predict(stream[0].test.x).tolist()) <= set(range(6))


def test_codes_that_are_no_numbers() -> None:
    stream = toy_stream("class")
    learner = learnt(FearNet(), 1, stream)
    with torch.no_grad():
        for p in learner.net.parameters():
            p.fill_(1e30)  # finite, and what they make of an input is not
    state = replace(learner.state, x=stream[0].train.x, y=stream[0].train.y)
    with pytest.raises(TrainingError, match="grows from sleep to sleep"):
        learner.method._consolidated(state, learner.net)


@pytest.mark.parametrize("constant", ["every", "gate_steps"])
def test_constants_out_of_range(constant: str) -> None:
    with pytest.raises(MethodError, match=constant):
        FearNet(**{constant: 0})


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_nearest_by_brute_force(scenario: str) -> None:
    stream = toy_stream(scenario)
    train = [(x, int(y)) for task in stream for x, y in zip(task.train.x, task.train.y)]
    for method in (NearestMean(), NearestNeighbour()):
        learner = toy_learner(method, stream, TRAINING)
        for task in stream:
            learner.learn(task)
        classes = sorted({y for _, y in train})
        for task in stream:
            allowed = task.classes if scenario == "task" else classes
            for x, answer in zip(task.test.x[:10], learner.predict(task.test.x[:10], task)):
                if method.name == "nearest_mean":
                    means = {c: torch.stack([u for u, y in train if y == c]).mean(0) for c in allowed}
                    best = min(allowed, key=lambda c: float((x - means[c]).norm()))
                else:
                    best = min((float((x - u).norm()), y) for u, y in train if y in allowed)[1]
                assert int(answer) == best


def test_omega_by_hand() -> None:
    """Three sessions, the first of two classes: of 4 classes the base has half."""
    R = RMatrix(np.array([[0, 0, 0], [0.9, 0, 0], [0.8, 0.7, 0], [0.6, 0.5, 0.4]]))
    base, new, every = R.omega(0.8, sizes=[2, 1, 1])
    assert base == pytest.approx((0.8 + 0.6) / 0.8 / 2)
    assert new == pytest.approx((0.7 + 0.4) / 2)
    assert every == pytest.approx(((2 * 0.8 + 0.7) / 3 + (2 * 0.6 + 0.5 + 0.4) / 4) / 0.8 / 2)


def test_what_the_gate_reads_is_one_of_two() -> None:
    with pytest.raises(MethodError, match="fearnet: gate 'inputs': expected one of 'code', 'input'"):
        toy_learner(FearNet(gate="inputs"), toy_stream("class"))  # type: ignore[arg-type]
