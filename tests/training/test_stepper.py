"""The order of a method's slots and what they are told, the same in the library's loop and in anybody's; what becomes of a state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.core.contexts import Step, StepContext, TaskContext
from lifelong.core.growth import Growth, IndexMap
from lifelong.core.method import Method
from lifelong.core.objective import Classification, Measure, Objective, active_classes
from lifelong.core.segments import Batch, Segment
from lifelong.core.vector import Vector
from lifelong.loops.guard import protect
from lifelong.methods import Finetune
from lifelong.training.stepper import rates
from rehearsal_cases import step_context
from toys import same, toy_learner, toy_net, toy_stream, weights
from two_loops import STEP, TRAINING, Telling, guarded, steps

# --- order and contexts -------------------------------------------------------------------------------------------------


def test_the_order_of_slots_is_one_in_both_loops() -> None:
    stream = toy_stream("class", tasks=2, examples=32)
    own, theirs = Telling(), Telling()
    learner = toy_learner(own, stream, TRAINING)
    guard = guarded(theirs, stream)
    for task in stream:
        learner.learn(task)
        guard.begin(task.classes)
        steps(guard, task.train.x, task.train.y)
        guard.consolidate(task.train)
    called = [[name for name, _ in m.calls] for m in (own, theirs)]
    assert called[0] == [
        *(
            "init",
            "begin",
            "end",
            *[*STEP, "extra_passes"] * 2,
            "end",
        ),  # the first end is only tried, on a few examples
        *("begin", *[*STEP, "extra_passes"] * 2, "end"),
    ]
    assert [name for name in called[0] if name != "extra_passes"] == [
        "init",
        *called[1][called[1].index("begin") :],
    ]
    assert float(learner.state) == float(guard.state) == 2 * (1 + 2 * 2 + 1)
    assert learner.costs.forward == 4 * (32 + 5)
    assert learner.costs.backward == 4 * (32 + 7)


@pytest.mark.parametrize("loop", ["learner", "guard"])
def test_every_slot_of_a_tasks_steps_gets_one_context(loop: str) -> None:
    stream, method = toy_stream("class", tasks=2, examples=32), Telling()
    learner = toy_learner(method, stream, TRAINING)
    guard = guarded(method, stream) if loop == "guard" else None
    generators = []
    for k, task in enumerate(stream):
        method.calls.clear()
        if guard is None:
            learner.learn(task)
        else:
            guard.begin(task.classes)
            steps(guard, task.train.x, task.train.y)
            guard.consolidate(task.train)
        found = [c for name, c in method.calls if name in STEP]
        assert len(found) == 12
        assert {id(c) for c in found} == {id(found[0])}
        context: StepContext = found[0]
        net = learner.net if guard is None else guard.model
        assert context.net is net
        assert [id(t) for t in context.theta.tensors] == [id(p) for p in net.parameters()]
        assert context.costs is (learner if guard is None else guard).costs
        seen = torch.arange(6) < 3 * (k + 1)
        assert active_classes(context.objective) is None if k else torch.equal(active_classes(context.objective), seen)
        generators.append(context.generator)
        first, *_, last = [c for name, c in method.calls if name in ("begin", "end")]
        assert (first.index, first.seen) == (k, tuple(range(3 * (k + 1))))
        assert len(last.examples) == 32
        assert last.objective is context.objective
        assert last.trial is False
        if guard is None:
            assert (first.task, first.steps, first.epoch) == (task, 2, 2)
        else:
            assert (first.task, first.steps, first.epoch) == (None, None, None)
    assert generators[0] is not generators[1]  # each task has its own
    assert generators[0].initial_seed() != generators[1].initial_seed()


def test_what_is_not_overridden_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: Any, **more: Any) -> Any:
        raise AssertionError

    for name in (*STEP, "begin", "end", "resize", "extra_passes", "data", "grow", "expand", "predict"):
        monkeypatch.setattr(Method, name, never)
        for group in Method.__mro__[1:-1]:
            if name in vars(group):
                monkeypatch.setattr(group, name, never)
    assert Finetune().acts == frozenset()
    learner, stream = toy_learner(Finetune(), toy_stream("class"), TRAINING), toy_stream("class")
    learner.learn(stream[0])
    learner.evaluate(stream)


# --- the optimiser's step -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Doubling(Method):
    """Doubles gradients, in place or not, and writes down the steps."""

    name: ClassVar[str] = "doubling"
    in_place: bool = True
    seen: list[Step] = field(default_factory=list, compare=False)

    def gradient(self, state: None, grads: Vector, context: StepContext) -> Vector:
        return grads.mul_(2.0) if self.in_place else grads * 2.0

    def project(self, state: None, step: Step, context: StepContext) -> None:
        self.seen.append(Step(step.before.clone(), step.after.clone(), step.grads.clone(), step.rates))
        for p in step.after.tensors:
            p.clamp_(-0.2, 0.2)

    def track(self, state: None, step: Step, context: StepContext) -> None:
        assert all(bool((p.abs() <= 0.2).all()) for p in step.after.tensors)  # after the projection
        assert [id(p) for p in step.after.tensors] == [id(p) for p in context.theta.tensors]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_step_is_what_the_optimiser_did(in_place: bool) -> None:
    """`grads` are those of the loss, before any method changed them; the optimiser takes the changed ones."""
    stream, method = toy_stream("domain"), Doubling(in_place)
    guard = guarded(method, stream)
    net = toy_net(stream.outputs)
    plain = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    x, y = stream[0].train.x[:48], stream[0].train.y[:48]
    for rows in torch.arange(48).split(16):
        before = [p.detach().clone() for p in net.parameters()]
        plain.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        grads = [p.grad.clone() for p in net.parameters()]
        for p in net.parameters():
            p.grad.mul_(2.0)
        plain.step()
        steps(guard, x[rows], y[rows])
        step = method.seen[-1]
        for p, b, g, *given in zip(
            net.parameters(), before, grads, step.before.tensors, step.grads.tensors, step.after.tensors
        ):
            assert torch.equal(given[0], b)
            assert torch.equal(given[1], g)
            assert torch.equal(given[2], p.detach())
            with torch.no_grad():
                p.clamp_(-0.2, 0.2)
        assert step.rates == pytest.approx([0.05 / 0.1] * 6)
    assert same(weights(net), weights(guard.model))


def test_rates_are_what_a_constant_gradient_moves_in_the_long_run() -> None:
    net = toy_net(3)
    theta = Vector.of(net)
    some, others = list(net[0].parameters()), list(net[2].parameters())
    groups = [{"params": some, "lr": 0.2, "momentum": 0.5, "dampening": 0.1}, {"params": others, "lr": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    assert rates(optimizer, theta) == pytest.approx([0.2 * 0.9 / 0.5] * 2 + [0.3] * 2 + [0.0] * 2)
    p = nn.Parameter(torch.zeros(1))
    sgd, moved = torch.optim.SGD([{**groups[0], "params": [p]}]), 0.0
    for _ in range(60):
        p.grad, before = torch.ones(1), p.detach().clone()
        sgd.step()
        moved = float((before - p).detach())
    assert moved == pytest.approx(0.36, rel=1e-5)  # in single precision


def test_a_weight_without_gradient_stays_without_unless_a_method_pulls_it() -> None:
    """Momentum and decay act on zeros and pass over None."""

    @dataclass(frozen=True)
    class Touching(Method):
        name: ClassVar[str] = "touching"
        pulls: bool = False

        def gradient(self, state: None, grads: Vector, context: StepContext) -> Vector:
            assert not any(bool(g.any()) for g in grads.tensors[2:])  # what has none is given as zeros
            return grads.map(lambda g: g + 1.0) if self.pulls else grads

    for pulls in (False, True):
        net = nn.ModuleDict({"used": nn.Linear(4, 3), "idle": nn.Linear(4, 3)})
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        protect(net, optimizer, Touching(pulls))
        before = net["idle"].weight.detach().clone()
        net["used"](torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        assert (net["idle"].weight.grad is None) == (not pulls)
        assert torch.equal(net["idle"].weight, before) == (not pulls)


def test_a_gradient_of_other_examples() -> None:
    learner = toy_learner(Finetune(), toy_stream("class"), TRAINING)
    learner.learn(toy_stream("class")[0])
    context, task = step_context(learner), toy_stream("class")[0]
    x, y = task.train.x[:7], task.train.y[:7]
    with torch.no_grad():  # as in a slot
        found = context.gradient_of(Segment(x, y))
    active = active_classes(context.objective)
    loss = F.cross_entropy(learner.net(x).masked_fill(~active, float("-inf")), y)
    truth = torch.autograd.grad(loss, list(learner.net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found.tensors, truth))
    assert all(p.grad is None or not torch.equal(p.grad, g) for p, g in zip(learner.net.parameters(), truth))
    assert (context.costs.forward, context.costs.backward) == (7, 7)

    class Squares(Objective):
        measure: ClassVar[Measure] = Measure("squared error", higher_is_better=False)

        def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return (outputs - targets).square().sum(1)

    found = context.gradient_of(Segment(x, torch.zeros(7, 9), objective=Squares()))
    truth = torch.autograd.grad(learner.net(x).square().sum(1).mean(), list(learner.net.parameters()))
    for a, b in zip(found.tensors, truth):
        torch.testing.assert_close(a, b)


# --- a segment's own objective, in both loops ---------------------------------------------------------------------------
class Margin(Objective):
    """Another loss of the same labels."""

    measure: ClassVar[Measure] = Measure("accuracy")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.multi_margin_loss(outputs, targets, reduction="none")


@dataclass(frozen=True)
class Margins(Method):
    name: ClassVar[str] = "margins"

    def segments(self, state: None, batch: Batch, context: StepContext) -> Batch:
        return batch.mapped(lambda s: s._replace(objective=MARGIN))


MARGIN = Margin()


def test_a_method_may_hold_examples_to_another_loss() -> None:
    """What a criterion of its own was."""
    stream = toy_stream("domain", examples=48)
    x, y = stream[0].train.x, stream[0].train.y
    guard, net = guarded(Margins(), stream), toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for rows in torch.arange(48).split(16):
        optimizer.zero_grad()
        F.multi_margin_loss(net(x[rows]), y[rows]).backward()
        optimizer.step()
    steps(guard, x, y)
    for a, b in zip(guard.model.parameters(), net.parameters()):
        torch.testing.assert_close(a, b)


# --- growth -------------------------------------------------------------------------------------------------------------
def test_steps_after_a_growth_see_the_new_weights() -> None:
    @dataclass(frozen=True)
    class Wider(Telling):
        name: ClassVar[str] = "wider"

        def expand(self, state: Tensor, context: TaskContext, accuracy: float) -> list[Growth]:
            assert isinstance(context.objective, Classification)
            return [Growth("wider", "0", 24)] if context.net[0].out_features < 24 else []

        def resize(self, state: Tensor, mapping: IndexMap, theta: Vector) -> Tensor:
            self.calls.append(("resize", theta))
            return state

    method, stream = Wider(), toy_stream("class", examples=32)
    learner = toy_learner(method, stream, TRAINING)
    learner.learn(stream[0])
    names = [name for name, _ in method.calls]
    k = names.index("resize")
    before, after = (
        next(c for name, c in calls if name == "gradient") for calls in (method.calls[:k], method.calls[k:])
    )
    assert [len(c.theta["0.bias"]) for c in (before, after)] == [16, 24]
    assert after.generator is before.generator  # the task's draws go on
    assert torch.equal(active_classes(after.objective), active_classes(before.objective))
    assert [id(t) for t in after.theta.tensors] == [id(p) for p in learner.net.parameters()]
