"""Streaming linear discriminant analysis (Hayes & Kanan 2020, arXiv 1909.01520): class means and one covariance, kept up to date.

    μ_k ← μ_k + (z − μ_k) / (c_k + 1),     c_k ← c_k + 1                                    of an example z of class k
    S   ← S + c_k / (c_k + 1) (z − μ_k)(z − μ_k)ᵀ,     Σ = S / t                            before that; t examples in all
    Λ   = [(1 − ε) Σ + ε I]⁻¹
    w_k = Λ μ_k,     b_k = −½ μ_kᵀ Λ μ_k,     answer argmax_k w_kᵀ z + b_k

Many examples are taken in at once as one would be (Chan, Golub & LeVeque 1979), in double precision: μ and Σ are those of all examples
met, however they are cut into tasks and ordered. The paper's rule for Σ has t in the place of c_k, so that its Σ depends a little on the
order. With ε = 1 it is the nearest mean. The authors' code can begin with the covariance of a base set of examples; here Σ begins at 0, and
the first task is learnt as any other.

It is made for feature vectors (`lifelong.featured`), and trains no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.vector import Vector, double
from ..parts.stepless import Stepless, rows

__all__ = ["SLDA"]


@final
@dataclass(frozen=True)
class Discriminant:
    """The statistics of all examples met (``float64``, on the CPU), and the classifier that they make, on the network's device."""

    means: Tensor  # μ [C, d]
    counts: Tensor  # c [C]
    scatter: Tensor  # S [d, d]
    weights: Tensor  # w [C, d]
    bias: Tensor  # b [C]


@final
@dataclass(frozen=True)
class SLDA(Stepless):
    """Answers by linear discriminant analysis of all that it has met, of which it keeps means and a covariance.

    Args:
        shrinkage: ε, above 0; at 1 the covariance does not count.
    """

    shrinkage: float = 1e-4

    name: ClassVar[str] = "slda"
    summary: ClassVar[str] = (
        "streaming linear discriminant analysis: class means and one covariance; for feature vectors"
    )
    paper: ClassVar[str] = "Hayes & Kanan 2020, arXiv 1909.01520"

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            raise MethodError(
                f"slda: shrinkage {self.shrinkage}: expected above 0, so that Λ exists from the first example on, and at most 1"
            )

    def init(self, theta: Vector, spec: Spec) -> Discriminant:
        C, d = spec.outputs, math.prod(spec.shape)
        means, counts, scatter = (torch.zeros(shape, dtype=torch.float64) for shape in ((C, d), (C,), (d, d)))
        return Discriminant(means, counts, scatter, *_at(theta.tensors[0].device, means, counts))

    def end(self, state: Discriminant, context: TaskContext) -> Discriminant:
        assert context.task is not None
        mu, c, S = state.means, state.counts, state.scatter
        for z, y in rows(context.task.train, mu):
            mu, c, S = _with(mu, c, S, z, y)
        eye = torch.eye(len(S), dtype=S.dtype, device=S.device)
        root = torch.linalg.cholesky((1 - self.shrinkage) / c.sum() * S + self.shrinkage * eye)
        w = torch.cholesky_solve(mu.T, root).T
        bias = (-(w * mu).sum(1) / 2).masked_fill(c == 0, float("-inf"))  # a class that was never met
        return Discriminant(mu, c, S, *_at(context.theta.tensors[0].device, w, bias))

    def placed(self, state: Discriminant, like: Tensor) -> Discriminant:
        weights, bias = _at(like.device, state.weights, state.bias)
        return replace(state, weights=weights, bias=bias)

    def answering(self, state: Discriminant) -> Discriminant:
        return replace(state, means=state.means[:0], counts=state.counts[:0], scatter=state.scatter[:0])

    def predict(self, state: Discriminant | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None:
            return net(x)  # type: ignore[no-any-return]
        return x.flatten(1).to(state.weights.dtype) @ state.weights.T + state.bias

    def resize(self, state: Discriminant, mapping: IndexMap, theta: Vector) -> Discriminant:
        more = 0 if mapping.outputs is None else mapping.outputs - len(state.counts)
        means, weights = (F.pad(t, (0, 0, 0, more)) for t in (state.means, state.weights))
        return Discriminant(
            means,
            F.pad(state.counts, (0, more)),
            state.scatter,
            weights,
            F.pad(state.bias, (0, more), value=float("-inf")),
        )


def _at(device: torch.device, *tensors: Tensor) -> list[Tensor]:
    """On the network's device, as precisely as it calculates."""
    return [t.to(double(device)).to(device) for t in tensors]


def _with(mu: Tensor, c: Tensor, S: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """μ, c and S with examples `z` ``[n, d]`` of classes `y` taken in."""
    n = y.bincount(minlength=len(c)).to(c)
    own = torch.zeros_like(mu).index_add(0, y, z) / n.clamp(min=1)[:, None]  # means of these examples
    share = n / (n + c).clamp(min=1)
    within = z - own[y]
    between = (own - mu) * (share * c).sqrt()[:, None]
    return mu + share[:, None] * (own - mu), c + n, S + within.T @ within + between.T @ between
