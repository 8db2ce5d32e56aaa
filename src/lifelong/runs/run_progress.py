"""A run as it is at one moment: how far each job is, what it has measured, and how long the rest may take."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ..report.words import UNKNOWN
from .run import Job, Record

__all__ = ["At", "JobNow", "RunNow", "State"]

State = Literal["waiting", "running", "finished", "failed", "interrupted"]


class At(NamedTuple):
    """Where a job stands within its task."""

    task: int  # 1..T
    step: int
    steps: int  # 0: not known yet
    since: float  # when the process that works on it took its first step of this task
    first: int  # and which that was

    @property
    def share(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps > 0 else 0.0


@final
@dataclass(frozen=True)
class JobNow:
    """One method with one seed: its rows of R so far, and what it is doing."""

    job: Job
    state: State
    record: Record
    at: At | None = None
    error: str = ""
    times: Mapping[int, float] = field(default_factory=dict)  # when so many tasks had been learnt

    @property
    def learnt(self) -> int:
        return max(0, self.record.rows - 1)

    @property
    def done(self) -> float:
        """Tasks, the present one in part: 2.4 of 5."""
        return self.learnt + (self.at.share if self.at is not None and self.at.task == self.learnt + 1 else 0.0)

    def spent(self, after: int) -> float:
        """Seconds for the `after`-th task, its evaluation included."""
        seconds = self.record.seconds[after] if after < len(self.record.seconds) else []
        return self.record.train_seconds[after] + math.fsum(s for s in seconds if s == s)


@final
@dataclass(frozen=True)
class RunNow:
    """A run directory.

    Args:
        name: below the folder that is watched.
        tasks: names, in order.
        state: running while a process works on it; failed where a job did; interrupted where a process was stopped or killed.
        reason: why it is interrupted.
        resume: the command that goes on with it; empty where there is none.
        processes: how many work on it.
        started, seen: when it was first started, and its last sign of life (seconds since 1970).
        config, source: what was asked for, and where the data come from.
        report: whether it has a page of its own.
        varies: what varies between its seeds.
    """

    name: str
    folder: Path
    stream: str
    scenario: str
    tasks: tuple[str, ...]
    jobs: tuple[JobNow, ...]
    state: State
    reason: str = ""
    resume: str = ""
    processes: int = 1
    started: float | None = None
    seen: float | None = None
    config: str = ""
    source: str = ""
    report: bool = False
    varies: str = UNKNOWN

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(j.job.method for j in self.jobs))

    def of(self, method: str) -> list[JobNow]:
        return [j for j in self.jobs if j.job.method == method]

    def R(self, method: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # noqa: N802 (the papers' symbol)
        """The mean of R over the seeds that have got to a row, ``[T+1, T]``, and how many have, ``[T+1]``."""
        tasks = len(self.tasks)
        total, count = np.zeros((tasks + 1, tasks)), np.zeros(tasks + 1, dtype=np.int64)
        for job in self.of(method):
            rows = job.record.rows
            total[:rows] += np.asarray(job.record.accuracy, dtype=np.float64).reshape(rows, tasks)
            count[:rows] += 1
        with np.errstate(invalid="ignore"):
            return total / np.where(count == 0, np.nan, count)[:, None], count

    def summary(self, job: JobNow) -> dict[str, float]:
        """All measures of a finished job; intransigence is against `joint` with the same seed, where it is finished."""
        joint = (j.record.matrix for j in self.of("joint") if j.job.seed == job.job.seed and j.record.complete)
        return job.record.matrix.summary(next(joint, None))

    def measures(self, method: str) -> dict[str, list[float]]:
        """Each measure of each finished seed."""
        found = [self.summary(j) for j in self.of(method) if j.state == "finished"]
        return {k: [f[k] for f in found] for k in found[0]} if found else {}

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return sum(j.done for j in self.jobs) / max(1, len(self.jobs) * len(self.tasks))

    @cached_property
    def left(self) -> float | None:
        """Seconds until it is done, were each task to take what it took other seeds of its method, or else what the method's
        other tasks took; None where nothing has been learnt yet to judge by."""
        if self.state != "running":
            return None
        known: dict[tuple[str, int], list[float]] = {}
        for j in self.jobs:
            for after in range(1, j.record.rows):
                known.setdefault((j.job.method, after), []).append(j.spent(after))
        by_method: dict[str, list[float]] = {}
        for (method, _), seconds in known.items():
            by_method.setdefault(method, []).append(_mean(seconds))
        now = self.seen or time.time()
        for j in self.jobs:  # before a method's first task is learnt, its steps so far
            at = j.at
            if at is not None and j.job.method not in by_method and at.step > at.first and now > at.since:
                by_method[j.job.method] = [(now - at.since) / (at.step - at.first) * at.steps]
        if not by_method:
            return None
        overall = _mean([_mean(v) for v in by_method.values()])

        def left_of(j: JobNow) -> float:
            if j.state in ("failed", "finished"):
                return 0.0
            method = j.job.method
            each = [
                _mean(known.get((method, t)) or by_method.get(method) or [overall])
                for t in range(j.learnt + 1, len(self.tasks) + 1)
            ]
            return math.fsum(each) - (j.done - j.learnt) * each[0] if each else 0.0

        parts = [left_of(j) for j in self.jobs]
        return max(math.fsum(parts) / max(1, self.processes), max(parts, default=0.0))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
