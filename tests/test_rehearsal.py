"""Methods with a memory of past examples, held to their papers' equations."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lifelong.around import Around
from lifelong.errors import MethodError
from lifelong.guard import protect
from lifelong.learner import Learner
from lifelong.method import Batch, Costs, Method, chain, cross_entropy
from lifelong.methods import AGEM, DER, EWC, GEM, DERpp, Finetune, GDumb, LatentReplay, LwF, Replay
from lifelong.parts.dual import dual
from lifelong.parts.groups import gradients
from lifelong.parts.rehearsal import drawn
from lifelong.random import generator
from lifelong.stream import Stream, Task, Tensors
from lifelong.training import Training
from lifelong.vector import Vector
from toys import FEATURES, toy_learner, toy_net, toy_stream

TRAINING = Training(lr=0.05, batch_size=16, epochs=2)


def after(method: Method, tasks: int = 2, scenario="class", epochs: int = 2):
    """A learner that has learnt `tasks` toy tasks, and the stream."""
    stream = toy_stream(scenario)
    learner = toy_learner(method, stream, replace(TRAINING, epochs=epochs))
    for task in stream.tasks[:tasks]:
        learner.learn(task)
    return learner, stream


def grad_of(learner):
    return Around(learner.method, learner.net, learner.theta, learner.optimizer, Costs())._grad_of


# --- batches ------------------------------------------------------------------------------------------------------------
def test_batches_join() -> None:
    a = Batch(torch.zeros(2, 3), torch.zeros(2).long(), torch.tensor([True, False]))
    b = Batch(torch.ones(1, 3), torch.ones(1).long())
    assert a.plus(b).mask is a.mask  # one for all
    c = b._replace(mask=torch.tensor([[False, True]]), target=torch.ones(1, 2))
    both = a.plus(c)
    assert both.mask.tolist() == [[True, False], [True, False], [False, True]]
    assert both.target.isnan().tolist() == [[True, True], [True, True], [False, False]]
    assert both.plus(b).mask.tolist()[-1] == [True, True]
    assert b.plus(c).mask.tolist() == [[True, True], [False, True]]
    assert a.plus(b._replace(weight=torch.ones(1))).weights[-1] == 1  # its own; the others share 1


# --- replay -------------------------------------------------------------------------------------------------------------
def test_replay_learns_from_both_in_one_mean() -> None:
    learner, stream = after(Replay(20))
    state, draws = learner.state, generator(0, "x")
    new = Batch(*stream[2].train.take(torch.arange(10))[:2], learner._mask(stream[2]))
    batch = learner.method.examples(state, learner.net, new, draws)
    assert len(batch.y) == 20
    assert torch.equal(batch.x[:10], new.x)
    memory = state.memory.slots["x"][: state.memory.filled]
    assert all((memory == row).all(1).any() for row in batch.x[10:])
    output = learner.net(batch.x)
    each = F.cross_entropy(output.masked_fill(~new.mask, -torch.inf), batch.y, reduction="none")
    assert torch.allclose(cross_entropy(output, batch), each.mean())


def test_each_task_counts_alike() -> None:
    method = Replay(20, batch=5, weighting="tasks")
    learner, stream = after(method, 2)
    new = Batch(*stream[1].train.take(torch.arange(10))[:2])
    batch = method.examples(learner.state, learner.net, new, generator(0, "x"))
    each = F.cross_entropy(learner.net(batch.x), batch.y, reduction="none")
    assert torch.allclose(cross_entropy(learner.net(batch.x), batch), each[:10].mean() / 2 + each[10:].mean() / 2)


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
        assert held["mask"].sum(1).tolist() == [3] * 18
        assert held["mask"].gather(1, held["y"][:, None]).all()


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
    with pytest.raises(MethodError, match="1 slots for 2 tasks"):
        after(Replay(1, fill="ring"), 2)
    with pytest.raises(MethodError, match="2 slots for 3 classes"):
        after(Replay(2, fill="herding"), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Replay(-1), "slots -1: expected 0"),
        (lambda: Replay(5, fill="first"), "fill 'first': expected one of reservoir"),
        (lambda: Replay(5, batch=0), "batch 0: expected at least 1"),
        (lambda: DER(5, fill="herding"), "keeps the answers given at a step"),
        (lambda: DER(5, alpha=-1.0), "alpha -1"),
        (lambda: DERpp(5, beta=-1.0), "beta -1"),
        (lambda: GDumb(0), "slots 0: expected at least 1"),
        (lambda: GEM(-1), "slots -1"),
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
    """Rows that DER holds to its answers alone get no label through a replay that weighs tasks."""
    both = chain(DER(20), Replay(20, fill="herding", weighting="tasks"))
    learner, stream = after(both, 2)
    new = Batch(*stream[1].train.take(torch.arange(10))[:2])
    batch = both.examples(learner.state, learner.net, new, generator(0, "x"))
    assert batch.weights is not None
    assert torch.allclose(batch.weights[:10], torch.tensor(0.05))
    assert not batch.weights[10:20].any()
    assert batch.weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_weights_do_not_depend_on_the_order_of_a_chain(order: tuple[int, ...]) -> None:
    """Each member says what the new examples and its own count: in all, 1/t · 1/t on the mean over new and plainly replayed ones."""
    members = [
        LwF(weighting="tasks"),
        Replay(20, batch=3),
        DERpp(20, batch=5, beta=0.5),
        Replay(20, batch=4, weighting="tasks", fill="balanced"),
    ]
    learner, stream = after(chain(*(members[i] for i in order)), 2, "domain")
    new = Batch(*stream[1].train.take(torch.arange(10))[:2])
    batch = learner.method.examples(learner.state, learner.net, new, generator(0, "x"))
    assert batch.weights is not None
    expected = [0.25 / 13] * 13 + [0.0] * 5 + [0.1] * 5 + [0.125] * 4
    assert torch.allclose(batch.weights.sort().values, torch.tensor(expected).sort().values)
    assert torch.allclose(batch.weights[:10], torch.tensor(0.25 / 13))


# --- dark experience ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [DER, DERpp])
def test_der_by_hand(make) -> None:
    method = make(40, alpha=0.7, batch=6)
    learner, stream = after(method, 1)
    new = Batch(*stream[1].train.take(torch.arange(10))[:2])
    batch = method.examples(learner.state, learner.net, new, generator(0, "x"))
    output = learner.net(batch.x)
    total = cross_entropy(output, batch) + method.loss(learner.state, learner.net, batch, output)
    draws = generator(0, "x")
    second = learner.state.memory.sample(6, draws) if make is DERpp else None
    first = learner.state.memory.sample(6, draws)
    by_hand = F.cross_entropy(learner.net(new.x), new.y) + 0.7 * F.mse_loss(learner.net(first["x"]), first["logits"])
    if second is not None:
        by_hand = by_hand + 0.5 * F.cross_entropy(learner.net(second["x"]), second["y"])
    assert torch.allclose(total, by_hand, rtol=1e-5)


def test_the_answers_kept_are_those_of_the_moment() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(DER(400), stream, Training(lr=0.05, batch_size=16, epochs=1))
    seen: dict[tuple[float, ...], Tensor] = {}
    hook = learner.net.register_forward_hook(
        lambda m, args, out: seen.update({tuple(x.tolist()): o.detach().clone() for x, o in zip(args[0][:16], out)})
    )
    steps = learner.steps(stream[0])
    for _ in steps:
        pass
    hook.remove()
    memory = learner.state.memory
    answers = {tuple(x.tolist()): z for x, z in zip(memory.slots["x"][: memory.filled], memory.slots["logits"])}
    assert len(answers) == 96
    # the last batch was met with the weights that are one step old; all others with older ones
    now = learner.net(memory.slots["x"][: memory.filled])
    assert not torch.allclose(now, memory.slots["logits"][: memory.filled])
    assert all(torch.allclose(seen[x], z) for x, z in answers.items() if x in seen)


# --- the dual -----------------------------------------------------------------------------------------------------------
@given(st.integers(1, 19), st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=100, deadline=None)
def test_the_dual_against_quadprog_and_by_its_conditions(t: int, seed: int, margin: float) -> None:
    import quadprog

    draws = np.random.default_rng(seed)
    G, g = draws.normal(size=(t, 40)), draws.normal(size=40)
    v = dual(G @ G.T, G @ g, margin)
    P = G @ G.T + 1e-3 * np.eye(t)
    theirs = quadprog.solve_qp(P, -G @ g, np.eye(t), np.full(t, margin))[0]
    assert np.allclose(v, theirs, atol=1e-6)
    slope = P @ v + G @ g  # Karush, Kuhn, Tucker: v ≥ γ, slope ≥ 0, and where v > γ slope = 0
    assert (v >= margin - 1e-9).all()
    assert (slope >= -1e-6).all()
    assert abs(slope @ (v - margin)) < 1e-5


def test_the_dual_where_gradients_repeat() -> None:
    """Two tasks with the same gradient: ε makes the answer one point."""
    G, g = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([-1.0, 1.0])
    v = dual(G @ G.T, G @ g, 0.0)
    assert v[0] == pytest.approx(v[1])
    assert np.allclose(G.T @ v + g, [0.0, 1.0], atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_the_dual_of_large_gradients_that_are_nearly_alike(scale: float) -> None:
    draws = np.random.default_rng(0)
    G = (scale * (np.ones((8, 40)) + 1e-4 * draws.normal(size=(8, 40)))).astype(np.float32)
    g = -scale * np.ones(40, dtype=np.float32)
    v = dual((G @ G.T).astype(np.float64), (G @ g).astype(np.float64), 0.0)
    assert np.linalg.norm(G.T @ v + g) < 0.01 * np.linalg.norm(g)


# --- gradients of groups ------------------------------------------------------------------------------------------------
class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(torch.relu(self.a(x))))


class Outside(nn.Module):
    """A weight that is used outside its layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) + self.b.bias.sum() * x[:, :4]


