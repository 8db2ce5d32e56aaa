"""Methods with a memory of past examples: what they remember, how they weigh it, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.core.chain import chain
from lifelong.core.contexts import Spec
from lifelong.core.errors import MethodError
from lifelong.core.examples import Tensors
from lifelong.core.method import Method
from lifelong.core.objective import Classification, Labels
from lifelong.core.random import generator
from lifelong.core.segments import Batch, Segment
from lifelong.core.stream import Stream, Task
from lifelong.core.vector import Vector
from lifelong.loops.guard import protect
from lifelong.methods import AGEM, DER, EWC, GEM, DERpp, Finetune, GDumb, LatentReplay, LwF, Replay
from lifelong.parts.rehearsal import Past, drawn
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from rehearsal_cases import after, batch_of, each_weight, step_context
from toys import toy_learner, toy_net, toy_stream


def test_what_is_stored_keeps_the_outputs_that_were_active_for_it() -> None:
    """Where the task is known: those of its own task, all where its objective decided among all; new examples keep the present one's."""
    past = replace(Past.none(9, "x", Spec((3,), 2, "task")), masked=True)
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    x, y = torch.zeros(2, 3), torch.zeros(2).long()
    one = past.segment(past.values(x, y, Classification(first)))
    every = past.segment(past.values(x, y, Classification()))
    assert one.y.active.tolist() == [[True, False]] * 2
    assert every.y.active.tolist() == [[True, True]] * 2
    assert (
        past.segment(past.values(x, Labels(y, second.expand(2, 2)), Classification(first))).y.active.tolist()
        == [[False, True]] * 2
    )
    batch = Batch((Segment(x[:1], y[:1] + 1),)).plus(one).plus(every)
    own = Classification(second).joined([s.y for s in batch.segments])
    assert own.active.tolist() == [[False, True], [True, False], [True, False], [True, True], [True, True]]
    assert Classification(second).joined([batch.new.y, batch.new.y]).tolist() == [1, 1]  # one for all
    unmasked = replace(past, masked=False)
    assert torch.equal(unmasked.segment(unmasked.values(x, y, Classification(first))).y, y)


def test_replay_learns_from_both_in_one_mean() -> None:
    learner, stream = after(Replay(20))
    state, draws = learner.state, generator(0, "x")
    objective = learner.objective(stream[2])
    learner.stepper.at(objective)
    new = batch_of(stream[2])
    batch = learner.method.segments(state, new, step_context(learner, draws))
    assert batch.sizes == [10, 10]
    assert torch.equal(batch.x[:10], new.x)
    memory = state.memory.slots["x"][: state.memory.filled]
    assert all((memory == row).all(1).any() for row in batch.x[10:])
    output = learner.net(batch.x)
    each = F.cross_entropy(output.masked_fill(~objective.active, -torch.inf), batch.y, reduction="none")
    assert torch.allclose(batch.loss(objective, output), each.mean())


def test_each_task_counts_alike() -> None:
    method = Replay(20, batch_size=5, weighting="tasks")
    learner, stream = after(method, 2)
    batch = method.segments(learner.state, batch_of(stream[1]), step_context(learner, generator(0, "x")))
    output = learner.net(batch.x)
    each = F.cross_entropy(output, batch.y, reduction="none")
    assert torch.allclose(batch.loss(Classification(), output), each[:10].mean() / 2 + each[10:].mean() / 2)


