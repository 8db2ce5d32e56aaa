"""The small quadratic programme of gradient episodic memory (GEM, arXiv 1706.08840, equations 8 to 12).

    min_z ½ ‖z − g‖²  subject to  ⟨z, g_k⟩ ≥ 0 for every past task k

has the dual  min_v ½ vᵀ G Gᵀ v + gᵀ Gᵀ v,  v ≥ 0,  with  z = Gᵀ v + g,  G's rows being the g_k (signs as in the authors' code). It has as
many variables as there are past tasks, so only the Gram matrix G Gᵀ and the products G g leave the device.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dual"]


def dual(
    gram: NDArray[np.float64], products: NDArray[np.float64], margin: float, epsilon: float = 1e-3
) -> NDArray[np.float64]:
    """The v ≥ margin that minimises  ½ vᵀ (G Gᵀ + ε I) v + (G g)ᵀ v.

    Args:
        gram: G Gᵀ, ``[t, t]``.
        products: G g, ``[t]``.
        margin: γ, the least weight of each past gradient (the authors' memory strength).
        epsilon: ε, so that the minimum is one point (theirs is 0.001); more where the gradients are so large that the Gram
            matrix's own rounding exceeds it.

    With u = v − γ and the Cholesky factor L of the matrix it is the non-negative least squares problem
    min_{u ≥ 0} ‖Lᵀ u + L⁻¹ (G g + (G Gᵀ + ε I) γ)‖².
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    t = len(products)
    P = (gram + gram.T) / 2 + max(epsilon, 1e-5 * np.trace(gram) / t) * np.eye(t)
    L = np.linalg.cholesky(P)
    target = solve_triangular(L, products + P @ np.full(t, margin), lower=True)
    u, _ = nnls(L.T, -target)
    return np.asarray(u + margin)