class ByHand(nn.Module):
    """Examples that depend on one another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.b(h / h.abs().mean())


class Odd(nn.Module):
    """A layer by keyword, a layer whose output goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.idle, self.b = nn.Linear(FEATURES, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(input=x))
        self.idle(h)
        return self.b(h)


NETWORKS = {
    "perceptron": lambda: toy_net(4),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4)
    ),
    "in place": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)),
    "normalised": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)),
    "twice": Twice,
    "outside": Outside,
    "by hand": ByHand,
    "odd": Odd,
}


@pytest.mark.parametrize("sizes", [(7, 7, 7), (3, 9, 1), (5,)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_groups_are_those_of_one_after_another(name: str, masked: bool, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name]()
    if name == "normalised":
        sizes = tuple(max(n, 2) for n in sizes)  # batch statistics of one example are not defined
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    learner.net, learner.theta = net, Vector.of(net)
    of = grad_of(learner)
    n = sum(sizes)
    x, y = torch.randn(n, FEATURES), torch.randint(3, (n,))
    mask = F.one_hot(y, 4).bool() | (torch.rand(n, 4) < 0.5) if masked else None
    for _ in range(3):  # the first call finds out what holds, the others rely on it
        found = gradients(of, learner.theta, Batch(x, y, mask), sizes)
        for k, part in enumerate(torch.arange(n).split(list(sizes))):
            f = net(x[part])
            f = f if mask is None else f.masked_fill(~mask[part], -torch.inf)
            truth = torch.autograd.grad(F.cross_entropy(f, y[part]), learner.theta.tensors, materialize_grads=True)
            for a, b in zip(found.tensors, truth):
                assert torch.allclose(a[k], b, atol=1e-5), name


# --- GEM ----------------------------------------------------------------------------------------------------------------
def projected(method: Method, learner, scale: float = 1.0) -> tuple[Vector, Vector, list[Vector]]:
    """A gradient that goes against the past, what the method makes of it, and the past tasks' gradients."""
    memory, of = learner.state.memory, grad_of(learner)
    past = [of(learner.state.batch(memory.group(k))) for k in range(len(memory.groups) - 1)]
    draws = torch.Generator().manual_seed(1)
    g = learner.theta.map(lambda t: scale * torch.randn(t.shape, generator=draws))
    for p in past:
        g = g - p * (float(g.dot(p) / p.dot(p)) + 0.5)
    return g, method.gradient(learner.state, learner.theta, g.clone(), of), past


def test_gem_is_the_closest_gradient_that_no_task_minds() -> None:
    from scipy.optimize import minimize

    method = GEM(24, margin=0.0)
    learner, _ = after(method, 3, "task")
    g, found, past = projected(method, learner)
    assert min(float(g.dot(p)) for p in past) < 0
    assert all(float(found.dot(p)) > -2e-2 * float(p.dot(p)) ** 0.5 for p in past)
    # brute force in the space that g and the g_k span
    basis = np.linalg.qr(np.stack([g.flat().numpy(), *(p.flat().numpy() for p in past)], 1).astype(np.float64))[0]
    low = {"g": basis.T @ g.flat().double().numpy(), "past": [basis.T @ p.flat().double().numpy() for p in past]}
    best = minimize(
        lambda z: ((z - low["g"]) ** 2).sum() / 2,
        low["g"],
        constraints=[{"type": "ineq", "fun": lambda z, p=p: z @ p} for p in low["past"]],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert np.allclose(basis.T @ found.flat().double().numpy(), best.x, atol=2e-2 * np.linalg.norm(low["g"]))


def test_gem_leaves_a_gradient_alone_that_no_task_minds() -> None:
    method = GEM(24)
    learner, _ = after(method, 3, "task")
    of = grad_of(learner)
    _, g, past = projected(GEM(24, margin=1.0), learner)  # what a method with a margin makes of another
    assert min(float(g.dot(p)) for p in past) > 0
    found = method.gradient(learner.state, learner.theta, g.clone(), of)
    assert all(torch.equal(a, b) for a, b in zip(found.tensors, g.tensors))


def test_a_margin_favours_the_past() -> None:
    learner, _ = after(GEM(24, margin=0.0), 2, "task")
    _, without, past = projected(GEM(24, margin=0.0), learner)
    _, with_margin, _ = projected(GEM(24, margin=2.0), learner)
    assert len(past) == 1
    assert float(with_margin.dot(past[0])) > float(without.dot(past[0])) + float(past[0].dot(past[0]))


# --- A-GEM --------------------------------------------------------------------------------------------------------------
def test_agem_in_closed_form() -> None:
    method = AGEM(24, batch=400)
    learner, _ = after(method, 3, "task")
    state, of = learner.state, grad_of(learner)
    saved = state.draws.get_state()
    present = state.memory.groups[-1]
    reference = of(state.batch(state.memory.sample(400, state.draws, state.memory.filled - present)))
    g = learner.theta.map(torch.randn_like) - reference * 3.0
    assert float(g.dot(reference)) < 0
    state.draws.set_state(saved)
    found = method.gradient(state, learner.theta, g.clone(), of)
    by_hand = g - reference * float(g.dot(reference) / reference.dot(reference))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found.tensors, by_hand.tensors))
    assert abs(float(found.dot(reference))) < 1e-3 * float(reference.dot(reference))
    state.draws.set_state(saved)
    kept = method.gradient(state, learner.theta, (-g).clone(), of)
    assert all(torch.equal(a, -b) for a, b in zip(kept.tensors, g.tensors))


def test_heads_that_are_not_in_use_have_no_gradient() -> None:
    """With the task known, a past batch says nothing of the present task's outputs, nor the present one of the past's."""
    method = AGEM(24)
    learner, stream = after(method, 2, "task")
    of = grad_of(learner)
    batch = Batch(*stream[1].train.take(torch.arange(10))[:2], learner._mask(stream[1]))
    g = of(batch)
    found = method.gradient(learner.state, learner.theta, g.clone(), of)
    assert all(bool(t.isfinite().all()) for t in found.tensors)
    assert not found.tensors[-1][6:].any()  # the third task's outputs


# --- together -----------------------------------------------------------------------------------------------------------
def test_ewc_with_replay_holds_weights_on_the_mixed_batch() -> None:
    """The penalty is added once, to the gradient of new and remembered examples; importance is the task's own."""
    ewc, replay = EWC(5.0), Replay(20)
    both = chain(ewc, replay)
    learner, stream = after(both, 1)
    guard, past = learner.state
    new = Batch(*stream[1].train.take(torch.arange(10))[:2])
    batch = both.examples(learner.state, learner.net, new, generator(0, "x"))
    assert torch.equal(batch.y, replay.examples(past, learner.net, new, generator(0, "x")).y)
    with torch.no_grad():
        for p in learner.theta.tensors:
            p.add_(0.01)
    plain = torch.autograd.grad(cross_entropy(learner.net(batch.x), batch), learner.theta.tensors)
    with torch.no_grad():
        got = both.gradient(learner.state, learner.theta, Vector(learner.theta.names, [g.clone() for g in plain]), None)
        wanted = [
            g + 5.0 * F_ * (p - m)
            for g, F_, p, m in zip(plain, guard.A.tensors, learner.theta.tensors, guard.m.tensors)
        ]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got.tensors, wanted))
    alone, _ = after(ewc, 1)
    assert not all(torch.equal(a, b) for a, b in zip(alone.state.A.tensors, guard.A.tensors))  # other weights by then


def test_gem_projects_what_ewc_has_changed() -> None:
    both = chain(EWC(5.0), GEM(24, margin=0.0))
    learner, _ = after(both, 3, "task")
    state = learner.state[1]
    of = grad_of(learner)
    g = learner.theta.map(torch.randn_like)
    with torch.no_grad():
        found = both.gradient(learner.state, learner.theta, g, of)
    for k in range(2):
        p = of(state.batch(state.memory.group(k)))
        assert float(found.dot(p)) > -2e-2 * float(p.dot(p)) ** 0.5


# --- GDumb --------------------------------------------------------------------------------------------------------------
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
    past = drawn(learner.state, learner._edge(offered, None, stream[1]), seen)
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
