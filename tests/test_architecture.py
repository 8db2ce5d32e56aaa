"""The hard cases of the field, sketched in the slots: what the design must be able to say.

A projection of gradients (GEM), a classifier of its own at prediction (iCaRL), columns that are added and frozen (Progressive
Networks), a network that widens when it is not good enough (Net2Net), importance without labels, and a generator that is
trained beside the solver. Sketches: the methods themselves come with their own files and their own oracles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.core.chain import chain
from lifelong.core.contexts import Spec, StepContext, TaskContext
from lifelong.core.growth import Growth, IndexMap
from lifelong.core.method import Method
from lifelong.core.objective import Labels, Measure, Objective
from lifelong.core.segments import Batch, Segment
from lifelong.core.stream import Task
from lifelong.core.vector import Vector
from lifelong.methods import EWC
from lifelong.parts.quadratic import Quadratic
from lifelong.parts.sensitivity import sensitivity
from lifelong.runs.checkpoint import Store
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights


# --- GEM: a projection of gradients -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kept:
    x: list[Tensor]
    y: list[Labels]


@dataclass(frozen=True)
class GEM(Method):
    """g' = g + Gᵀv, v ≥ 0 by coordinate descent on the t × t Gram matrix."""

    name: ClassVar[str] = "gem"
    slots_each: int = 16

    def init(self, theta: Vector, spec: Spec) -> Kept:
        return Kept([], [])

    def end(self, state: Kept, context: TaskContext) -> Kept:
        chunk = next(context.examples.all(self.slots_each))
        own = context.objective.own(chunk.y)  # with the outputs that are active for them
        assert isinstance(own, Labels)
        return Kept([*state.x, chunk.x], [*state.y, own])

    def gradient(self, state: Kept, grads: Vector, context: StepContext) -> Vector:
        if not state.x:
            return grads
        G = torch.stack([context.gradient_of(Segment(x, y)).flat() for x, y in zip(state.x, state.y)])
        g = grads.flat()
        gram, v = G @ G.T, torch.zeros(len(G))
        for _ in range(200):
            for i in range(len(G)):
                v[i] = (v[i] - (gram[i] @ v + G[i] @ g) / gram[i, i].clamp(min=1e-12)).clamp(min=0)
        return grads.like(g + v @ G)


def test_gem_never_points_against_a_past_task() -> None:
    stream = toy_stream("task")
    learner = toy_learner(GEM(), stream, Training(lr=0.05, batch_size=16))
    for task in stream.tasks[:2]:
        learner.learn(task)
    around_grads: list[Vector] = []
    kept = learner.state

    def gradient(x: Tensor, y: Labels) -> Vector:
        output = learner.net(x).masked_fill(~y.active, float("-inf"))
        grads = torch.autograd.grad(F.cross_entropy(output, y.y), learner.theta.tensors)
        return Vector(learner.theta.names, grads)

    past = [gradient(*k) for k in zip(kept.x, kept.y)]
    wish = past[0] * -1.0 + past[1] * 0.3  # straight against the first task
    with torch.no_grad():
        around_grads.append(GEM().gradient(kept, wish.clone(), learner.stepper.context))
    assert float(wish.dot(past[0])) < 0
    assert all(float(around_grads[0].dot(g)) > -1e-4 for g in past)


# --- iCaRL: a classifier of its own at prediction, old network as teacher -------------------------------------------------
@dataclass(frozen=True)
class Exemplars:
    x: Tensor
    y: Tensor
    teacher: dict[str, Tensor] | None


class Sigmoids(Objective):
    """A sigmoid an output, held to a number between 0 and 1."""

    measure = Measure("accuracy")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)


SIGMOIDS = Sigmoids()


