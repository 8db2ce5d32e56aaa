"""Slots may draw: a run that was resumed draws what the whole one draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from lifelong.core.contexts import Spec, Step, StepContext
from lifelong.core.method import Method
from lifelong.core.segments import Batch, Segment
from lifelong.core.vector import Vector
from lifelong.methods import EWC, Finetune, Replay
from lifelong.runs.checkpoint import Store
from toys import same, toy_learner, toy_net, toy_stream, weights
from two_loops import STEP, TRAINING, Telling, guarded, steps


@dataclass(frozen=True)
class Noisy(Method):
    """Draws in every slot of a step."""

    name: ClassVar[str] = "noisy"
    slots: tuple[str, ...] = (*STEP,)

    @property
    def acts(self) -> frozenset[str]:
        return frozenset({"init", *self.slots})

    def init(self, theta: Vector, spec: Spec) -> Vector:
        return theta.zeros()

    def segments(self, state: Vector, batch: Batch, context: StepContext) -> Batch:
        return batch.with_inputs(batch.x + 0.01 * torch.randn(batch.x.shape, generator=context.generator))

    def loss(self, state: Vector, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        return 0.01 * torch.rand((), generator=context.generator) * output.square().mean()

    def gradient(self, state: Vector, grads: Vector, context: StepContext) -> Vector:
        return grads.map(lambda g: g + 0.01 * torch.randn(g.shape, generator=context.generator))

    def project(self, state: Vector, step: Step, context: StepContext) -> None:
        for p in step.after.tensors:
            p.add_(0.001 * torch.randn(p.shape, generator=context.generator))

    def track(self, state: Vector, step: Step, context: StepContext) -> Vector:
        return state.map(lambda t: t + torch.randn(t.shape, generator=context.generator))

    def observe(self, state: Vector, new: Segment, output: Tensor, context: StepContext) -> Vector:
        return state.map(lambda t: t + torch.randn(t.shape, generator=context.generator))


EACH = pytest.mark.parametrize("slots", [*((s,) for s in STEP), tuple(STEP)], ids=lambda s: "+".join(s))


@EACH
@pytest.mark.parametrize("moment", ["between tasks", "within a task"])
def test_a_resumed_learner_draws_the_same(slots: tuple[str, ...], moment: str, tmp_path: Path) -> None:
    stream, method = toy_stream("class", examples=2100), Noisy(slots)
    training = replace(TRAINING, lr=0.01)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = toy_learner(method, stream, training)
    for task in stream:
        whole.learn(task)
    assert torch.equal(before, torch.get_rng_state())  # nothing of torch's own generator
    first = toy_learner(method, stream, training)
    first.learn(stream[0])
    if moment == "within a task":
        next(first.steps(stream[1]))
    Store(tmp_path).save(first.state_dict())
    second = toy_learner(method, stream, training)
    second.load_state_dict(Store(tmp_path).newest())
    while second.learnt < len(stream):
        second.learn(stream[second.learnt])
    assert same(weights(whole.net), weights(second.net))
    assert torch.equal(whole.state.flat(), second.state.flat())
    other = toy_learner(method, stream, training, seed=1)
    other.net.load_state_dict(toy_net(stream.outputs).state_dict())
    for task in stream:
        other.learn(task)
    assert not torch.equal(whole.theta.flat(), other.theta.flat()) or not torch.equal(
        whole.state.flat(), other.state.flat()
    )


@EACH
def test_a_resumed_guard_draws_the_same(slots: tuple[str, ...]) -> None:
    stream, method = toy_stream("domain", tasks=2), Noisy(slots)
    whole = guarded(method, stream)
    for task in stream:
        steps(whole, task.train.x, task.train.y)
        whole.consolidate(task.train)
    first = guarded(method, stream)
    steps(first, stream[0].train.x, stream[0].train.y)
    first.consolidate(stream[0].train)
    steps(first, stream[1].train.x[:48], stream[1].train.y[:48])
    second = guarded(method, stream)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    steps(second, stream[1].train.x[48:], stream[1].train.y[48:])
    second.consolidate(stream[1].train)
    assert same(weights(whole.model), weights(second.model))
    assert torch.equal(whole.state.flat(), second.state.flat())
    other = guarded(method, stream, seed=1)
    steps(other, stream[0].train.x, stream[0].train.y)
    assert not (same(weights(other.model), weights(toy_net(3))) and not bool(other.state.flat().any()))


def test_costs_go_on_from_what_was_spent_before() -> None:
    """As those of a search for an order do."""
    stream = toy_stream("domain", examples=32)
    learner = toy_learner(Telling(), stream, TRAINING)
    learner.costs = replace(learner.costs, forward=100, backward=10)
    learner.learn(stream[0])
    assert (learner.costs.forward, learner.costs.backward) == (100 + 2 * 37, 10 + 2 * 39)
    assert learner.stepper.context.costs is learner.costs


# --- resumed without a task ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", [Finetune(), Replay(20), EWC(1.0)], ids=lambda m: m.name)
def test_steps_that_come_one_by_one_resume_with_the_classes_that_were_seen(method: Method) -> None:
    """Three of nine outputs are active, before and after."""
    stream = toy_stream("class")
    x, y = stream[0].train.x, stream[0].train.y
    whole, first = toy_learner(method, stream, TRAINING), toy_learner(method, stream, TRAINING)
    for learner in (whole, first):
        for rows in torch.arange(48).split(16):
            learner.step(x[rows], y[rows])
    second = toy_learner(method, stream, TRAINING)
    second.load_state_dict(first.state_dict())
    for learner in (whole, second):
        for rows in torch.arange(48, 96).split(16):
            learner.step(x[rows], y[rows])
        learner.finish(stream[0].train)
    assert same(weights(whole.net), weights(second.net))
    assert same(whole.state_dict()["tensors"], second.state_dict()["tensors"])


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_task_that_was_left_in_the_middle_ends_as_one_that_was_resumed(scenario: Any) -> None:
    stream = toy_stream(scenario, examples=2100)
    first, second = toy_learner(EWC(1.0), stream, TRAINING), toy_learner(EWC(1.0), stream, TRAINING)
    next(first.steps(stream[0]))
    second.load_state_dict(first.state_dict())
    for learner in (first, second):
        learner.finish(stream[0].train)
    assert torch.equal(first.state.A.flat(), second.state.A.flat())
