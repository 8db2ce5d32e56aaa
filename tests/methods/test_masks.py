"""A network of fixed size that tasks share by masks: PackNet on weights, HAT on units."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import HAT, Grow, Learner, PackNet, Training, chain
from lifelong.core.contexts import Step
from lifelong.core.errors import MethodError
from lifelong.core.examples import Tensors
from lifelong.core.method import Method
from lifelong.core.stream import Stream, Task
from lifelong.core.vector import Vector
from lifelong.nets import ResNet18
from lifelong.nets.gated import Gated
from rehearsal_cases import batch_of, step_context
from toys import same, toy_learner, toy_net, toy_stream, weights

METHODS = [PackNet(prune=0.6), HAT(s_max=100.0)]
OPTIMIZERS = [
    Training("sgd", lr=0.05, momentum=0.9, weight_decay=0.05, batch_size=16, epochs=2),
    Training("adamw", lr=0.01, weight_decay=0.1, batch_size=16, epochs=2),
]


def conv_net(norm: bool) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3, padding=1), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*body), nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 2))


def images(tasks: int) -> Stream:
    g = torch.Generator().manual_seed(0)
    made = []
    for t in range(tasks):
        x, y = torch.randn(64, 1, 6, 6, generator=g), torch.arange(64) % 2
        x[y == 1, :, t : t + 3] += 1.5
        made.append(Task(f"t{t}", Tensors(x, y), Tensors(x, y), (0, 1)))
    return Stream(tuple(made), "task", ("a", "b"))


def owned(learner: Learner) -> dict[str, Tensor]:
    """True where a weight belongs to a task that is over."""
    state = learner.state
    if isinstance(learner.method, HAT):
        return state.fixed.dict()
    return {name: owner > 0 for name, owner in state.owner}


@pytest.mark.parametrize("training", OPTIMIZERS, ids=lambda t: t.optimizer)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", ["blobs", "images", "images with batch norm"])
def test_what_is_owned_keeps_its_bits(kind: str, method: Method, training: Training) -> None:
    stream = toy_stream("task", tasks=10, each=2) if kind == "blobs" else images(3)
    net = toy_net(stream.outputs, dropout=0.2) if kind == "blobs" else conv_net("norm" in kind)
    learner = Learner(net, method, training, scenario="task")
    answers: list[Tensor] = []
    for task in stream:
        before = weights(learner.net)
        rests = owned(learner) if answers else {}
        learner.learn(task)
        after = weights(learner.net)
        assert all(torch.equal(after[n][rest], before[n][rest]) for n, rest in rests.items())
        if answers:  # some rest, and others moved
            assert any(bool(rest.any()) for rest in rests.values())
            assert any(not torch.equal(after[n], before[n]) for n in rests)
        answers.append(learner.scores(task.test.x, task))
    assert all(torch.equal(learner.scores(t.test.x, t), a) for t, a in zip(stream, answers))


# --- PackNet ------------------------------------------------------------------------------------------------------------
def test_the_largest_are_kept_by_hand() -> None:
    theta = Vector.from_dict({"w": torch.tensor([[3.0, -1.0, 0.5, -4.0], [2.0, 0.1, -0.2, 7.0]]), "b": torch.ones(2)})
    method = PackNet(prune=0.5)
    learner = toy_learner(method, toy_stream("task"))
    net = nn.Sequential(nn.Linear(4, 2))
    learner.theta, learner.net = theta, net
    state = method.init(theta, None)
    state.owner["w"][1, 3] = 1  # belongs to an earlier task: rests, and does not compete
    context, step = learner.context(toy_stream("task")[0].train, None), step_context(learner)
    state = method.begin(state, context)
    assert state.keep == {"w": 4}  # round(7 / 2)
    assert (state.prune_at, context.steps) == (6, 12)  # half of two epochs of six steps
    moved = theta.clone()
    moved["w"].add_(10.0)
    before = theta.clone()
    method.project(state, Step(before, moved, before, [0.1, 0.1]), step)
    assert float(moved["w"][1, 3]) == 7.0
    for _ in range(4):
        state = method.track(state, Step(before, moved, before, []), step)
    theta["w"][1, 3] = 7.0
    state = method.track(state, Step(before, theta, before, []), step)
    assert state.step == 5
    method.project(state, Step(theta.clone(), theta, before, [0.1, 0.1]), step)
    assert theta["w"].tolist() == [[3.0, -1.0, 0.0, -4.0], [2.0, 0.0, 0.0, 7.0]]
    state = method.end(state, context)
    assert state.owner["w"].tolist() == [[1, 1, 0, 1], [1, 0, 0, 1]]
    assert state.owner["b"].tolist() == [1, 1]


def test_each_task_owns_its_part_of_what_was_free() -> None:
    stream = toy_stream("domain", tasks=3)
    stream = Stream(stream.tasks, "task", stream.class_names)
    learner = toy_learner(PackNet(prune=0.75), stream)
    for task in stream:
        learner.learn(task)
    for name, owner in learner.state.owner:
        if owner.dim() > 1:
            free = owner.numel()
            for k in (1, 2, 3):
                own = int((owner == k).sum())
                assert own == round(0.25 * free), name
                free -= own
            assert not dict(learner.theta)[name][owner == 0].any()  # free weights are 0 at a task's end


def test_a_task_is_answered_without_what_came_later() -> None:
    stream = toy_stream("task")
    learner = toy_learner(PackNet(), stream)
    for task in stream:
        learner.learn(task)
    x, w = stream[1].test.x, {n: p.detach() for n, p in learner.theta}
    masked = {n: p * ((o > 0) & (o <= 2)) if p.dim() > 1 else p for (n, o), p in zip(learner.state.owner, w.values())}
    h = F.relu(F.linear(x, masked["0.weight"], w["0.bias"]))
    h = F.relu(F.linear(h, masked["2.weight"], w["2.bias"]))
    truth = F.linear(h, masked["4.weight"], w["4.bias"])[:, 3:6]
    torch.testing.assert_close(learner.scores(x, stream[1])[:, 3:6], truth)


# --- HAT ----------------------------------------------------------------------------------------------------------------
def test_s_goes_up_within_each_epoch() -> None:
    hat = HAT(s_max=400.0)
    assert [hat._s(step, 5) for step in (0, 4, 5, 9)] == pytest.approx([1 / 400, 400.0, 1 / 400, 400.0])
    assert hat._s(2, 5) == pytest.approx((400 + 1 / 400) / 2)
    assert hat._s(3, 1) == 400.0  # an epoch of one step


def test_the_attention_and_its_gradient_by_hand() -> None:
    """Equation 4 makes the gradient of e that of an attention s_max σ'(e) ∂L/∂a, whatever s."""
    method = HAT(strength=0.0, s_max=50.0)
    stream = toy_stream("task")
    learner = toy_learner(method, stream)
    learner.enter(stream[0])
    net = learner.net
    x, y = stream[0].train.x[:16], stream[0].train.y[:16]
    learner.state.__dict__["step"] = 3  # of an epoch of six
    s = method._s(3, 6)
    net.s = torch.tensor(s)
    with torch.no_grad():
        for e in net.embeddings:
            e.mul_(0.05)  # where s e is within the cosh's reach
    a = [torch.sigmoid(s * e) for e in net.embeddings]
    h = F.relu(net.layers[0](x)) * a[0]
    h = F.relu(net.layers[2](h)) * a[1]
    output = net.layers[4](h)
    torch.testing.assert_close(net(x), output)
    by_a = torch.autograd.grad(F.cross_entropy(output, y), a, retain_graph=True)
    grads = Vector(learner.theta.names, torch.autograd.grad(F.cross_entropy(net(x), y), learner.theta.tensors))
    with torch.no_grad():
        changed = method.gradient(learner.state, grads, learner.stepper.context)
    for i, e in enumerate(net.embeddings):
        sigma = torch.sigmoid(e)
        torch.testing.assert_close(
            changed[f"embeddings.{i}"], 50.0 * sigma * (1 - sigma) * by_a[i], rtol=1e-3, atol=1e-7
        )