@dataclass(frozen=True)
class ICaRL(Method):
    name: ClassVar[str] = "icarl"
    each: int = 5

    def init(self, theta: Vector, spec: Spec) -> Exemplars:
        return Exemplars(torch.zeros(0, *spec.shape), torch.zeros(0, dtype=torch.int64), None)

    def begin(self, state: Exemplars, context: TaskContext) -> Exemplars:
        teacher = {n: t.clone() for n, t in context.net.state_dict().items()} if context.index else None
        return replace(state, teacher=teacher)

    def segments(self, state: Exemplars, batch: Batch, context: StepContext) -> Batch:
        if len(state.y):
            pick = torch.randint(len(state.y), (8,), generator=context.generator)
            batch = batch.plus(Segment(state.x[pick], state.y[pick]))
        return batch.mapped(lambda s: s._replace(y=self._targets(state, s, context.net), objective=SIGMOIDS))

    def _targets(self, state: Exemplars, segment: Segment, net: nn.Module) -> Tensor:
        target = F.one_hot(segment.y, net[-1].out_features).float()
        if state.teacher is not None:
            with torch.no_grad():
                old = torch.func.functional_call(net, state.teacher, (segment.x,)).sigmoid()
            known = state.y.unique()
            target[:, known] = old[:, known]
        return target

    def end(self, state: Exemplars, context: TaskContext) -> Exemplars:
        xs, ys = [state.x], [state.y]
        chunk = next(context.examples.all(10_000))
        features = self._features(context.net, chunk.x)
        for c in chunk.y.unique():
            of_class = (chunk.y == c).nonzero().squeeze(1)
            mean, total = features[of_class].mean(0), torch.zeros(features.shape[1])
            for k in range(min(self.each, len(of_class))):  # herding
                best = of_class[((mean - (total + features[of_class]) / (k + 1)) ** 2).sum(1).argmin()]
                total = total + features[best]
                of_class = of_class[of_class != best]
                xs.append(chunk.x[best, None])
                ys.append(chunk.y[best, None])
        return Exemplars(torch.cat(xs), torch.cat(ys), None)

    def _features(self, net: nn.Module, x: Tensor) -> Tensor:
        return F.normalize(net[:-1](x))

    def predict(self, state: Exemplars, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        scores = torch.full((len(x), net[-1].out_features), float("-inf"))
        if len(state.y):
            own, asked = self._features(net, state.x), self._features(net, x)
            for c in state.y.unique():
                scores[:, c] = -((asked - F.normalize(own[state.y == c].mean(0), dim=0)) ** 2).sum(1)
        return scores


def test_icarl_keeps_classes_that_fine_tuning_loses() -> None:
    stream = toy_stream("class", examples=300)
    training = Training(lr=0.1, batch_size=16, epochs=4)
    ours, free = toy_learner(ICaRL(), stream, training), toy_learner(Method(), stream, training)
    for task in stream:
        ours.learn(task)
        free.learn(task)
    first = [learner.evaluate(stream.tasks[:1])[0][0] for learner in (ours, free)]
    assert first[0] > first[1] + 0.2
    predicted = ours.predict(stream[2].test.x)
    assert set(predicted.tolist()) <= set(ours.seen)


# --- Progressive Networks: a column a task --------------------------------------------------------------------------------
class Columns(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.bodies, self.heads, self.sides = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.grow(Growth("column", seed=0))

    def grow(self, operation: Growth) -> IndexMap:
        for p in self.parameters():
            p.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(operation.seed)
            self.bodies.append(nn.Linear(FEATURES, 8))
            self.heads.append(nn.Linear(8, self.outputs))
            self.sides.append(nn.Linear(8 * (len(self.bodies) - 1) or 1, self.outputs))
        return IndexMap({name: (None, ()) for name, p in self.named_parameters() if p.requires_grad})

    def column(self, x: Tensor, k: int) -> Tensor:
        own = self.heads[k](torch.relu(self.bodies[k](x)))
        if k:
            own = own + self.sides[k](torch.cat([torch.relu(self.bodies[j](x)) for j in range(k)], 1))
        return own

    def forward(self, x: Tensor) -> Tensor:
        return self.column(x, len(self.bodies) - 1)


@dataclass(frozen=True)
class Progressive(Method):
    name: ClassVar[str] = "progressive"
    scenarios = ("task",)

    def grow(self, state: None, net: nn.Module, task: Task) -> list[Growth]:
        return [Growth("column", seed=task.index)] if task.index else []

    def predict(self, state: None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        assert isinstance(net, Columns)
        assert task is not None
        return net.column(x, min(task, len(net.bodies) - 1))


def test_progressive_columns_are_frozen_and_survive_a_checkpoint(tmp_path) -> None:
    stream = toy_stream("task")

    def learner() -> Learner:
        training = Training(lr=0.1, momentum=0.9, weight_decay=0.01, batch_size=16, epochs=3)
        return Learner(Columns(stream.outputs), Progressive(), training, scenario="task")

    ours = learner()
    ours.learn(stream[0])
    first = {n: p.clone() for n, p in ours.net.named_parameters() if ".0." in n}
    before = ours.evaluate(stream)[0][0]
    ours.learn(stream[1])
    assert all(torch.equal(p, dict(ours.net.named_parameters())[n]) for n, p in first.items())
    assert ours.evaluate(stream)[0][0] == before
    Store(tmp_path).save(ours.state_dict())
    again = learner()
    again.load_state_dict(Store(tmp_path).newest())
    for one in (ours, again):
        one.learn(stream[2])
    assert same(weights(ours.net), weights(again.net))
    assert len(again.growth) == 2


# --- Net2Net: wider when it is not good enough ----------------------------------------------------------------------------
class Wide(nn.Module):
    def __init__(self, outputs: int, units: int = 2) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, units), nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))

    def grow(self, operation: Growth) -> IndexMap:
        old = self.a.out_features
        g = torch.Generator().manual_seed(operation.seed)
        source = torch.cat([torch.arange(old), torch.randint(old, (operation.size - old,), generator=g)])
        times = torch.bincount(source, minlength=old)[source]
        a, b = nn.Linear(FEATURES, operation.size), nn.Linear(operation.size, self.b.out_features)
        with torch.no_grad():
            a.weight.copy_(self.a.weight[source])
            a.bias.copy_(self.a.bias[source])
            b.weight.copy_(self.b.weight[:, source] / times)
            b.bias.copy_(self.b.bias)
        self.a, self.b = a, b
        rows, inputs, outputs = source, torch.arange(FEATURES), torch.arange(b.out_features)
        return IndexMap(
            {
                "a.weight": ("a.weight", (rows, inputs)),
                "a.bias": ("a.bias", (rows,)),
                "b.weight": ("b.weight", (outputs, rows)),
                "b.bias": ("b.bias", (outputs,)),
            }
        )


