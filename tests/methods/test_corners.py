"""Corners where methods meet: growth, chains, returning classes, data that draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lifelong import (
    DER,
    EWC,
    HAT,
    MLP,
    SLDA,
    Finetune,
    LatentReplay,
    Learner,
    LwF,
    Method,
    MethodError,
    Progressive,
    Stream,
    Task,
    Tensors,
    Training,
    chain,
    fit,
    protect,
)
from lifelong.core.errors import RunError
from lifelong.core.examples import Lazy
from lifelong.core.fingerprint import named
from lifelong.core.growth import Growth
from lifelong.core.random import generator
from lifelong.core.segments import Batch, Segment
from lifelong.curriculum.affinity import Probe, measure
from lifelong.curriculum.order_effect import slope, study
from lifelong.curriculum.taxonomy import Transfer, greedy, solve
from lifelong.methods import (
    GEM,
    ExpertGate,
    FearNet,
    GenerativeReplay,
    Grow,
    ICaRL,
    NearestMean,
    NearestNeighbour,
    Replay,
)
from lifelong.nets.heads import head_names
from lifelong.parts.buffer import herd
from lifelong.streams import turning
from rehearsal_cases import each_weight
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)
SMALL = {"hidden": (16,), "code": 3}


class Noisy(Dataset):
    """Draws from torch's own generator whenever it is read."""

    def __init__(self, part: Tensors) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.part.x[i] + 0.3 * torch.randn(FEATURES), int(self.part.y[i])


@pytest.mark.parametrize("method", [Finetune(), FearNet(), ExpertGate(), Grow(threshold=0.9)], ids=lambda m: m.name)
def test_data_that_draw_draw_from_the_learners_generator(method) -> None:
    stream = toy_stream("class", tasks=2, examples=40)
    stream = replace(stream, tasks=tuple(replace(t, train=Lazy(Noisy(t.train), t.train.y)) for t in stream))
    ends = []
    for outer in (1, 2):
        torch.manual_seed(outer)
        before = torch.get_rng_state()
        learner = toy_learner(method, stream, TRAINING)
        for task in stream:
            learner.learn(task)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights(learner.net))
    assert same(*ends)


@pytest.mark.parametrize("make", [Progressive, HAT], ids=["progressive", "hat"])
def test_the_head_is_the_networks_own(make) -> None:
    stream = toy_stream("task")
    learner = toy_learner(chain(EWC(1.0, head=False), make()), stream, TRAINING)
    learner.learn(stream[0])
    guard, names = learner.state[0], head_names(learner.net)
    assert all(learner.net.get_parameter(n).shape[0] == stream.outputs for n in names)
    for name, A in guard.A:
        assert bool(A.any()) is (name not in names) or name.startswith("embeddings")


def test_a_head_with_nothing_new_does_not_warm_up() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(LwF(warmup=10_000), stream, TRAINING)
    learner.learn(stream[0])
    before = weights(learner.net)
    learner.learn(stream[1])
    assert not torch.equal(before["0.weight"], weights(learner.net)["0.weight"])


def test_growth_on_demand_passes_over_tasks_that_are_only_kept() -> None:
    stream = toy_stream("class")
    learner = toy_learner(chain(NearestMean(), Grow(threshold=1.0)), stream, TRAINING)
    learner.learn(stream[0])
    assert not learner.growth


def test_what_does_not_compose_is_refused() -> None:
    for one, other in ((LwF(), Progressive()), (GenerativeReplay(), HAT()), (LwF(), NearestMean())):
        with pytest.raises(MethodError, match="leave one of them out"):
            chain(one, other)
    learner = toy_learner(chain(GenerativeReplay(targets="soft", **SMALL), DER(20)), toy_stream("class"), TRAINING)
    learner.learn(toy_stream("class")[0])
    with pytest.raises(MethodError, match="earlier answers"):
        learner.learn(toy_stream("class")[1])
    wide = toy_learner(chain(FearNet(), Grow(threshold=1.0)), toy_stream("class"), TRAINING)
    with pytest.raises(MethodError, match=r"mirror image|cannot widen"):
        wide.learn(toy_stream("class")[0])


