"""Measures of learning while it goes on, from explicit records.

**A stream that nobody cuts** is measured on each example before it is learnt (test, then train), with h_n = 1 where the n-th answer was right:

    prequential  P_n = 1/n Σ_{i≤n} h_i          over the last w  1/w Σ_{n−w<i≤n} h_i          faded  Σ_i α^{n−i} h_i / Σ_i α^{n−i}

(Gama, Sebastião & Rodrigues 2013, Machine Learning 90, 317).

**A stream of tasks** is measured within its tasks as well (De Lange, van de Ven & Tuytelaars 2023, arXiv 2205.13452). With A(E_i, f_n) the
accuracy on task i after n steps in all, N_i those at the end of task i, k the present task and t now:

    min-ACC = 1/(k−1) Σ_{i<k} min_{N_i < n ≤ t} A(E_i, f_n)           WC-ACC = 1/k A(E_k, f_t) + (1 − 1/k) min-ACC

What an earlier task loses when the next one begins, and has again soon after, is the *stability gap*: R, which is measured at the ends of
tasks, does not show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import DataError

__all__ = [
    "Gap",
    "Trace",
    "anytime",
    "faded",
    "gaps",
    "min_acc",
    "prequential",
    "wc_acc",
    "windowed",
]


# --- answers, one after another ------------------------------------------------------------------------------------------
def prequential(hits: ArrayLike) -> NDArray[np.float64]:
    """P_n of the answers ``[N]`` so far (1: right), ``[N]``."""
    h = np.asarray(hits, dtype=np.float64)
    return np.cumsum(h) / np.arange(1, len(h) + 1)


def windowed(hits: ArrayLike, window: int) -> NDArray[np.float64]:
    """The share of right answers among the last `window`, ``[N]``; among all where there are not as many yet."""
    if window < 1:
        raise DataError(f"window {window}: expected at least 1 answer")
    total = np.concatenate([[0.0], np.cumsum(np.asarray(hits, dtype=np.float64))])
    end = np.arange(1, len(total))
    start = np.maximum(end - window, 0)
    found: NDArray[np.float64] = (total[end] - total[start]) / (end - start)
    return found


def faded(hits: ArrayLike, alpha: float = 0.999) -> NDArray[np.float64]:
    """The share of right answers, each counting α times what the next one does, ``[N]``."""
    if not 0 < alpha <= 1:
        raise DataError(f"alpha {alpha}: expected more than 0 (only the last answer counts) to 1 (all count alike)")
    right = weight = 0.0
    found = []
    for h in np.asarray(hits, dtype=np.float64):
        right, weight = alpha * right + h, alpha * weight + 1
        found.append(right / weight)
    return np.array(found)


# --- tasks, measured within -----------------------------------------------------------------------------------------------
@final
@dataclass
class Trace:
    """Accuracy on all tasks so far while a stream is learnt: moments in their order, the last of each task being at its end."""

    every: int  # steps between two moments
    task: list[int] = field(default_factory=list)  # which is being learnt, from 0
    step: list[int] = field(default_factory=list)  # within that task
    accuracy: list[list[float]] = field(default_factory=list)  # on tasks 0..task
    seconds: list[float] = field(default_factory=list)  # of the evaluation

    def add(self, task: int, step: int, measured: Sequence[tuple[float, int, float]], cost: bool = True) -> None:
        """A moment: what `Learner.evaluate` gave on tasks 0..task. `cost`: whether it was made for this."""
        self.task.append(task)
        self.step.append(step)
        self.accuracy.append([a for a, _, _ in measured[: task + 1]])
        self.seconds.append(sum(s for _, _, s in measured[: task + 1]) if cost else 0.0)

    def due(self, task: int, step: int) -> bool:
        """Whether `every` steps have been taken since the last moment."""
        last = self.step[-1] if self.task and self.task[-1] == task else 0
        return step - (last if last < step else 0) >= self.every

    def end(self, task: int) -> int:
        """The moment at the end of a task."""
        if task not in self.task:
            raise DataError(f"task {task}: expected one of {sorted(set(self.task))}, which were measured")
        return len(self.task) - 1 - self.task[::-1].index(task)

    @property
    def tasks(self) -> int:
        """How many have been begun."""
        return max(self.task, default=-1) + 1


def _lowest(trace: Trace) -> list[float]:
    last = trace.tasks - 1
    return [min(row[i] for row in trace.accuracy[trace.end(i) + 1 :]) for i in range(last)]


def min_acc(trace: Trace) -> float:
    """min-ACC: each earlier task at its worst since it was learnt, the mean. NaN with one task."""
    lowest = _lowest(trace)
    return float(np.mean(lowest)) if lowest else float("nan")


def wc_acc(trace: Trace) -> float:
    """WC-ACC: the last task as it is, each earlier one at its worst since it was learnt. Measured at tasks' ends only it is
    `RMatrix.worst_case`."""
    return float(np.mean([*_lowest(trace), trace.accuracy[-1][-1]]))


def anytime(trace: Trace) -> float:
    """Any-time accuracy: the mean over all moments of the mean accuracy on the tasks so far."""
    return float(np.mean([np.mean(row) for row in trace.accuracy]))


class Gap(NamedTuple):
    """What learning task `during` did to the earlier task `on`: its accuracy before, at its lowest, and at the end."""

    during: int
    on: int
    before: float
    lowest: float
    after: float

    @property
    def lost(self) -> float:
        """How deep it fell."""
        return self.before - self.lowest

    @property
    def regained(self) -> float:
        """How much of that came back while the same task was learnt: above 0 it is a stability gap."""
        return self.after - self.lowest


def gaps(trace: Trace) -> list[Gap]:
    """Each earlier task while each later one is learnt."""
    found = []
    for k in range(1, trace.tasks):
        rows = trace.accuracy[trace.end(k - 1) + 1 : trace.end(k) + 1]
        start = trace.accuracy[trace.end(k - 1)]
        found += [Gap(k, i, start[i], min(r[i] for r in rows), rows[-1][i]) for i in range(k)]
    return found