@dataclass(frozen=True)
class Grow(Method):
    name: ClassVar[str] = "grow"
    threshold: float = 0.9

    def expand(self, state: None, context: TaskContext, accuracy: float) -> list[Growth]:
        units = context.net.a.out_features
        return [Growth("wider", "a", 2 * units, seed=units)] if accuracy < self.threshold and units < 16 else []


def test_growth_on_demand_carries_everything() -> None:
    stream = toy_stream("domain", examples=200)
    net = Wide(stream.outputs)
    x = stream[0].test.x
    before = net(x)
    net.grow(Growth("wider", "a", 5, seed=1))
    assert torch.allclose(net(x), before, atol=1e-5)
    method = chain(EWC(1.0), Grow(0.97))
    learner = Learner(Wide(stream.outputs), method, Training(optimizer="adam", lr=0.05, epochs=3), scenario="domain")
    learner.learn(stream[0])
    learner.learn(stream[1])
    assert len(learner.growth) > 0
    quadratic = learner.state[0]
    assert [t.shape for t in quadratic.A.tensors] == [p.shape for p in learner.net.parameters()]
    moments = learner.optimizer.state[learner.net.a.weight]
    assert moments["exp_avg"].shape == learner.net.a.weight.shape
    assert float(moments["step"]) > 3 * 2  # carried on, not begun anew


