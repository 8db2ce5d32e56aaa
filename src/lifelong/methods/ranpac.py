"""RanPAC (McDonnell et al. 2023, arXiv 2307.02251): random projections of a pre-trained network's features, and their prototypes.

    h = max(0, Pᵀ z),     P ~ N(0, 1) fixed,  M wide
    G = Σ_n h_n h_nᵀ  [M, M],     C = Σ_n h_n y_nᵀ  [M, K],     over all examples of all tasks; y one-hot
    W = (G + λ I)⁻¹ C,     answer argmax_k hᵀ W

The columns of C are the classes' prototypes; (G + λ I)⁻¹ decorrelates them. λ is chosen after each task, among powers of ten, on a fifth of
the task's examples: G and C take in the other four fifths, and that λ is kept with which W has the least squared error on the fifth; then
that is taken in as well. G and C are the same in whatever order the tasks come; λ is the last task's.

The paper's first part, adapters trained on the first task, is left out: features are those of a frozen network (`lifelong.featured`).
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
from ..core.examples import Examples
from ..core.growth import IndexMap
from ..core.random import generator
from ..core.vector import Vector, double
from ..parts.stepless import Stepless, rows

__all__ = ["RanPAC"]


@final
@dataclass(frozen=True)
class Prototypes:
    """The projection, the sums over all examples met (``float64``, on the CPU), and the classifier that they make, on the network's device."""

    P: Tensor  # [d, M], where the classifier is
    G: Tensor  # [M, M]
    C: Tensor  # [M, K]
    W: Tensor  # [M, K]
    ridge: float  # λ


@final
@dataclass(frozen=True)
class RanPAC(Stepless):
    """Answers by a ridge regression on random features of all that it has met, of which it keeps sums.

    Args:
        width: M; default: four times the inputs' width, at most 2,000 (the paper: 10,000). Memory grows with its square, time with its cube.
        ridges: λ, one of these; a single one is taken as it is.
    """

    width: int | None = None
    ridges: tuple[float, ...] = tuple(10.0**k for k in range(-8, 9))

    name: ClassVar[str] = "ranpac"
    summary: ClassVar[str] = "RanPAC: a ridge regression on random projections, of sums alone; for feature vectors"
    paper: ClassVar[str] = "McDonnell et al. 2023, arXiv 2307.02251"

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise MethodError(f"ranpac: width {self.width}: expected at least 1")
        if not self.ridges or not all(ridge > 0 for ridge in self.ridges):
            raise MethodError(f"ranpac: ridges {self.ridges}: expected one or more numbers above 0")

    def init(self, theta: Vector, spec: Spec) -> Prototypes:
        d = math.prod(spec.shape)
        M = self.width or min(4 * d, 2000)
        draws = generator(spec.seed, "ranpac")
        P = torch.randn(d, M, generator=draws, dtype=torch.float64)
        G, C = P.new_zeros(M, M), P.new_zeros(M, spec.outputs)
        device = theta.tensors[0].device
        P, W = (t.to(double(device)).to(device) for t in (P, C))
        return Prototypes(P, G, C, W, self.ridges[len(self.ridges) // 2])

    def end(self, state: Prototypes, context: TaskContext) -> Prototypes:
        assert context.task is not None
        examples, ridge = context.task.train, state.ridge
        order = torch.randperm(len(examples), generator=context.generator, device=context.generator.device).cpu()
        fifth, rest = order.tensor_split([len(order) // 5])
        P = state.P.cpu().double()
        G, C = _with(state.G, state.C, P, examples.subset(rest))
        if len(fifth):  # of fewer than five examples none is held out
            held = examples.subset(fifth)
            ridge = self._ridge(G, C, P, held)
            G, C = _with(G, C, P, held)
        eye = torch.eye(len(G), dtype=G.dtype, device=G.device)
        W = torch.linalg.solve(G + ridge * eye, C)
        return Prototypes(state.P, G, C, W.to(state.P.dtype).to(state.P.device), ridge)

    def _ridge(self, G: Tensor, C: Tensor, P: Tensor, held: Examples) -> float:
        """The λ with the least squared error. With G = V diag(e) Vᵀ, W is V diag(1 / (e + λ)) Vᵀ C for every λ."""
        if len(self.ridges) == 1:
            return self.ridges[0]
        e, V = torch.linalg.eigh(G)
        e, inner = e.clamp(min=0), V.T @ C
        errors = G.new_zeros(len(self.ridges))
        for z, y in rows(held, P):
            h, target = _projected(z, P) @ V, F.one_hot(y, C.shape[1])
            errors += torch.stack([(h @ (inner / (e + r)[:, None]) - target).square().sum() for r in self.ridges])
        return self.ridges[int(errors.argmin())]

    def placed(self, state: Prototypes, like: Tensor) -> Prototypes:
        P, W = (t.to(double(like.device)).to(like.device) for t in (state.P, state.W))
        return replace(state, P=P, W=W)

    def answering(self, state: Prototypes) -> Prototypes:
        return replace(state, G=state.G[:0], C=state.C[:0])

    def predict(self, state: Prototypes | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None:
            return net(x)  # type: ignore[no-any-return]
        return _projected(x.flatten(1).to(state.P.dtype), state.P) @ state.W

    def resize(self, state: Prototypes, mapping: IndexMap, theta: Vector) -> Prototypes:
        more = 0 if mapping.outputs is None else mapping.outputs - state.C.shape[1]
        return Prototypes(state.P, state.G, F.pad(state.C, (0, more)), F.pad(state.W, (0, more)), state.ridge)


def _projected(z: Tensor, P: Tensor) -> Tensor:
    return (z @ P).relu()


def _with(G: Tensor, C: Tensor, P: Tensor, examples: Examples) -> tuple[Tensor, Tensor]:
    """G and C with `examples` taken in."""
    for z, y in rows(examples, P):
        h = _projected(z, P)
        G, C = torch.addmm(G, h.T, h), C.index_add(1, y, h.T)
    return G, C