def test_icarl_answers_while_its_features_grow() -> None:
    stream = toy_stream("class", examples=2100)
    method = chain(ICaRL(18), Grow(threshold=1.0, times=1))
    learner = toy_learner(method, stream, replace(TRAINING, epochs=1))
    learner.learn(stream[0])
    for _ in learner.steps(stream[1]):
        assert set(learner.predict(stream[0].test.x).tolist()) <= set(range(6))
    assert learner.growth


def test_a_class_that_returns_has_one_share_of_the_exemplars() -> None:
    stream = toy_stream("class", tasks=2)
    learner = toy_learner(ICaRL(12), stream, TRAINING)
    for task in (stream[0], stream[1], stream[0], stream[1]):
        learner.learn(task)
        memory = learner.state.past.memory
        y = memory.slots["y"][: memory.filled]
        assert y.bincount(minlength=6)[list(learner.seen)].tolist() == [12 // len(learner.seen)] * len(learner.seen)


def test_a_learner_that_grew_goes_back() -> None:
    stream = replace(toy_stream("class"), announced=False)
    for method, grows in ((Finetune(), True), (Grow(threshold=1.0, times=1), False), (Progressive(), False)):
        of = stream if grows else toy_stream("task")
        learner = Learner(toy_net(of.outputs), method, TRAINING, scenario=of.scenario, grows=grows)
        learner.learn(of[0])
        learner.learn(of[1])
        saved, before = learner.state_dict(), weights(learner.net)
        learner.learn(of[2])
        ends = weights(learner.net)
        learner.load_state_dict(saved)
        assert same(weights(learner.net), before)
        learner.learn(of[2])
        assert same(weights(learner.net), ends)


def test_a_frozen_head_that_grows_has_a_teacher() -> None:
    stream = replace(toy_stream("class"), announced=False)
    net = toy_net(stream.outputs)
    net[-1].requires_grad_(False)
    learner = Learner(net, LwF(), TRAINING, grows=True)
    for task in stream:
        learner.learn(task)
    assert learner.spec.outputs == 9


def test_weights_sum_to_what_is_asked() -> None:
    one = Segment(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    batch = Batch((one,)).scaled(0.5).plus(one, weight=0.25).scaled(0.5).plus(one)
    assert [s.weight for s in batch.segments] == pytest.approx([0.125, 0.25, 0.125])
    assert float(each_weight(batch).sum()) == pytest.approx(0.5)


def test_fearnet_weighs_its_examples() -> None:
    learner = toy_learner(FearNet(), toy_stream("class"), TRAINING)
    learner.learn(toy_stream("class")[0])
    x, y = toy_stream("class")[0].train.x[:8], toy_stream("class")[0].train.y[:8]
    whole = learner.stepper.batch(Segment(x, y))
    output = learner.net(x)
    part = whole.scaled(0.25)
    assert learner.method.loss(learner.state, whole, output, learner.stepper.context) > 0
    torch.testing.assert_close(learner.stepper.loss(part, output), 0.25 * learner.stepper.loss(whole, output))


def test_inputs_that_leave_the_generators_range() -> None:
    stream = toy_stream("domain", tasks=2)
    inside = replace(stream[0], train=replace(stream[0].train, x=stream[0].train.x.sigmoid()))
    learner = toy_learner(GenerativeReplay(**SMALL), stream, TRAINING)
    learner.learn(inside)
    with pytest.raises(MethodError, match=r"outside 0\.\.1"):
        learner.learn(stream[1])


@pytest.mark.parametrize("task", [0, 1])
def test_a_single_input_outside_the_generators_range(task: int) -> None:
    """Not among the first ones that are met, nor among the last."""
    stream = toy_stream("domain", tasks=2, examples=2100)
    inside = [replace(t.train, x=t.train.x.sigmoid()) for t in stream]
    learner = toy_learner(GenerativeReplay(**SMALL), stream, replace(TRAINING, epochs=1))
    order = torch.randperm(2100, generator=generator(0, f"order/{task}/0/0"))
    assert int(order[1000]) > 512
    inside[task].x[order[1000], 3] = 1.5
    for t in range(task):
        learner.learn(replace(stream[t], train=inside[t]))
    with pytest.raises(MethodError, match=rf"task {task + 1} brings inputs outside 0\.\.1"):
        learner.learn(replace(stream[task], train=inside[task]))


@pytest.mark.parametrize("resting", [FearNet(), NearestMean(), NearestNeighbour()], ids=lambda m: m.name)
def test_what_lives_on_steps_is_refused_beside_what_takes_none(resting) -> None:
    for fed in (Replay(20), GEM(5), DER(20)):
        for pair in ((fed, resting), (resting, fed)):
            with pytest.raises(MethodError, match="takes none in most tasks"):
                chain(*pair)
    chain(resting, EWC(1.0)).check("class")
    chain(resting, Replay(0))


@pytest.mark.parametrize("method", [NearestMean(), NearestNeighbour()], ids=lambda m: m.name)
def test_distances_far_from_the_origin(method) -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    x = 1000 + 0.1 * torch.randn(4, FEATURES, generator=g)[y] + 0.001 * torch.randn(200, FEATURES, generator=g)
    task = Task("far", Tensors(x, y), Tensors(x, y), (0, 1, 2, 3))
    learner = Learner(toy_net(4), method, TRAINING)
    learner.learn(task)
    assert learner.evaluate(Stream((task,), "class", tuple("abcd")))[0][0] == 1.0


def test_hat_answers_for_a_task_to_come_with_hard_attention() -> None:
    stream = toy_stream("task")
    learner = toy_learner(HAT(), stream, TRAINING)
    learner.learn(stream[0])
    x = stream[1].test.x
    with torch.no_grad():
        hard = learner.net.eval()(x, [e > 0 for e in learner.net.embeddings])
    scores = learner.scores(x, stream[1])
    assert torch.equal(scores[:, 3:6], hard[:, 3:6])


def test_growth_counts_for_any_network_that_grows() -> None:
    """`times` holds where a network widens without dividing its weights."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(FEATURES, 4), nn.Linear(4, 9)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

        def grow(self, operation: Growth):
            from lifelong.core.growth import IndexMap

            old, n = self.first, operation.size
            first, last = nn.Linear(FEATURES, n), nn.Linear(n, 9)
            with torch.no_grad():
                first.weight[: old.out_features], first.bias[: old.out_features] = old.weight, old.bias
                last.weight.zero_()
                last.weight[:, : old.out_features], last.bias[:] = self.last.weight, self.last.bias
            index = torch.cat([torch.arange(old.out_features), torch.full((n - old.out_features,), -1)])
            self.first, self.last = first, last
            return IndexMap(
                {
                    "first.weight": ("first.weight", (index, torch.arange(FEATURES))),
                    "first.bias": ("first.bias", (index,)),
                    "last.weight": ("last.weight", (torch.arange(9), index)),
                }
            )

    stream = toy_stream("class")
    learner = Learner(Padded(), Grow(threshold=1.0, times=2, layers=("first",)), TRAINING)
    learner.learn(stream[0])
    assert len(learner.growth) <= 2


# --- folders that hold results of something else ----------------------------------------------------------------------
def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


def negated(stream: Stream, from_row: int = 0) -> Stream:
    """The same labels, other inputs from a row on."""
    first = stream[0]
    x = first.train.x.clone()
    x[from_row:] *= -1
    return replace(stream, tasks=(replace(first, train=Tensors(x, first.train.y)), *stream.tasks[1:]))


def test_results_of_other_data_or_weights_are_not_taken_for_these(tmp_path: Path) -> None:
    stream, training = turning(3, examples=60, test_examples=20), Training(epochs=1, lr=0.1)
    study(stream, [(0, 1, 2)], Finetune(), linear(0), training, folder=tmp_path / "orders")
    for other, net in ((negated(stream), linear(0)), (stream, linear(1))):
        with pytest.raises(RunError, match="another set of examples, or network"):
            study(other, [(0, 1, 2)], Finetune(), net, training, folder=tmp_path / "orders")
    few = Probe(few=20)
    measure(stream, linear(0), training, few, folder=tmp_path / "transfers")
    for other, net in ((negated(stream, 9), linear(0)), (stream, linear(1))):
        with pytest.raises(RunError, match="another set of examples, or network"):
            measure(other, net, training, few, folder=tmp_path / "transfers")


def test_a_network_has_the_same_name_in_every_process() -> None:
    assert named(linear) == f"{__name__}.linear"
    assert named(MLP((3,))) == "MLP(hidden=(3,), dropout=0.0)"


def test_transfers_of_classes_that_were_not_announced() -> None:
    g = torch.Generator().manual_seed(0)

    def part(classes: tuple[int, ...], n: int) -> Tensors:
        y = torch.tensor(classes)[torch.randint(len(classes), (n,), generator=g)]
        return Tensors(torch.randn(n, 4, generator=g) + y[:, None], y)

    tasks = tuple(Task(n, part(c, 80), part(c, 20), c) for n, c in (("p", (0, 1)), ("q", (2, 3))))
    stream = Stream(tasks, "class", tuple("abcd"), announced=False)
    found = measure(stream, MLP((5,)), Training(epochs=1, lr=0.1), Probe(few=20))
    told = measure(replace(stream, announced=True), MLP((5,)), Training(epochs=1, lr=0.1), Probe(few=20))
    assert found.affinities.p == told.affinities.p


# --- programs whose numbers are small, or rounded ---------------------------------------------------------------------
def test_budgets_of_any_size_are_kept() -> None:
    p = {Transfer((s,), s): 0.9 for s in "abc"} | {
        Transfer((s,), t): 0.5 for s, t in ("ab", "bc", "ca", "ac", "ba", "cb")
    }
    for unit in (1e-8, 1.0, 1e9):
        cost = dict.fromkeys("abc", unit)
        assert len(solve(p, unit, cost=cost).sources) == 1
        assert len(solve(p, 3 * unit, cost=cost).sources) == 3
    tenth = dict.fromkeys("abc", 0.1)  # three of which are more than 0.3 when added
    found = greedy(p, 0.3, cost=tenth)
    assert found is not None
    assert found.objective == solve(p, 0.3, cost=tenth).objective


def test_a_slope_over_what_does_not_vary_is_none() -> None:
    assert np.isnan(slope([0.1] * 3, [1, 2, 3]).mean)


# --- exemplars of features that lie close together --------------------------------------------------------------------
@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-4])
def test_herding_sees_small_differences(spread: float) -> None:
    g = torch.Generator().manual_seed(0)
    phi = torch.ones(200, 16) / 4 + spread * torch.randn(200, 16, generator=g)
    exact = phi.double() - phi.double().mean(0)
    order, total = [], torch.zeros(16, dtype=torch.float64)
    for k in range(1, 21):
        distance = ((total + exact) / k).norm(dim=1)
        distance[order] = float("inf")
        order.append(int(distance.argmin()))
        total += exact[order[-1]]
    assert herd(phi, 20).tolist() == order


# --- classes that were never met, rows that have no input -------------------------------------------------------------
def test_lda_never_answers_a_class_that_it_has_not_met() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (80,), generator=g)
    part = Tensors(torch.randn(80, 6, generator=g) / 4 + 3 * torch.eye(6)[y] + 2, y)
    stream = Stream((Task("two of three", part, part, (0, 1, 2)),), "domain", tuple("abc"))
    learner = Learner(MLP(())(stream.shape, 3), SLDA(), TRAINING, scenario="domain")
    learner.learn(stream[0])
    x = torch.cat([part.x, torch.zeros(5, 6)])  # where the mean of nothing would lie
    assert set(learner.predict(x).tolist()) <= {0, 1}


@pytest.mark.parametrize("method", [LwF(), ICaRL(20), ExpertGate(), FearNet()])
def test_latent_replay_is_not_put_beside_what_asks_about_each_input(method: Method) -> None:
    for pair in ((LatentReplay(20), method), (method, LatentReplay(20))):
        with pytest.raises(MethodError, match="latent_replay"):
            chain(*pair)


def test_a_name_is_no_method() -> None:
    net = MLP(())((FEATURES,), 2)
    for call in (
        lambda: fit("ewc", MLP(()), toy_stream("domain")),  # type: ignore[arg-type]
        lambda: protect(net, torch.optim.SGD(net.parameters(), 0.1), "ewc"),  # type: ignore[arg-type]
        lambda: chain(EWC(1.0), "replay"),  # type: ignore[arg-type]
    ):
        with pytest.raises(MethodError, match="not its name"):
            call()