def test_index_map_by_hand() -> None:
    old = Vector(("w",), [torch.tensor([[1.0, 2.0], [3.0, 4.0]])])
    new = Vector(("w", "v"), [torch.zeros(3, 2), torch.zeros(2)])
    mapping = IndexMap({"w": ("w", (torch.tensor([0, 1, 0]), torch.tensor([1, -1]))), "v": (None, ())})
    carried = mapping.carry(old, new, fill=9.0)
    assert carried["w"].tolist() == [[2, 9], [4, 9], [2, 9]]
    assert carried["v"].tolist() == [9, 9]


# --- importance without labels --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Unlabelled(Method):
    name: ClassVar[str] = "mas"
    strength: float = 1.0

    def init(self, theta: Vector, spec: Spec) -> Quadratic:
        return Quadratic.none(theta)

    def end(self, state: Quadratic, context: TaskContext) -> Quadratic:
        omega = sensitivity(context, lambda f, y, objective: [(2 * f, None)], power=1)
        return state.moved(state.A + omega, context.theta)

    def gradient(self, state: Quadratic, grads: Vector, context: StepContext) -> Vector:
        return state.pull(context.theta, grads, 2 * self.strength)


def test_unlabelled_importance_ignores_labels() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Unlabelled(), stream)
    learner.learn(stream[0])
    wrong = replace(stream[0].train, y=torch.zeros_like(stream[0].train.y))
    context = learner.context(wrong, None)
    torch.testing.assert_close(
        Unlabelled().end(Quadratic.none(learner.theta), context).A.flat(), learner.state.A.flat()
    )


# --- a generator trained beside the solver --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Scholar:
    generator: dict[str, Tensor]  # mean and spread of each class: as small as a generator gets
    solver: dict[str, Tensor] | None


@dataclass(frozen=True)
class GenerativeReplay(Method):
    name: ClassVar[str] = "generative"

    def init(self, theta: Vector, spec: Spec) -> Scholar:
        return Scholar({"mean": torch.zeros(0, *spec.shape), "sd": torch.zeros(0, *spec.shape)}, None)

    def begin(self, state: Scholar, context: TaskContext) -> Scholar:
        solver = {n: t.clone() for n, t in context.net.state_dict().items()} if context.index else None
        return replace(state, solver=solver)

    def segments(self, state: Scholar, batch: Batch, context: StepContext) -> Batch:
        if not len(state.generator["mean"]):
            return batch
        pick = torch.randint(len(state.generator["mean"]), (batch.rows,), generator=context.generator)
        noise = torch.randn(len(pick), *batch.new.x.shape[1:], generator=context.generator)
        x = state.generator["mean"][pick] + state.generator["sd"][pick] * noise
        assert state.solver is not None
        with torch.no_grad():
            y = torch.func.functional_call(toy_net(EACH_ALL), state.solver, (x,)).argmax(1)
        return batch.scaled(0.5).plus(Segment(x, y), weight=0.5)

    def end(self, state: Scholar, context: TaskContext) -> Scholar:
        chunk = next(context.examples.all(10_000))
        of = [chunk.x[chunk.y == c] for c in chunk.y.unique()]
        mean = torch.cat([state.generator["mean"], torch.stack([x.mean(0) for x in of])])
        sd = torch.cat([state.generator["sd"], torch.stack([x.std(0) for x in of])])
        return Scholar({"mean": mean, "sd": sd}, None)


EACH_ALL = 9


def test_a_generator_beside_the_solver_keeps_old_classes() -> None:
    stream = toy_stream("class", examples=300)
    training = Training(lr=0.1, batch_size=16, epochs=4, outputs="all")
    ours, free = toy_learner(GenerativeReplay(), stream, training), toy_learner(Method(), stream, training)
    for task in stream:
        ours.learn(task)
        free.learn(task)
    assert ours.evaluate(stream)[0][0] > free.evaluate(stream)[0][0] + 0.3