def test_the_regulariser_by_hand() -> None:
    method, stream = HAT(strength=2.0, s_max=10.0), toy_stream("task")
    learner = toy_learner(method, stream)
    learner.learn(stream[0])
    learner.enter(stream[1])
    net = learner.net
    used = [m.float() for m in learner.state.masks[0]]
    a = [torch.sigmoid(net.s * e) for e in net.embeddings]
    truth = 2.0 * sum((one * (1 - u)).sum() for one, u in zip(a, used)) / sum((1 - u).sum() for u in used)
    found = method.loss(learner.state, batch_of(stream[1]), torch.zeros(()), learner.stepper.context)
    torch.testing.assert_close(found, truth)


def test_which_weights_rest_by_hand() -> None:
    """g ← (1 − min(a_l,i, a_l−1,j)) g, also from channels to what reads them flattened."""
    learner = Learner(conv_net(True), HAT(s_max=10.0), OPTIMIZERS[0], scenario="task")
    stream = images(2)
    learner.learn(stream[0])
    conv, units = (m.float() for m in learner.state.masks[0])
    rest = learner.state.fixed
    assert torch.equal(rest["layers.0.weight"].float(), conv.view(8, 1, 1, 1).expand(8, 1, 3, 3))
    assert torch.equal(rest["layers.1.weight"].float(), conv)
    channels = conv.view(8, 1).expand(8, 9).flatten()
    assert torch.equal(rest["layers.5.weight"].float(), torch.minimum(units[:, None], channels[None]))
    assert torch.equal(rest["layers.5.bias"].float(), units)
    assert torch.equal(rest["layers.7.weight"].float(), units.expand(2, 16))
    assert rest["layers.7.bias"].all()
    assert not rest["embeddings.0"].any()


def test_the_outputs_of_new_classes_are_free() -> None:
    stream = toy_stream("task")
    learner = toy_learner(HAT(), stream)
    learner.learn(stream[0])
    assert learner.state.outputs.tolist() == [True] * 3 + [False] * 6
    assert not learner.state.fixed["layers.4.weight"][3:].any()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_they_refuse(method: Method) -> None:
    with pytest.raises(MethodError, match="needs to know the task"):
        toy_learner(method, toy_stream("domain"))
    stream = toy_stream("task")
    with pytest.raises(MethodError, match="needs to know the task"):
        toy_learner(method, stream).scores(stream[0].test.x)
    learner = toy_learner(
        chain(method, Grow(threshold=1.0, layers=("layers.0",) if method.name == "hat" else ())), stream
    )
    with pytest.raises(MethodError, match=r"fixed size|cannot widen"):
        learner.learn(stream[0])
    with pytest.raises(MethodError, match=r"below 1|more than 1"):
        PackNet(prune=1.0) if method.name == "packnet" else HAT(s_max=1.0)


def test_hat_needs_a_plain_network() -> None:
    with pytest.raises(MethodError, match=r"expected an nn\.Sequential"):
        Learner(ResNet18(2)((8, 8), 3), HAT(), scenario="task")
    with pytest.raises(MethodError, match="one by one"):
        Gated(nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 2)))
    assert not same(weights(Gated(toy_net(3))), {})
