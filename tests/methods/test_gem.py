"""GEM against the closest gradient by brute force, A-GEM in closed form."""

from __future__ import annotations

import numpy as np
import torch

from lifelong.core.chain import chain
from lifelong.core.method import Method
from lifelong.core.vector import Vector
from lifelong.methods import AGEM, EWC, GEM
from rehearsal_cases import after, batch_of, step_context


def projected(method: Method, learner, scale: float = 1.0) -> tuple[Vector, Vector, list[Vector]]:
    """A gradient that goes against the past, what the method makes of it, and the past tasks' gradients."""
    memory, context = learner.state.memory, step_context(learner)
    past = [context.gradient_of(learner.state.segment(memory.group(k))) for k in range(len(memory.groups) - 1)]
    draws = torch.Generator().manual_seed(1)
    g = learner.theta.map(lambda t: scale * torch.randn(t.shape, generator=draws))
    for p in past:
        g = g - p * (float(g.dot(p) / p.dot(p)) + 0.5)
    return g, method.gradient(learner.state, g.clone(), context), past


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
    context = step_context(learner)
    _, g, past = projected(GEM(24, margin=1.0), learner)  # what a method with a margin makes of another
    assert min(float(g.dot(p)) for p in past) > 0
    found = method.gradient(learner.state, g.clone(), context)
    assert all(torch.equal(a, b) for a, b in zip(found.tensors, g.tensors))


def test_a_margin_favours_the_past() -> None:
    learner, _ = after(GEM(24, margin=0.0), 2, "task")
    _, without, past = projected(GEM(24, margin=0.0), learner)
    _, with_margin, _ = projected(GEM(24, margin=2.0), learner)
    assert len(past) == 1
    assert float(with_margin.dot(past[0])) > float(without.dot(past[0])) + float(past[0].dot(past[0]))


def test_agem_in_closed_form() -> None:
    method = AGEM(24, batch_size=400)
    learner, _ = after(method, 3, "task")
    state, context = learner.state, step_context(learner)
    saved = state.draws.get_state()
    present = state.memory.groups[-1]
    reference = context.gradient_of(state.segment(state.memory.sample(400, state.draws, state.memory.filled - present)))
    g = learner.theta.map(torch.randn_like) - reference * 3.0
    assert float(g.dot(reference)) < 0
    state.draws.set_state(saved)
    found = method.gradient(state, g.clone(), context)
    by_hand = g - reference * float(g.dot(reference) / reference.dot(reference))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found.tensors, by_hand.tensors))
    assert abs(float(found.dot(reference))) < 1e-3 * float(reference.dot(reference))
    state.draws.set_state(saved)
    kept = method.gradient(state, (-g).clone(), context)
    assert all(torch.equal(a, -b) for a, b in zip(kept.tensors, g.tensors))


def test_heads_that_are_not_in_use_have_no_gradient() -> None:
    """With the task known, a past batch says nothing of the present task's outputs, nor the present one of the past's."""
    method = AGEM(24)
    learner, stream = after(method, 2, "task")
    context = step_context(learner)
    assert torch.equal(context.objective.active, learner.objective(stream[1]).active)
    g = context.gradient_of(batch_of(stream[1]).new)
    found = method.gradient(learner.state, g.clone(), context)
    assert all(bool(t.isfinite().all()) for t in found.tensors)
    assert not found.tensors[-1][6:].any()  # the third task's outputs


def test_gem_projects_what_ewc_has_changed() -> None:
    both = chain(EWC(5.0), GEM(24, margin=0.0))
    learner, _ = after(both, 3, "task")
    state = learner.state[1]
    context = step_context(learner)
    g = learner.theta.map(torch.randn_like)
    with torch.no_grad():
        found = both.gradient(learner.state, g, context)
    for k in range(2):
        p = context.gradient_of(state.segment(state.memory.group(k)))
        assert float(found.dot(p)) > -2e-2 * float(p.dot(p)) ** 0.5
