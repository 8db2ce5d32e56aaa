"""SI, MAS and RWalk against integrals, hand calculation and one-by-one autograd; λ by layer; inputs without labels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from importance_cases import case, context_of
from lifelong import EWC, L2, MAS, SI, MethodError, RWalk, Training, protect
from lifelong.core.contexts import Costs, Spec, Step, StepContext, TaskContext
from lifelong.core.examples import Tensors
from lifelong.core.objective import Classification
from lifelong.core.vector import Vector
from toys import same, toy_learner, toy_net, toy_stream, weights


def vector(*values: float) -> Vector:
    return Vector(("w",), [torch.tensor(values, dtype=torch.float64)])


def at(theta: Vector) -> TaskContext:
    nothing = Tensors(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
    return TaskContext(
        nn.Identity(), theta, nothing, Classification(), 0, None, torch.Generator(), lambda: None, Costs()
    )


def step_at(theta: Vector) -> StepContext:
    return StepContext(nn.Identity(), theta, Classification(), torch.Generator())


def descend(method, state, theta: Vector, H: torch.Tensor, eta: float, steps: int):
    """Gradient descent on ½ Σ H θ² with the method looking on."""
    for _ in range(steps):
        grads = Vector(("w",), [H * theta["w"]])
        after = theta - grads * eta
        state = method.track(state, Step(theta, after, grads, [eta]), step_at(after))
        theta = after
    return state, theta


def test_si_on_a_quadratic() -> None:
    """Loss ½ H θ² under small steps: ω is the integral of −g dθ, what each weight took off the loss: ½ H (θ_0² − θ_T²)."""
    method, H, start = SI(1.0, xi=0.05), torch.tensor([1.0, 4.0], dtype=torch.float64), vector(2.0, -1.0)
    state = method.begin(method.init(start, Spec((), 2, "domain")), at(start))
    state, theta = descend(method, state, start, H, 1e-4, 20_000)
    drop = 0.5 * H * (start["w"].square() - theta["w"].square())
    torch.testing.assert_close(state.omega["w"], drop, rtol=1e-3, atol=0)
    ended = method.end(state, at(theta))
    expected = state.omega["w"] / ((theta["w"] - start["w"]).square() + 0.05)
    torch.testing.assert_close(ended.guard.A["w"], expected)
    assert torch.equal(ended.guard.m["w"], theta["w"])
    # a second task adds its own Ω and starts its path anew
    again = method.begin(ended, at(theta))
    assert float(again.omega["w"].abs().max()) == 0
    again, _ = descend(method, again, theta, H, 1e-4, 10)
    assert float(again.omega["w"].max()) > 0
    torch.testing.assert_close(
        method.end(again, at(theta)).guard.A["w"] >= ended.guard.A["w"], torch.tensor([True, True])
    )


def test_si_needs_damping() -> None:
    with pytest.raises(MethodError, match="expected more than 0"):
        SI(xi=0.0)


def test_si_never_counts_a_weight_that_raised_the_loss() -> None:
    method, start = SI(1.0), vector(1.0, 1.0)
    state = method.begin(method.init(start, Spec((), 2, "domain")), at(start))
    after = vector(1.5, 0.5)
    state = method.track(state, Step(start, after, vector(1.0, 1.0), [0.1]), step_at(after))
    torch.testing.assert_close(state.omega["w"], torch.tensor([-0.5, 0.5], dtype=torch.float64))
    A = method.end(state, at(after)).guard.A["w"]
    torch.testing.assert_close(A, torch.tensor([0.0, 0.5 / (0.25 + 0.1)], dtype=torch.float64))


def test_si_sees_the_gradient_without_its_penalty() -> None:
    """What `track` gets is the gradient of the examples' loss, whatever the penalty adds to it."""
    stream = toy_stream("domain")
    training = Training(lr=0.05, batch_size=16)
    learner = toy_learner(SI(5.0), stream, training)
    learner.learn(stream[0])
    before = learner.theta.clone()
    path = torch.zeros(len(before))
    net = toy_net(stream.outputs)
    net.load_state_dict(learner.net.state_dict())
    from lifelong.core.random import generator

    pull, anchor = learner.state.guard.A.clone(), learner.state.guard.m.clone()
    theta = Vector.of(net)
    order = torch.randperm(96, generator=generator(0, "order/1/0/0"))
    for index in order.split(16):
        net.zero_grad()
        F.cross_entropy(net(stream[1].train.x[index]), stream[1].train.y[index]).backward()
        g = Vector(theta.names, [p.grad.clone() for p in net.parameters()])
        with torch.no_grad():
            delta = (g + pull * (theta - anchor) * 10.0) * -0.05
            theta.add_(delta)
        path -= (g * delta).flat()
    learner.learn(stream[1])
    torch.testing.assert_close(learner.theta.flat(), theta.flat(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.state.omega.flat(), path, rtol=1e-3, atol=1e-5)


def test_mas_on_a_linear_network_by_hand() -> None:
    """F = Wx: ∂‖F‖²/∂W_ij = 2 F_i x_j, so Ω_ij is the mean of |2 F_i x_j|."""
    torch.manual_seed(0)
    net, x = nn.Linear(3, 2, bias=False).double(), torch.randn(40, 3).double()
    found = MAS().end(MAS().init(Vector.of(net), Spec((3,), 2, "domain")), context_of(net, x, torch.zeros(40).long()))
    out = net(x).detach()
    expected = (2 * out[:, :, None] * x[:, None, :]).abs().mean(0)
    torch.testing.assert_close(found.A["weight"], expected)


def test_mas_leaves_out_outputs_that_do_not_compete() -> None:
    net, x, y = case("mlp")
    mask = torch.tensor([True, False, True, False])
    A = MAS().end(MAS().init(Vector.of(net), Spec((6,), 4, "task")), context_of(net, x, y, mask)).A
    assert float(A["2.weight"][[1, 3]].abs().max()) == 0
    assert float(A["2.weight"][[0, 2]].abs().min()) > 0
    assert bool(A.flat().isfinite().all())


def test_mas_sums_over_tasks_and_absolute_values_do_not_cancel() -> None:
    net, x, y = case("mlp")
    method = MAS()
    once = method.end(method.init(Vector.of(net), Spec((6,), 4, "domain")), context_of(net, x, y))
    twice = method.end(once, context_of(net, x, y))
    torch.testing.assert_close(twice.A.flat(), 2 * once.A.flat())
    of_the_sum = torch.cat(
        [g.flatten() for g in torch.autograd.grad(net(x).square().sum() / len(x), list(net.parameters()))]
    )
    assert float(once.A.flat().sum()) > 1.2 * float(of_the_sum.abs().sum())


def test_rwalk_on_two_parameters_by_hand() -> None:
    """Two steps, Δt = 1: F, score and importance as the paper's equations give them with pencil and paper."""
    method, start = RWalk(1.0, alpha=0.5, every=1, epsilon=0.1), vector(1.0, 2.0)
    state = method.begin(method.init(start, Spec((), 2, "domain")), at(start))
    g1, theta1 = vector(1.0, -2.0), vector(0.5, 2.5)
    state = method.track(state, Step(start, theta1, g1, [0.1]), step_at(theta1))
    F1 = torch.tensor([0.5, 2.0], dtype=torch.float64)  # ½ g²
    s1 = torch.tensor([0.5 / (0.5 * 0.5 * 0.25 + 0.1), 1.0 / (0.5 * 2.0 * 0.25 + 0.1)], dtype=torch.float64)
    torch.testing.assert_close(state.F["w"], F1)
    torch.testing.assert_close(state.own["w"], s1)
    g2, theta2 = vector(2.0, 1.0), vector(0.25, 3.0)  # the second weight raises the loss: no score
    state = method.track(state, Step(theta1, theta2, g2, [0.1]), step_at(theta2))
    assert state.steps == 0
    F2 = torch.tensor([0.5 * 0.5 + 0.5 * 4, 0.5 * 2 + 0.5 * 1], dtype=torch.float64)
    s2 = s1 + torch.tensor([0.5 / (0.5 * 2.25 * 0.0625 + 0.1), 0.0], dtype=torch.float64)
    torch.testing.assert_close(state.F["w"], F2)
    torch.testing.assert_close(state.own["w"], s2)
    ended = method.end(state, at(theta2))
    unit = (
        torch.tensor([1.0, 0.0], dtype=torch.float64)
        if F2[0] > F2[1]
        else torch.tensor([0.0, 1.0], dtype=torch.float64)
    )
    score = (
        torch.tensor([1.0, 0.0], dtype=torch.float64)
        if s2[0] > s2[1]
        else torch.tensor([0.0, 1.0], dtype=torch.float64)
    )
    torch.testing.assert_close(ended.guard.A["w"], unit + score)
    # after a second task the score is the mean of the old one and the task's own
    again = method.begin(ended, at(theta2))
    again = method.track(again, Step(theta2, theta1, vector(-1.0, 0.0), [0.1]), step_at(theta1))
    own = again.own["w"].clone()
    torch.testing.assert_close(method.end(again, at(theta1)).score["w"], (s2 + own) / 2)


def test_rwalk_waits_for_its_stretch() -> None:
    """F averages the squared gradients of a whole stretch: α (1 + 4 + 9) / 3."""
    method, start = RWalk(1.0, alpha=0.5, every=3), vector(1.0)
    state = method.begin(method.init(start, Spec((), 1, "domain")), at(start))
    for k in range(1, 4):
        state = method.track(state, Step(vector(1.0), vector(0.9), vector(float(k)), [0.1]), step_at(vector(0.9)))
        assert (float(state.F["w"]) > 0) == (k == 3)
    assert float(state.F["w"]) == pytest.approx(0.5 * 14 / 3)


@pytest.mark.parametrize("method", [L2(0.1, scales=("0.*=0", "2.weight=3")), SI(1.0, scales=("0.*=0", "2.weight=3"))])
def test_strength_by_layer(method) -> None:
    stream = toy_stream("domain")
    plain = type(method)(method.strength)
    one, other = toy_learner(method, stream), toy_learner(plain, stream)
    for learner in (one, other):
        learner.learn(stream[0])
    A, B = one.state.guard.A, other.state.guard.A
    assert float(A["0.weight"].abs().max()) == 0
    torch.testing.assert_close(A["2.weight"], 3 * B["2.weight"])
    assert torch.equal(A["4.weight"], B["4.weight"])
    with pytest.raises(MethodError, match="PATTERN=FACTOR"):
        toy_learner(L2(0.1, scales=("0.weight",)), stream).learn(stream[0])


@pytest.mark.filterwarnings(
    "ignore:si. the importance of every weight is 0"
)  # of the second task, which moves nothing else
@pytest.mark.parametrize("make", [L2, EWC, MAS, SI, RWalk])
def test_a_free_head_moves_and_a_frozen_body_does_not(make) -> None:
    """b = 0 is free, b → ∞ freezes."""
    stream = toy_stream("domain")
    free = toy_learner(make(1e30, implicit=True, head=False), stream)
    free.learn(stream[0])
    guarded = free.state.guard.A.map(lambda a: a > 1e-6)
    before = free.theta.clone()
    free.learn(stream[1])
    moved = (free.theta.clone() - before).abs()
    assert float(moved["4.weight"].max()) > 0
    for name in ("0.weight", "2.weight"):
        held = moved[name][guarded[name]]
        assert float(held.max()) < 1e-5
    assert bool(free.theta.flat().isfinite().all())


def test_inputs_without_labels_also_from_elsewhere() -> None:
    stream = toy_stream("domain")
    x, y = stream[0].train.x, stream[0].train.y

    def trained(method):
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, method)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        return guard

    a, b, c = trained(MAS()), trained(MAS()), trained(MAS())
    a.consolidate((x, y))
    b.consolidate(x)
    c.consolidate(torch.randn(50, x.shape[1], generator=torch.Generator().manual_seed(9)))
    assert torch.equal(a.state.A.flat(), b.state.A.flat())
    assert not torch.equal(a.state.A.flat(), c.state.A.flat())
    trained(EWC(importance="exact")).consolidate(x)
    for method in (EWC(importance="empirical"), L2()):
        with pytest.raises(MethodError, match=r"needs labels.*consolidate\(\(x, y\)\)"):
            trained(method).consolidate(x)


