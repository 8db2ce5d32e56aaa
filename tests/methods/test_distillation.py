"""Learning without Forgetting and iCaRL, held to their equations written out example by example."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lifelong import GEM, Augment, LwF, Method, Replay, Stream, Task, Tensors, Training, chain
from lifelong.core.errors import MethodError
from lifelong.core.objective import active_classes
from lifelong.core.segments import Batch, Segment
from lifelong.methods import ICaRL
from lifelong.parts.distillation import answers, distance, kept
from lifelong.training.learner import Learner
from rehearsal_cases import batch_of, step_context
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)


def softened(z: list[float], T: float) -> list[float]:
    """y'_c = y_c^{1/T} / Σ y_d^{1/T}, from the probabilities as the paper writes it."""
    total = sum(math.exp(v) for v in z)
    roots = [(math.exp(v) / total) ** (1 / T) for v in z]
    return [r / sum(roots) for r in roots]


def begun(method: object, stream: Stream, tasks: int = 1, **training: object) -> tuple[Learner, Batch]:
    """A learner in the task after `tasks`, before its first step, and a batch of that task."""
    learner = toy_learner(method, stream, replace(TRAINING, **training))
    for task in stream.tasks[:tasks]:
        learner.learn(task)
    task = stream[tasks]
    learner.enter(task)
    return learner, batch_of(task, 7)


# --- the distance -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("T", [1.0, 2.0, 5.0])
def test_distance_is_the_papers(T: float) -> None:
    g = torch.Generator().manual_seed(0)
    now, then = torch.randn(4, 5, generator=g), torch.randn(4, 5, generator=g)
    known = torch.tensor([True, False, True, True, False])
    found = distance(now, then, known, T)
    for b in range(4):
        y = softened(then[b][known].tolist(), T)
        y_hat = softened(now[b][known].tolist(), T)
        assert float(found[b]) == pytest.approx(-sum(p * math.log(q) for p, q in zip(y, y_hat)), abs=1e-5)
    among = torch.tensor([True, True, True, True, False])
    wider = distance(now, then, known, T, among)
    for b in range(4):
        y = softened(then[b][known].tolist(), T)
        y_hat = [q for q, k in zip(softened(now[b][among].tolist(), T), known[among].tolist()) if k]
        assert float(wider[b]) == pytest.approx(-sum(p * math.log(q) for p, q in zip(y, y_hat)), abs=1e-5)


@pytest.mark.parametrize("unheld", [7.0, float("nan"), float("-inf")])
def test_distance_of_what_is_held_to_nothing_is_none_and_has_no_gradient(unheld: float) -> None:
    """Whatever stands where nothing is held."""
    now = torch.randn(3, 4, requires_grad=True)
    target, held = torch.full((3, 4), unheld), torch.zeros(3, 4, dtype=torch.bool)
    target[1, :2] = torch.tensor([1.0, -1.0])
    held[1, :2] = True
    found = distance(now, target, held, 2.0)
    assert torch.isfinite(found).all()
    assert found[1] > 0
    assert found[0] == found[2] == 0
    found.sum().backward()
    assert torch.isfinite(now.grad).all()
    assert not now.grad[[0, 2]].any()
    assert not now.grad[1, 2:].any()


# --- LwF ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("weighting", ["paper", "tasks"])
def test_lwf_is_its_equation(scenario: str, weighting: str) -> None:
    """In the third task: a head for each old task where tasks are known, one of the old classes where not."""
    method = LwF(0.7, temperature=2.0, weighting=weighting)
    learner, batch = begun(method, toy_stream(scenario, tasks=4), tasks=2)
    before = weights(learner.net)  # at the task's first step the old network is the present one: move away from it
    with torch.no_grad():
        for p in learner.net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    teacher = toy_net(learner.spec.outputs)
    teacher.load_state_dict(before)
    z, y = learner.net(batch.x), teacher(batch.x)
    heads = {"task": [[0, 1, 2], [3, 4, 5]], "class": [list(range(6))], "domain": [[0, 1, 2]]}[scenario]
    H = []
    for head in heads:
        of = []
        for b in range(batch.rows):
            p, q = softened(y[b, head].tolist(), 2.0), softened(z[b, head].tolist(), 2.0)
            of.append(-sum(pc * math.log(qc) for pc, qc in zip(p, q)))
        H.append(sum(of) / len(of))
    present = {"task": [6, 7, 8], "class": list(range(9)), "domain": [0, 1, 2]}[scenario]
    new = F.cross_entropy(z[:, present], batch.y - present[0]).detach()
    expected = float(new) + 0.7 * sum(H) if weighting == "paper" else float(new) / 3 + 2 / 3 * 0.7 * sum(H) / len(H)
    learner.net.train()
    assert ("segments" in method.acts) == (weighting == "tasks")
    found = learner.stepper.loss(learner.stepper.batch(batch.new), z)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)


