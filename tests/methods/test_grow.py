"""Growth on demand: when a network grows, and that all that is kept follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lifelong import GEM, SI, Grow, Independent, Learner, Replay, Training, chain
from lifelong.core.errors import MethodError
from lifelong.core.growth import Growth
from lifelong.core.method import Method
from lifelong.core.vector import Vector
from lifelong.nets import widen
from lifelong.nets.net2net import widenable
from lifelong.training.task_loop import train
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

LITTLE = Training(lr=0.003, momentum=0.9, batch_size=16)


def test_when_it_grows() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Grow(threshold=0.8, times=2, factor=1.5), stream, LITTLE)
    learner.enter(stream[0])
    context = learner.context(stream[0].train, stream[0])
    grow = learner.method
    assert grow.expand(learner.state, context, 0.8) == []
    first = grow.expand(learner.state, context, 0.79)
    assert [(g.kind, g.layer, g.size) for g in first] == [("wider", "0", 24), ("wider", "2", 24)]
    assert len({g.seed for g in first}) == 2
    learner.grow(first)
    context = learner.context(stream[0].train, stream[0])
    second = grow.expand(learner.state, context, 0.0)
    assert [g.size for g in second] == [36, 36]
    assert not {g.seed for g in first} & {g.seed for g in second}
    learner.grow(second)
    assert grow.expand(learner.state, context, 0.0) == []  # twice is enough


def test_a_growth_is_a_further_round_of_training_from_the_same_function() -> None:
    """What `Learner` does is: train, widen, train on in another order; by hand it comes to the same bits."""
    stream = toy_stream("domain", tasks=1)
    ours = toy_learner(Grow(threshold=1.0, noise=0.05), stream, LITTLE)
    ours.learn(stream[0])
    assert len(ours.growth) == 2
    hand = toy_learner(Method(), stream, LITTLE)
    hand.enter(stream[0])
    list(train(hand, stream[0].train, 6))
    hand.grow(ours.growth)
    assert hand.at is not None
    hand.at = replace(hand.at, epoch=0, chunk=0, step=0, round=1)
    list(train(hand, stream[0].train, 6))
    assert same(weights(ours.net), weights(hand.net))
    assert ours.parameters == sum(p.numel() for p in ours.net.parameters()) > 2 * 12 * 16


def test_gem_does_not_point_against_the_past_in_the_grown_network() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(chain(GEM(buffer_size=30), Grow(threshold=1.0, times=1)), stream, LITTLE)
    learner.learn(stream[0])
    learner.learn(stream[1])
    assert learner.growth
    learner.enter(stream[2])
    memory = learner.state[0].memory

    def gradient(x: torch.Tensor, y: torch.Tensor) -> Vector:
        loss = F.cross_entropy(learner.net(x), y)
        return Vector(learner.theta.names, torch.autograd.grad(loss, learner.theta.tensors))

    past = [gradient(memory.group(k)["x"], memory.group(k)["y"]) for k in (0, 1)]
    wish = past[0] * -1.0 + past[1] * 0.3
    assert float(wish.dot(past[0])) < 0
    with torch.no_grad():
        moved = learner.method.members[0].gradient(learner.state[0], wish.clone(), learner.stepper.context)
    cosines = [float(moved.dot(g) / (moved.dot(moved) * g.dot(g)).sqrt()) for g in past]
    assert min(cosines) > -1e-2, cosines  # the dual's ε leaves a product of −εv


@pytest.mark.parametrize("other", [Replay(40), SI(1.0), Independent()], ids=lambda m: m.name)
def test_what_others_keep_follows(other: Method) -> None:
    stream = toy_stream("task")
    learner = toy_learner(chain(other, Grow(threshold=1.0, times=1)), stream, LITTLE)
    before = [p.numel() for p in learner.net.parameters()]
    for task in stream:
        learner.learn(task)
    assert [p.numel() for p in learner.net.parameters()] > before
    assert all(0 <= a <= 1 for a, _, _ in learner.evaluate(stream))


def test_a_network_that_grows_by_itself_is_asked_by_name() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = toy_net(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

        def grow(self, operation: Growth):
            found = widen(self, operation.layer, operation.size, operation.seed)
            self.grown = operation
            return found

    stream = toy_stream("domain", tasks=1)
    learner = Learner(Own(), Grow(threshold=1.0, layers=("inner.2",)), LITTLE, scenario="domain")
    learner.learn(stream[0])
    assert learner.net.grown.size == 32
    with pytest.raises(MethodError, match="say which of its layers"):
        Learner(Own(), Grow(threshold=1.0), LITTLE, scenario="domain").learn(stream[0])


def test_what_cannot_grow_is_said_before_the_first_step() -> None:
    stream = toy_stream("domain", tasks=1)
    flat = Learner(nn.Sequential(nn.Linear(FEATURES, 3)), Grow(), LITTLE, scenario="domain")
    with pytest.raises(MethodError, match="it can widen none"):
        flat.learn(stream[0])
    assert flat.costs.forward == 0
    with pytest.raises(MethodError, match="cannot widen 7; it can widen 0, 2"):
        toy_learner(Grow(layers=("7",)), stream).learn(stream[0])
    with pytest.raises(MethodError, match="a factor above 1"):
        Grow(factor=1.0)
    assert widenable(toy_net(3)) == ("0", "2")