def test_an_output_that_is_no_tensor() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x):
            return {"logits": self.a(x)}

    net = Pair()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    protect(net, optimizer, MAS())
    net(torch.ones(2, 4))["logits"].sum().backward()
    with pytest.raises(MethodError, match=r"logits \[B, C\]; got dict"):
        optimizer.step()  # before it


def test_tied_weights_are_one_weight() -> None:
    net, x, y = case("tied")
    for method in (EWC(1.0), MAS(), SI()):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        guard = protect(net, optimizer, method)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        guard.consolidate((x, y))
        assert guard.state.guard.A.names.count("a.weight") == 1
        assert "b.weight" not in guard.state.guard.A.names
        guard.remove()


def test_frozen_weights_take_no_part() -> None:
    net, x, y = case("partly frozen")
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    guard = protect(net, optimizer, SI())
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    guard.consolidate((x, y))
    assert "a.weight" not in guard.state.guard.A.names


@pytest.mark.parametrize("method", [SI(0.5), MAS(0.1, implicit=True), RWalk(1.0)])
def test_it_holds_what_it_guards(method) -> None:
    stream = toy_stream("domain", examples=300)
    training = Training(lr=0.05, batch_size=16, epochs=4)
    free, held = toy_learner(type(method)(0.0), stream, training), toy_learner(method, stream, training)
    for learner in (free, held):
        learner.learn(stream[0])
    guard = held.state.guard
    A, m = guard.A.clone(), guard.m.clone()
    for learner in (free, held):
        learner.learn(stream[1])
    strayed = [float((A * (learner.theta - m).square()).flat().sum()) for learner in (held, free)]
    assert strayed[0] < 0.7 * strayed[1]
    assert not same(weights(free.net), weights(held.net))