def test_lwf_old_outputs_are_all_that_is_held() -> None:
    """The weights of new outputs have no part in the distance."""
    learner, batch = begun(LwF(), toy_stream("class"))
    z = learner.net(batch.x)
    LwF().loss(learner.state, batch, z * 1.1, step_context(learner)).backward()
    assert learner.net[-1].weight.grad[:3].any()
    assert not learner.net[-1].weight.grad[3:].any()


def test_lwf_knows_the_old_classes_where_all_outputs_compete() -> None:
    learner, _ = begun(LwF(), toy_stream("class"), outputs="all")
    assert active_classes(learner.stepper.objective) is None
    assert learner.state.before.heads.nonzero()[:, 1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_lwf_warms_up_new_outputs_alone(scenario: str) -> None:
    method, stream = LwF(warmup=6), toy_stream(scenario)
    training = Training(lr=0.1, momentum=0.9, weight_decay=0.1, batch_size=16, iterations=6)
    learner = toy_learner(method, stream, training)
    learner.learn(stream[0])
    before = weights(learner.net)
    learner.learn(stream[1])  # six steps, all of them warming up
    after = weights(learner.net)
    for name, t in before.items():
        if name.startswith("4."):
            assert torch.equal(t[:3], after[name][:3])
            assert torch.equal(t[6:], after[name][6:])
            assert not torch.equal(t[3:6], after[name][3:6])
        else:
            assert torch.equal(t, after[name])
    longer = toy_learner(method, stream, replace(training, iterations=7))
    longer.learn(stream[0])
    middle = weights(longer.net)
    longer.learn(stream[1])
    assert not torch.equal(middle["0.weight"], weights(longer.net)["0.weight"])


def test_lwf_keeps_more_of_the_old_answers_the_stronger_it_is() -> None:
    stream = toy_stream("task", examples=300)
    kept_of = []
    for strength in (0.0, 1.0, 10.0):
        learner = toy_learner(LwF(strength), stream, Training(lr=0.05, batch_size=16, epochs=5))
        learner.learn(stream[0])
        before = answers(learner.net, kept(learner.net), stream[1].train.x)[:, :3].softmax(1)
        learner.learn(stream[1])
        after = answers(learner.net, kept(learner.net), stream[1].train.x)[:, :3].softmax(1)
        kept_of.append(float((before - after).abs().mean()))
    assert kept_of[0] > kept_of[1] > kept_of[2]


def test_lwf_in_a_chain_means_both() -> None:
    """With GEM: what is projected is the gradient of new loss and distillation; with replay: both losses act on both."""
    stream = toy_stream("class")
    both = toy_learner(chain(GEM(16), LwF()), stream, TRAINING)
    alone = toy_learner(GEM(16), stream, TRAINING)
    for learner in (both, alone):
        for task in stream:
            learner.learn(task)
    assert not same(weights(both.net), weights(alone.net))
    replays = toy_learner(chain(Replay(30), LwF()), stream, TRAINING)
    for task in stream:
        replays.learn(task)
    old = next(a for a, _, _ in replays.evaluate(stream))
    lone = toy_learner(LwF(), stream, TRAINING)
    for task in stream:
        lone.learn(task)
    assert old > next(a for a, _, _ in lone.evaluate(stream))


# --- iCaRL --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("distil", [True, False])
def test_icarl_loss_is_its_equation(distil: bool) -> None:
    method = ICaRL(20, distil=distil)
    learner, batch = begun(method, toy_stream("class", tasks=4), tasks=2)
    before = toy_net(learner.spec.outputs)
    before.load_state_dict(weights(learner.net))
    with torch.no_grad():
        for p in learner.net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    slots = learner.state.past.memory.slots
    new = Segment(torch.cat([batch.x, slots["x"][:3]]), torch.cat([batch.y, slots["y"][:3]]))
    x, y = new.x, new.y
    g, q = learner.net(x).sigmoid().detach(), before(x).sigmoid().detach()
    total = 0.0
    for i in range(len(y)):
        for c in range(9):  # nine of twelve classes were seen
            t = float(q[i, c]) if distil and c < 6 else float(y[i] == c)
            total -= t * math.log(float(g[i, c])) + (1 - t) * math.log(1 - float(g[i, c]))
    held = learner.stepper.batch(new)
    found = learner.stepper.loss(held, learner.net(x))
    assert float(found.detach()) == pytest.approx(total / len(y), rel=1e-4)
    assert held.new.y.shape == (10, 12)
    quarter = held.scaled(0.25).loss(learner.stepper.objective, learner.net(x))
    assert float(quarter.detach()) == pytest.approx(total / len(y) / 4, rel=1e-4)


@pytest.mark.parametrize("other", [Replay(12), Augment(shift=1)], ids=lambda m: m.name)
def test_icarl_asks_about_what_the_network_gets(other: Method) -> None:
    """Wherever it stands in a chain: of stored examples too, and of images as they are moved."""
    stream = toy_stream("class")
    parts = [
        replace(t, train=replace(t.train, x=t.train.x.view(-1, 3, 4)), test=replace(t.test, x=t.test.x.view(-1, 3, 4)))
        for t in stream
    ]
    ends = []
    for method in (chain(ICaRL(18), other), chain(other, ICaRL(18))):
        net = nn.Sequential(nn.Flatten(), *toy_net(stream.outputs))
        learner = Learner(net, method, TRAINING, scenario="class")
        for task in parts:
            learner.learn(task)
        ends.append(weights(learner.net))
    assert same(*ends)
    alone = Learner(nn.Sequential(nn.Flatten(), *toy_net(stream.outputs)), ICaRL(18), TRAINING, scenario="class")
    for task in parts:
        alone.learn(task)
    assert not same(weights(alone.net), ends[0])


def test_icarl_answers_with_the_nearest_mean_of_exemplars() -> None:
    stream = toy_stream("class")
    learner = toy_learner(ICaRL(18), stream, TRAINING)
    for task in stream.tasks[:2]:
        learner.learn(task)
    memory = learner.state.past.memory
    assert memory.groups == (3,) * 6
    body = learner.net[:-1].eval()
    with torch.no_grad():
        means = []
        for c in range(6):
            phi = [body(x[None])[0] for x, y in zip(memory.slots["x"][:18], memory.slots["y"][:18]) if y == c]
            mean = sum(p / p.norm() for p in phi) / len(phi)
            means.append(mean / mean.norm())
        x = stream[0].test.x
        for row, answer in zip(body(x), learner.predict(x)):
            distances = [float((row / row.norm() - m).norm()) for m in means]
            assert int(answer) == distances.index(min(distances))


def test_icarl_exemplars_are_the_herded_prefix_of_each_class() -> None:
    stream = toy_stream("class")
    learner = toy_learner(ICaRL(18), stream, TRAINING)
    learner.learn(stream[0])
    first = {c: learner.state.past.memory.group(c)["x"].clone() for c in range(3)}
    learner.learn(stream[1])
    for c in range(3):
        assert torch.equal(learner.state.past.memory.group(c)["x"], first[c][:3])


def test_icarl_trains_on_all_exemplars_beside_the_new_examples() -> None:
    learner, _ = begun(ICaRL(18), toy_stream("class"))
    data = learner.method.data(learner.state, toy_stream("class")[1].train, [])
    assert len(data) == 96 + 18
    assert set(data.labels.tolist()) == set(range(6))


def test_icarl_ablation_of_its_paper() -> None:
    """The hybrids differ from each other, and the nearest mean from the network's own answer."""
    stream = toy_stream("class", examples=300)
    acc = {}
    for name, method in {
        "icarl": ICaRL(27),
        "hybrid1": ICaRL(27, classifier="network"),
        "hybrid2": ICaRL(27, distil=False),
        "hybrid3": ICaRL(27, classifier="network", distil=False),
        "lwf.mc": ICaRL(0, classifier="network"),
    }.items():
        learner = toy_learner(method, stream, Training(lr=0.1, batch_size=16, epochs=5))
        for task in stream:
            learner.learn(task)
        acc[name] = sum(a for a, _, _ in learner.evaluate(stream)) / 3
    assert acc["icarl"] > acc["lwf.mc"]
    assert len(set(acc.values())) >= 4


def test_icarl_bad_input() -> None:
    with pytest.raises(MethodError, match="at least 1"):
        ICaRL(0)
    with pytest.raises(MethodError, match="does not run in the scenario 'domain'"):
        ICaRL().check("domain")
    learner = toy_learner(ICaRL(4), toy_stream("class"), TRAINING)
    learner.learn(toy_stream("class")[0])
    with pytest.raises(MethodError, match="4 exemplars for 6 classes"):
        learner.learn(toy_stream("class")[1])


def test_icarl_one_example_of_a_class_and_a_class_that_returns() -> None:
    g = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(4, FEATURES, generator=g)

    def drawn(counts: dict[int, int]) -> Tensors:
        y = torch.cat([torch.full((n,), c) for c, n in counts.items()])
        return Tensors(centres[y] + torch.randn(len(y), FEATURES, generator=g), y)

    tasks = (
        Task("a", drawn({0: 40, 1: 1}), drawn({0: 20, 1: 20}), (0, 1)),
        Task("b", drawn({1: 40, 2: 40}), drawn({1: 20, 2: 20}), (1, 2)),
        Task("c", drawn({3: 40}), drawn({3: 20}), (3,)),
    )
    stream = Stream(tasks, "class", ("0", "1", "2", "3"))
    learner = Learner(toy_net(4), ICaRL(16), Training(lr=0.05, batch_size=8, epochs=4))
    learner.learn(stream[0])
    assert learner.state.past.memory.groups == (8, 1)
    learner.learn(stream[1])
    learner.learn(stream[2])
    assert learner.state.past.memory.filled <= 16
    assert min(a for a, _, _ in learner.evaluate(stream)) > 0.7
