"""The merged guard against the sum of separate penalties, the exact posterior, and the ends of strength."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lifelong.core.contexts import Step
from lifelong.core.vector import Vector
from lifelong.methods import EWC, L2, MAS, SI, RWalk
from lifelong.parts.fisher import fisher
from lifelong.parts.quadratic import Quadratic
from lifelong.training.settings import Training
from rehearsal_cases import step_context
from toys import same, toy_learner, toy_stream, weights


def vector(*values: float) -> Vector:
    return Vector(("w",), [torch.tensor(values, dtype=torch.float64)])


@given(
    st.lists(
        st.tuples(*[st.floats(0, 10).map(lambda v: 0.0 if v < 1e-3 else v)] * 2, *[st.floats(-5, 5)] * 2),
        min_size=1,
        max_size=6,
    ),
    st.tuples(*[st.floats(-5, 5)] * 2),
)
def test_one_quadratic_is_the_sum_of_all(terms: list[tuple[float, ...]], at: tuple[float, float]) -> None:
    """A(θ − m) equals Σ_t F_t(θ − θ_t), also where some importance is zero."""
    quadratic = Quadratic.none(vector(0, 0))
    force = torch.zeros(2, dtype=torch.float64)
    for f1, f2, t1, t2 in terms:
        F, anchor = vector(f1, f2), vector(t1, t2)
        quadratic = quadratic.plus(F, anchor)
        force += F["w"] * (torch.tensor(at, dtype=torch.float64) - anchor["w"])
    found = quadratic.pull(vector(*at), vector(0, 0), 1.0)["w"]
    torch.testing.assert_close(found, force, rtol=1e-9, atol=1e-9)


def test_no_importance_keeps_the_latest_anchor() -> None:
    quadratic = Quadratic.none(vector(0)).plus(vector(0), vector(3)).plus(vector(0), vector(4))
    assert quadratic.m["w"].item() == 4
    assert quadratic.plus(vector(2), vector(5)).m["w"].item() == 5


def test_linear_gaussian_model_gives_the_exact_posterior() -> None:
    """y ~ N(Xθ, 1) with orthogonal columns: the Fisher is diagonal, so that EWC with λ = 1 on the sums of squares ends at the
    mean of the exact posterior: after two tasks in both forms, after three in the online form with γ = 1 alone (separate
    anchors count the first task twice: Huszár 2018, arXiv 1712.03847)."""
    g = torch.Generator().manual_seed(0)

    def task() -> tuple[torch.Tensor, torch.Tensor]:
        q, _ = torch.linalg.qr(torch.randn(30, 4, generator=g, dtype=torch.float64))
        X = q * torch.tensor([1.0, 3.0, 0.5, 2.0])
        return X, X @ torch.randn(4, generator=g, dtype=torch.float64) + torch.randn(
            30, generator=g, dtype=torch.float64
        )

    def learn(tasks: list[tuple[torch.Tensor, torch.Tensor]], online: bool) -> torch.Tensor:
        theta = Vector(("w",), [torch.zeros(4, dtype=torch.float64)])
        quadratic = Quadratic.none(theta)
        for X, y in tasks:
            for _ in range(4000):
                gradient = Vector(("w",), [X.T @ (X @ theta["w"] - y)])
                theta = theta - quadratic.pull(theta, gradient, 1.0) * 0.03
            F = Vector(("w",), [(X.T @ X).diagonal().clone()])
            quadratic = quadratic.moved(quadratic.A + F, theta) if online else quadratic.plus(F, theta)
        return theta["w"]

    tasks = [task(), task(), task()]
    for n in (2, 3):
        exact = torch.linalg.solve(sum(X.T @ X for X, _ in tasks[:n]), sum(X.T @ y for X, y in tasks[:n]))
        torch.testing.assert_close(learn(tasks[:n], online=True), exact)
        separate = learn(tasks[:n], online=False)
        assert torch.allclose(separate, exact) == (n == 2)


def test_the_implicit_step_is_the_proximal_one() -> None:
    quadratic = Quadratic.none(vector(0, 0)).plus(vector(2, 0), vector(1, 1))
    after = vector(5, 5)
    quadratic.settle(Step(after, after, after, [0.1]), strength=3.0)
    expected = (5 + 0.1 * 3 * 2 * 1) / (1 + 0.1 * 3 * 2)
    torch.testing.assert_close(after["w"], torch.tensor([expected, 5.0], dtype=torch.float64))


def test_any_strength_taken_implicitly_is_stable() -> None:
    stream = toy_stream("domain")
    for strength in (1e3, 1e20, 1e38):
        learner = toy_learner(EWC(strength, implicit=True), stream, Training(lr=0.1, batch_size=16, epochs=3))
        learner.learn(stream[0])
        kept, guarded = learner.theta.clone(), learner.state.A.flat() > 1e-6
        learner.learn(stream[1])
        moved = (learner.theta.flat() - kept.flat()).abs()
        assert bool(learner.theta.flat().isfinite().all())
        if strength > 1e10:
            assert float(moved[guarded].max()) < 1e-6


def test_infinite_l2_freezes() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(L2(float("inf"), implicit=True), stream)
    learner.learn(stream[0])
    kept = weights(learner.net)
    learner.learn(stream[1])
    assert same(kept, weights(learner.net))


def test_online_ewc_keeps_one_anchor_and_a_part_of_the_past() -> None:
    """F* ← γF* + F, and the penalty is λ/2 (θ − θ*)² γF* (1805.06370, equations 8 and 9)."""
    stream = toy_stream("domain")
    learner = toy_learner(EWC(2.0, online=True, gamma=0.5), stream)
    learner.learn(stream[0])
    first = learner.state.A.clone()
    learner.learn(stream[1])
    state = learner.state
    alone = fisher(learner.context(stream[1].train, None))
    torch.testing.assert_close(state.A.flat(), (first * 0.5 + alone).flat())
    assert torch.equal(state.m.flat(), learner.theta.flat())
    away = learner.theta.clone() + 1.0
    pulled = learner.method.gradient(state, away.zeros(), replace(step_context(learner), theta=away))
    torch.testing.assert_close(pulled.flat(), (state.A * (2.0 * 0.5)).flat())
    assert EWC(2.0, online=True, gamma=0.0).force == 0


def test_each_factor_of_lambda() -> None:
    """EWC has λ/2 and pulls with λF(θ − θ*); L2, SI and MAS have λ and pull with twice that."""
    for method, factor in ((EWC(3.0), 1), (L2(3.0), 2), (SI(3.0), 2), (MAS(3.0), 2), (RWalk(3.0), 2)):
        assert method.force == 3.0 * factor


def test_normalised_importance_has_mean_one() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(EWC(1.0, normalise=True), stream)
    learner.learn(stream[0])
    assert float(learner.state.A.flat().mean()) == pytest.approx(1.0, rel=1e-5)


def test_no_importance_and_no_bound_on_strength() -> None:
    """λ = ∞ with weights of no importance: those are free, the others are held, and nothing is NaN."""
    stream = toy_stream("domain")
    for task in stream:
        task.train.x[:, 0] = 0  # a dead input
    learner = toy_learner(EWC(float("inf"), implicit=True), stream)
    learner.learn(stream[0])
    dead = learner.state.A["0.weight"][:, 0]
    assert float(dead.max()) == 0
    learner.learn(stream[1])
    assert bool(learner.theta.flat().isfinite().all())


def test_l2_anchors() -> None:
    stream = toy_stream("domain")
    each, last = (toy_learner(L2(0.001, anchors=a), stream) for a in ("each", "last"))
    anchors = []
    for task in stream.tasks[:2]:
        for learner in (each, last):
            learner.learn(task)
        anchors.append(each.theta.flat().clone())
    torch.testing.assert_close(each.state.m.flat(), sum(anchors) / 2)
    assert torch.equal(each.state.A.flat(), torch.full_like(anchors[0], 2))
    assert torch.equal(last.state.m.flat(), last.theta.flat())
    assert torch.equal(last.state.A.flat(), torch.ones_like(anchors[0]))