@pytest.mark.parametrize("fill", ["reservoir", "balanced", "ring", "random", "herding"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_what_is_remembered_is_what_was_met(fill, scenario) -> None:
    learner, stream = after(Replay(18, fill=fill), 2, scenario)
    held = {k: v[: learner.state.memory.filled] for k, v in learner.state.memory.slots.items()}
    assert learner.state.memory.filled == 18
    met = {tuple(x.tolist()): int(y) for t in stream.tasks[:2] for x, y in zip(t.train.x, t.train.y)}
    assert all(met[tuple(x.tolist())] == int(y) for x, y in zip(held["x"], held["y"]))
    if fill != "reservoir":
        first = {tuple(x.tolist()) for x in stream[0].train.x}
        assert sum(tuple(x.tolist()) in first for x in held["x"]) == pytest.approx(
            9, abs=4 if fill == "balanced" or (fill, scenario) == ("random", "domain") else 0
        )
    if scenario == "task":
        assert held["active"].sum(1).tolist() == [3] * 18
        assert held["active"].gather(1, held["y"][:, None]).all()


def test_a_memory_keeps_what_fine_tuning_loses() -> None:
    free, _ = after(Finetune(), 3, epochs=10)
    for method in (Replay(60), DER(60, alpha=5.0), DERpp(60), GDumb(60), Replay(60, fill="herding")):
        learner, stream = after(method, 3, epochs=10)
        lost, kept = (np.mean([a for a, _, _ in m.evaluate(stream.tasks[:2])]) for m in (free, learner))
        assert kept > lost + 0.1, method


@pytest.mark.parametrize(
    "method", [Replay(30), DER(30), DERpp(30), AGEM(30, fill="reservoir"), Replay(30, fill="balanced")]
)
def test_no_task_edges_are_needed(method: Method) -> None:
    """A stream that never says where a task ends."""
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    guard = protect(net, optimizer, method)
    for task in stream:
        for x, y in zip(task.train.x.split(10), task.train.y.split(10)):
            batch = guard.mix(x, y)
            optimizer.zero_grad()
            guard.loss(net(batch.x), batch).backward()
            optimizer.step()
    memory = guard.state.memory
    assert memory.filled == 30
    assert memory.seen == sum(len(t.train) for t in stream)


def test_fewer_examples_than_a_share_and_more_tasks_than_slots() -> None:
    learner, _ = after(Replay(300, fill="ring"), 3, epochs=1)
    assert learner.state.memory.groups == (96, 96, 96)
    learner, _ = after(GEM(300), 2)
    assert learner.state.memory.groups == (192, 192)  # two epochs of 96: a ring does not know what it has seen
    with pytest.raises(MethodError, match="buffer_size of 1 for 2 tasks"):
        after(Replay(1, fill="ring"), 2)
    with pytest.raises(MethodError, match="buffer_size of 2 for 3 classes"):
        after(Replay(2, fill="herding"), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Replay(-1), "buffer_size -1: expected 0"),
        (lambda: Replay(5, fill="first"), "fill 'first': expected one of reservoir"),
        (lambda: Replay(5, batch_size=0), "batch_size 0: expected at least 1"),
        (lambda: DER(5, fill="herding"), "keeps the answers given at a step"),
        (lambda: DER(5, alpha=-1.0), "alpha -1"),
        (lambda: DERpp(5, beta=-1.0), "beta -1"),
        (lambda: GDumb(0), "buffer_size 0: expected at least 1"),
        (lambda: GEM(-1), "buffer_size -1"),
        (lambda: GEM(5, margin=-0.1), "margin -0.1"),
    ],
)
def test_constants_out_of_range(make, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        make()


def test_inputs_of_another_dtype() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    guard = protect(net, optimizer, Replay(10))

    def step(x: Tensor) -> None:
        batch = guard.mix(x, torch.zeros(len(x), dtype=torch.int64))
        optimizer.zero_grad()
        guard.loss(net(batch.x.float()), batch).backward()
        optimizer.step()

    step(torch.zeros(2, 4))
    with pytest.raises(MethodError, match=r"holds 'x' as torch\.float32"):
        step(torch.zeros(2, 4, dtype=torch.float64))


class Words(nn.Module):
    """Inputs that are whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(12, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.words(x).mean(1))


@pytest.mark.parametrize("method", [Replay(30, weighting="tasks"), DER(30), DERpp(30), GEM(10), AGEM(10)])
def test_inputs_that_are_whole_numbers(method: Method) -> None:
    draws = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    tasks = []
    for first in (0, 2):
        y = torch.randint(2, (96,), generator=draws) + first
        x = torch.randint(3, (96, 5), generator=draws) + 3 * y[:, None]
        tasks.append(Task("words", Tensors(x, y), Tensors(x, y), (first, first + 1)))
    stream = Stream(tuple(tasks), "task", tuple("abcd"))
    learner = Learner(Words(), method, Training(lr=1.0, batch_size=16, epochs=10), scenario="task")
    for task in stream:
        learner.learn(task)
    assert min(a for a, _, _ in learner.evaluate(stream)) > 0.9


def test_weights_of_a_chain_stay_what_they_were() -> None:
    """Examples that DER holds to its answers alone get no label through a replay that weighs tasks."""
    both = chain(DER(20), Replay(20, fill="herding", weighting="tasks"))
    learner, stream = after(both, 2)
    batch = both.segments(learner.state, batch_of(stream[1]), step_context(learner, generator(0, "x")))
    weights = each_weight(batch)
    assert torch.allclose(weights[:10], torch.tensor(0.05))
    assert not weights[10:20].any()
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_weights_do_not_depend_on_the_order_of_a_chain(order: tuple[int, ...]) -> None:
    """Each member says what the new examples and its own count: in all, 1/t · 1/t on the mean over new and plainly replayed ones."""
    members = [
        LwF(weighting="tasks"),
        Replay(20, batch_size=3),
        DERpp(20, batch_size=5, beta=0.5),
        Replay(20, batch_size=4, weighting="tasks", fill="balanced"),
    ]
    learner, stream = after(chain(*(members[i] for i in order)), 2, "domain")
    batch = learner.method.segments(learner.state, batch_of(stream[1]), step_context(learner, generator(0, "x")))
    weights = each_weight(batch)
    expected = [0.25 / 13] * 13 + [0.0] * 5 + [0.1] * 5 + [0.125] * 4
    assert torch.allclose(weights.sort().values, torch.tensor(expected).sort().values)
    assert torch.allclose(weights[:10], torch.tensor(0.25 / 13))
    output = learner.net(batch.x)
    each = F.cross_entropy(output, batch.y, reduction="none")
    assert torch.allclose(batch.loss(Classification(), output), (weights * each).sum())


def test_ewc_with_replay_holds_weights_on_the_mixed_batch() -> None:
    """The penalty is added once, to the gradient of new and remembered examples; importance is the task's own."""
    ewc, replay = EWC(5.0), Replay(20)
    both = chain(ewc, replay)
    learner, stream = after(both, 1)
    guard, past = learner.state
    context = step_context(learner)
    batch = both.segments(learner.state, batch_of(stream[1]), step_context(learner, generator(0, "x")))
    assert torch.equal(batch.y, replay.segments(past, batch_of(stream[1]), step_context(learner, generator(0, "x"))).y)
    with torch.no_grad():
        for p in learner.theta.tensors:
            p.add_(0.01)
    plain = torch.autograd.grad(batch.loss(Classification(), learner.net(batch.x)), learner.theta.tensors)
    with torch.no_grad():
        got = both.gradient(learner.state, Vector(learner.theta.names, [g.clone() for g in plain]), context)
        wanted = [
            g + 5.0 * F_ * (p - m)
            for g, F_, p, m in zip(plain, guard.A.tensors, learner.theta.tensors, guard.m.tensors)
        ]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got.tensors, wanted))
    alone, _ = after(ewc, 1)
    assert not all(torch.equal(a, b) for a, b in zip(alone.state.A.tensors, guard.A.tensors))  # other weights by then


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_gdumb_trains_on_its_memory_alone(scenario) -> None:
    learner, stream = after(GDumb(18, passes=2), 2, scenario)
    memory = learner.state.memory
    labels = memory.slots["y"][: memory.filled]
    classes = labels.unique()
    assert len(classes) == (3 if scenario == "domain" else 6)
    assert all(18 // len(classes) == int((labels == c).sum()) for c in classes)
    data = learner.method.data(learner.state, stream[1].train, [])
    assert len(data) == 2 * 18
    assert not learner.past  # past examples are not kept beside the memory
    if scenario == "task":
        chunk = next(data.all())
        assert chunk.mask.gather(1, chunk.y[:, None]).all()
        assert chunk.mask.sum(1).tolist() == [3] * len(chunk.y)


@pytest.mark.parametrize("method", [Replay(12, fill="random"), LatentReplay(12), GDumb(12)])
def test_classes_may_return_in_more_tasks_than_there_are_slots(method) -> None:
    stream = toy_stream("domain", tasks=15, examples=48)
    learner = toy_learner(method, stream)
    for task in stream:
        learner.learn(task)
    past = learner.state.past if isinstance(method, LatentReplay) else learner.state
    assert past.memory.slots["y"][:12].bincount().tolist() == [4, 4, 4]


def test_only_what_is_kept_is_read() -> None:
    learner, stream = after(Replay(12, fill="random"), 1)
    offered = stream[1].train
    read = []

    def looked(x: Tensor) -> Tensor:
        read.append(len(x))
        return x

    seen = Tensors(offered.x, offered.y, transform=looked)
    past = drawn(learner.state, learner.context(offered, stream[1]), seen)
    kept = {tuple(x.tolist()) for x in past.memory.slots["x"][:12]}
    assert sum(read) == sum(tuple(x.tolist()) in kept for x in offered.x)
    assert past.memory.filled == 12


def test_per_class_bounds_what_is_kept_of_a_class() -> None:
    for method in (Replay(300, fill="random", per_class=5), AGEM(300, fill="herding", per_class=5)):
        memory = after(method)[0].state.memory
        kept = memory.slots["y"][: memory.filled].bincount()
        assert set(kept.tolist()) == {5}, "there were slots for more"
    with pytest.raises(MethodError, match="per_class 5 with fill 'reservoir'"):
        Replay(300, per_class=5)
