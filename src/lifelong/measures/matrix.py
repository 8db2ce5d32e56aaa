"""The matrix R of a life of learning, and every measure that is computed from it.

``R[i, j]`` is the accuracy on task j after learning i tasks, i = 0..T, j = 1..T (stored from 0): row 0 is the untrained
network. What was not measured, or is not defined, is NaN and stays NaN in whatever depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Interval", "RMatrix", "interval", "paired"]


@final
@dataclass(frozen=True, eq=False)
class RMatrix:
    """R, ``[T+1, T]``, values in 0..1."""

    R: NDArray[np.float64]

    def __post_init__(self) -> None:
        R = np.asarray(self.R, dtype=np.float64)
        if R.ndim != 2 or R.shape[0] != R.shape[1] + 1:
            raise ValueError(f"R of shape {list(R.shape)}: expected [T+1, T], row 0 being the untrained network's")
        object.__setattr__(self, "R", R)

    @property
    def T(self) -> int:  # noqa: N802 (the papers' symbol)
        return int(self.R.shape[1])

    @property
    def acc(self) -> float:
        """Average accuracy, 1/T Σ_j R[T, j] (GEM, arXiv 1706.08840, eq. 2)."""
        return float(np.mean(self.R[-1]))

    @property
    def bwt(self) -> float:
        """Backward transfer, 1/(T−1) Σ_{i<T} R[T, i] − R[i, i] (GEM, eq. 3). NaN with one task."""
        if self.T < 2:
            return float("nan")
        return float(np.mean(self.R[-1, :-1] - np.diagonal(self.R[1:])[:-1]))

    @property
    def fwt(self) -> float:
        """Forward transfer, 1/(T−1) Σ_{i≥2} R[i−1, i] − R[0, i] (GEM, eq. 4). NaN with one task."""
        if self.T < 2:
            return float("nan")
        return float(np.mean(np.diagonal(self.R[1:], offset=1) - self.R[0, 1:]))

    @property
    def forgetting(self) -> float:
        """1/(T−1) Σ_{j<T} max_{1≤l<T} R[l, j] − R[T, j] over all l, those before
        task j was learnt included (RWalk, arXiv 1801.10112). NaN with one task."""
        if self.T < 2:
            return float("nan")
        return float(np.mean(np.max(self.R[1:-1, :-1], axis=0) - self.R[-1, :-1]))

    @property
    def learning_accuracy(self) -> float:
        """Each task's accuracy when it had just been learnt, 1/T Σ_i R[i, i] (Riemer et al. 2019, arXiv 1810.11910)."""
        return float(np.mean(np.diagonal(self.R[1:])))

    @property
    def worst_case(self) -> float:
        """Worst-case accuracy, 1/T (R[T, T] + Σ_{i<T} min_{n>i} R[n, i]): the last task as it is, each earlier one at its
        worst since it was learnt (WC-ACC of De Lange et al. 2023, arXiv 2205.13452, read at the ends of tasks)."""
        worst = [np.min(self.R[i + 2 :, i]) for i in range(self.T - 1)]
        return float(np.mean([*worst, self.R[-1, -1]]))

    def intransigence(self, joint: RMatrix) -> float:
        """1/T Σ_k a*_k − R[k, k], a*_k being task k's accuracy under a network trained on tasks 1..k together
        (RWalk defines it for each k; the mean over k is ours)."""
        if joint.T != self.T:
            raise ValueError(
                f"a joint reference of {joint.T} tasks for a run of {self.T}: they must be the same stream"
            )
        return float(np.mean(np.diagonal(joint.R[1:]) - np.diagonal(self.R[1:])))

    def omega(self, ideal: float, sizes: Sequence[float] | None = None) -> tuple[float, float, float]:
        """Ω_base, Ω_new, Ω_all of FearNet (arXiv 1711.10563, section 3), the first task being the base:

            1/(T−1) Σ_{i≥2} R[i, 1] / ideal,   1/(T−1) Σ_{i≥2} R[i, i],   1/(T−1) Σ_{i≥2} α_i / ideal

        with α_i the accuracy over all tasks learnt so far. `ideal` is that of joint training on everything; `sizes` are the tasks'
        test examples, default alike. NaN with one task.
        """
        if self.T < 2:
            return (float("nan"),) * 3
        n = np.ones(self.T) if sizes is None else np.asarray(sizes, dtype=np.float64)
        rows = range(2, self.T + 1)
        so_far = [float(np.average(self.R[i, :i], weights=n[:i])) for i in rows]
        base = float(np.mean([self.R[i, 0] for i in rows])) / ideal
        return base, float(np.mean([self.R[i, i - 1] for i in rows])), float(np.mean(so_far)) / ideal

    def summary(self, joint: RMatrix | None = None) -> dict[str, float]:
        """All measures by name; intransigence is NaN without a joint reference."""
        return {
            "acc": self.acc,
            "bwt": self.bwt,
            "fwt": self.fwt,
            "forgetting": self.forgetting,
            "intransigence": float("nan") if joint is None else self.intransigence(joint),
            "learning_accuracy": self.learning_accuracy,
            "worst_case": self.worst_case,
        }


class Interval(NamedTuple):
    """A mean over n seeds: its standard deviation (n−1) and the 95% confidence interval ``mean ± half`` (Student's t).
    With one seed both are NaN; with an undefined value all are."""

    mean: float
    sd: float
    half: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + (f" ± {self.half:.3f}" if self.n > 1 else "") + f" (n={self.n})"


def interval(values: ArrayLike | Sequence[float]) -> Interval:
    """Mean, standard deviation and 95% interval of `values` ``[n]``."""
    v = np.asarray(values, dtype=np.float64)
    n = len(v)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.mean(v))
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    from scipy.special import stdtrit  # Student's t quantile

    sd = float(np.std(v, ddof=1))
    return Interval(mean, sd, float(stdtrit(n - 1, 0.975)) * sd / n**0.5, n)


def paired(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The difference a − b of two methods on the same seeds, seed by seed."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: a paired difference needs the same seeds on both sides")
    return interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
