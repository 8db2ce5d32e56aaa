"""A larger network that computes the same function, and all that is kept for each weight following it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lifelong.core.chain import chain
from lifelong.core.errors import MethodError
from lifelong.core.growth import Growth, carry_moments
from lifelong.core.vector import Vector
from lifelong.methods import EWC, SI, Replay, RWalk
from lifelong.nets import MLP, ResNet18, deepen, widen
from lifelong.nets.growing import grow
from lifelong.parts.fisher import fisher
from lifelong.parts.quadratic import Quadratic
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from toys import toy_net, toy_stream


class Reader(nn.Module):
    """Reads a sequence ``[B, T, 3]`` and answers with its last step, or with all of them flattened."""

    def __init__(self, hidden: int, last: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.LSTM(3, hidden, batch_first=True), nn.LSTM(hidden, 4, batch_first=True)
        self.out, self.last = nn.Linear(4 if last else 4 * 5, 2), last

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(torch.tanh(self.first(x)[0]))[0]
        return self.out(h[:, -1] if self.last else h.flatten(1))


def conv_net(channels: int, units: int, norm: bool, pool: bool) -> nn.Sequential:
    first: list[nn.Module] = [nn.Conv2d(2, channels, 3, padding=1)]
    first += [nn.BatchNorm2d(channels)] if norm else []
    second = [nn.ReLU(), *([nn.MaxPool2d(2)] if pool else []), nn.Conv2d(channels, 3, 3, padding=1, bias=False)]
    side = 3 if pool else 6
    return nn.Sequential(
        nn.Sequential(*first, *second),
        *(
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3 * side**2, units),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Linear(units, 2),
        ),
    )


def settled(net: nn.Module, x: Tensor) -> nn.Module:
    """With statistics that are not those of a new batch norm, and evaluated."""
    net.train()
    for _ in range(3):
        net(x)
    return net.eval()


def growable(net: nn.Module) -> list[str]:
    """The layers that are not read out."""
    return [n for n, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.LSTM)][:-1]


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(draw(st.integers(0, 10_000)))
    kind = draw(st.sampled_from(["mlp", "conv", "lstm"]))
    if kind == "mlp":
        hidden = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
        return MLP(hidden, dropout=draw(st.sampled_from([0.0, 0.5])))((5,), 3), torch.randn(4, 5)
    if kind == "conv":
        sizes = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        return conv_net(*sizes, draw(st.booleans()), draw(st.booleans())), torch.randn(6, 2, 6, 6)
    return Reader(draw(st.integers(1, 6)), draw(st.booleans())), torch.randn(3, 5, 3)


@settings(max_examples=60, deadline=None)
@given(networks(), st.data())
def test_growing_changes_no_output(made: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    net, x = made
    settled(net, x)
    before = net(x).detach()
    for _ in range(data.draw(st.integers(1, 3))):
        layer = data.draw(st.sampled_from(growable(net)))
        module = net.get_submodule(layer)
        deeper = not isinstance(module, nn.LSTM) and data.draw(st.booleans())
        if deeper:
            deepen(net, layer, x=x if data.draw(st.booleans()) else None)
        else:
            n = module.weight.shape[0] if not isinstance(module, nn.LSTM) else module.hidden_size
            widen(net, layer, n + data.draw(st.integers(1, 9)), seed=data.draw(st.integers(0, 99)))
        assert float((net.eval()(x).detach() - before).abs().max()) < 1e-5
    net.train()
    net(x).sum().backward()  # it still learns
    assert all(p.grad is not None for p in net.parameters())


def test_widening_by_hand() -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        net[2].weight.copy_(torch.tensor([[6.0, 12.0]]))
    mapping = widen(net, "0", 5, seed=3)
    rows = mapping.source["0.weight"][1][0]
    assert rows[:2].tolist() == [0, 1]
    times = [int((rows == unit).sum()) for unit in (0, 1)]
    assert net[0].weight.flatten().tolist() == [float(unit + 1) for unit in rows]
    assert net[2].weight.flatten().tolist() == [6.0 * (unit + 1) / times[unit] for unit in rows]


def test_noise_is_on_the_copies_only() -> None:
    torch.manual_seed(0)
    for net, layer, n, own in (
        (toy_net(3), "0", 16, ("weight",)),
        (Reader(3, True), "first", 3, ("weight_ih_l0", "weight_hh_l0")),
    ):
        quiet, noisy = copy.deepcopy(net), copy.deepcopy(net)
        widen(quiet, layer, 20, seed=5)
        widen(noisy, layer, 20, seed=5, noise=0.1)
        for (name, a), (_, b) in zip(quiet.named_parameters(), noisy.named_parameters()):
            where, _, last = name.rpartition(".")
            if where == layer and last in own:
                blocks = (a - b).view(-1, 20, a.shape[1])
                assert not blocks[:, :n].any()
                assert bool((blocks[:, n:] != 0).all())
            else:
                assert torch.equal(a, b)


def loss_gradient(net: nn.Module, x: Tensor, y: Tensor) -> Vector:
    theta = Vector.of(net)
    return Vector(theta.names, torch.autograd.grad(F.cross_entropy(net(x), y), theta.tensors))


def cases() -> list[tuple[nn.Module, str, Tensor]]:
    torch.manual_seed(1)
    nets = [
        (toy_net(3), "2", torch.randn(8, 12)),
        (conv_net(3, 4, True, True), "0.0", torch.randn(8, 2, 6, 6)),
        (conv_net(3, 4, False, False), "0.2", torch.randn(8, 2, 6, 6)),
        (Reader(4, True), "first", torch.randn(8, 5, 3)),
        (Reader(4, False), "norm", torch.randn(8, 5, 3)),
    ]
    return [(settled(net, x), layer, x) for net, layer, x in nets]


@pytest.mark.parametrize("case", range(5))
def test_gradients_and_their_squares_follow(case: int) -> None:
    """What the map says a gradient becomes is the gradient of the grown network."""
    net, layer, x = cases()[case]
    y = torch.randint(2, (8,), generator=torch.Generator().manual_seed(0))
    before = loss_gradient(net, x, y)
    mapping = grow(net, Growth("wider", layer, 21, seed=4))
    after = loss_gradient(net, x, y)
    torch.testing.assert_close(mapping.carry(before, Vector.of(net), role="gradient").flat(), after.flat())
    torch.testing.assert_close(
        mapping.carry(before.square(), Vector.of(net), role="square").flat(), after.square().flat()
    )


def test_a_fisher_follows_as_a_square() -> None:
    stream = toy_stream("domain")
    learner = Learner(toy_net(3), EWC(1.0), scenario="domain")
    learner.learn(stream[0])
    before = fisher(learner.context(stream[0].train, None))
    mapping = widen(learner.net, "0", 40, seed=2)
    learner.theta = Vector.of(learner.net)
    after = fisher(learner.context(stream[0].train, None))
    torch.testing.assert_close(mapping.carry(before, learner.theta, role="square").flat(), after.flat())


@pytest.mark.parametrize("case", range(5))
def test_a_guard_is_what_it_was_where_copies_move_together(case: int) -> None:
    """½ Σ A' (Gθ − m')² = ½ Σ A (θ − m)², for every θ of the smaller network and its image Gθ in the grown one."""
    net, layer, _ = cases()[case]
    theta = Vector.of(net).clone()
    g = torch.Generator().manual_seed(7)
    A, m, other = (theta.map(lambda t: torch.rand(t.shape, generator=g)) for _ in range(3))
    old = Quadratic(A, m, 1)
    mapping = grow(net, Growth("wider", layer, 19, seed=1))
    new = old.resize(mapping, Vector.of(net))
    image = mapping.carry(other, Vector.of(net))
    before = old.A.dot((other - old.m).square())
    torch.testing.assert_close(new.A.dot((image - new.m).square()), before)
    work = mapping.carry(A, Vector.of(net), role="share")
    torch.testing.assert_close(work.flat().sum(), A.flat().sum())  # nothing of a path's gain is lost


@pytest.mark.parametrize(
    "training",
    [
        Training("sgd", lr=0.0, momentum=0.9),
        Training("adam", lr=0.0),
        Training("rmsprop", lr=0.0, momentum=0.5),
        Training("adagrad", lr=0.0),
    ],
    ids=lambda t: t.optimizer,
)
def test_moments_are_those_that_the_grown_network_would_have(training: Training) -> None:
    x, y = torch.randn(8, 12), torch.randint(3, (8,))
    small = toy_net(3)
    large = copy.deepcopy(small)
    mapping = widen(large, "2", 23, seed=9)
    moments = []
    for net in (small, large):
        optimizer = training.build(net)
        for row in range(3):
            optimizer.zero_grad()
            F.cross_entropy(net(x[row : row + 4]), y[row : row + 4]).backward()
            optimizer.step()
        moments.append(optimizer.state_dict())
    carried = carry_moments(moments[0], Vector.of(small), Vector.of(large), mapping)
    for i, state in moments[1]["state"].items():
        for key, value in state.items():
            if training.optimizer == "rmsprop" and key == "momentum_buffer":
                rest = (value - carried["state"][i][key]).abs().mean() / value.abs().mean()
                assert float(rest) < 0.05  # its √v + ε does not scale where v is next to nothing
            else:
                torch.testing.assert_close(carried["state"][i][key], value)


@pytest.mark.parametrize("method", [EWC(1.0), SI(1.0), RWalk(1.0), chain(EWC(1.0), Replay(20))], ids=lambda m: m.name)
def test_learning_goes_on_after_every_growth(method) -> None:
    stream = toy_stream("domain")
    learner = Learner(toy_net(3), method, Training("adam", lr=0.01, batch_size=16), scenario="domain")
    learner.learn(stream[0])
    before = learner.evaluate(stream)[0][0]
    learner.grow([Growth("wider", "0", 30, seed=1, noise=0.01), Growth("deeper", "2"), Growth("wider", "3.1", 20)])
    assert abs(learner.evaluate(stream)[0][0] - before) < 0.05
    learner.learn(stream[1])
    again = Learner(toy_net(3), method, Training("adam", lr=0.01, batch_size=16), scenario="domain")
    again.load_state_dict(learner.state_dict())
    for one in (learner, again):
        one.learn(stream[2])
    assert torch.equal(learner.theta.flat(), again.theta.flat())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.c(torch.relu(x + self.b(h)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.a(x)))


class Asking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) if x.sum() > 0 else self.b(x)


def test_what_the_structure_allows_within_a_residual_network() -> None:
    torch.manual_seed(0)
    net, x = Residual(), torch.randn(3, 4)
    before = net(x)
    widen(net, "a", 9)
    torch.testing.assert_close(net(x), before)
    resnet, image = ResNet18(4)((8, 8), 3).eval(), torch.randn(2, 8, 8)
    before = resnet(image)
    widen(resnet, "4.first", 7)
    torch.testing.assert_close(resnet(image), before)


@pytest.mark.parametrize(
    ("net", "layer", "size", "says"),
    [
        (Residual(), "b", 9, "come to add"),
        (Residual(), "d", 9, "no layer 'd'"),
        (Residual(), "norm", 9, "is a LayerNorm"),
        (Residual(), "c", 9, "the network's outputs"),
        (Tied(), "a", 9, "used 2 times"),
        (Asking(), "a", 9, "cannot be read as a graph"),
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), "0", 9, "come to LayerNorm"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)), "0", 9, "come to Softmax"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "0", 3, "cannot be widened to 3"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 2)), "0", 9, "flatten them before"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1)), "0", 9, "2 groups"),
        (nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1, groups=2)), "0", 9, "2 groups"),
        (nn.LSTM(3, 4), "", 9, "no layer ''"),
        (nn.Sequential(nn.LSTM(3, 4, 2)), "0", 9, "one layer and one direction"),
    ],
)
def test_what_cannot_widen_says_why(net: nn.Module, layer: str, size: int, says: str) -> None:
    before = {n: t.clone() for n, t in net.state_dict().items()}
    with pytest.raises(MethodError, match=says):
        widen(net, layer, size)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_what_cannot_deepen_says_why() -> None:
    with pytest.raises(MethodError, match="behind '0' comes Tanh"):
        deepen(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), "0")
    with pytest.raises(MethodError, match="outputs"):
        deepen(toy_net(3), "4")
    with pytest.raises(MethodError, match="odd"):
        deepen(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), "0", kernel=2)
    relu = nn.ReLU()
    with pytest.raises(MethodError, match="used elsewhere"):
        deepen(nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 2)), "0")
    with pytest.raises(MethodError, match="noise"):
        widen(toy_net(3), "0", 20, noise=-1.0)
