"""GEM's dual against quadprog, against its conditions, and where gradients are nearly alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifelong.parts.gem_qp import dual


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
