"""Whether a run can keep within its budget, said before anything is made.

A method that would keep more bytes than the budget has is refused. What it would keep says a rehearsal: the method goes through the stream
with one step and few examples a task, since what is kept depends on shapes and numbers, not on values.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..core.errors import MethodError
from ..core.method import Method
from ..core.ranks import ALONE, Ranks
from ..core.stream import Stream
from ..measures.budget import Budget
from ..training.build import Build, learner_for
from ..training.settings import Training

__all__ = ["check_budget", "memory_needed"]


def check_budget(
    budget: Budget,
    method: Method,
    net: Build | nn.Module,
    stream: Stream,
    training: Training,
    spent: int = 0,
    ranks: Ranks = ALONE,
) -> None:
    """Raises `MethodError` where a run cannot keep within a budget; `spent` are passes made before the first task."""
    if budget.compute is not None:
        if ranks.world > 1:
            raise MethodError(
                "a budget of compute counts one rank's passes, and ranks would stop at different steps: learn within it on one process"
            )
        least = spent + 2 * sum(min(training.batch_size, len(task.train)) for task in stream)
        if budget.compute < least:
            before = f" and {spent:,} are spent before the first" if spent else ""
            raise MethodError(
                f"a budget of {budget.compute:,} passes: one step in each of {len(stream)} tasks takes {least - spent:,}{before}: raise it "
                "(--budget-compute), or lower the batch size"
            )
    if budget.memory is not None:
        need = memory_needed(method, net, stream, training)
        if need > budget.memory:
            raise MethodError(
                f"{method.name} would keep {need:,} bytes because of past tasks, and the budget is {budget.memory:,}: lower what it keeps "
                "(such as its buffer_size), leave it out, or raise --budget-memory"
            )


def memory_needed(method: Method, net: Build | nn.Module, stream: Stream, training: Training) -> int:
    """The most bytes that a run would keep because of past tasks. Two rehearsals, one with twice the examples, tell what grows with them. What
    depends on how well the network learns (growth on demand) is not foreseen."""
    (few, small), (more, larger) = (_rehearsed(method, net, stream, training, each) for each in (2, 4))
    whole = sum(len(task.train) for task in stream)
    return small if more == few else round(small + (larger - small) * (whole - few) / (more - few))


def _rehearsed(
    method: Method, net: Build | nn.Module, stream: Stream, training: Training, each: int
) -> tuple[int, int]:
    """With `each` examples of a class and one step a task: how many examples that are, and the most bytes that were kept."""
    few = []
    for task in stream:
        labels = task.train.labels
        rows = torch.cat([(labels == c).nonzero().flatten()[:each] for c in labels.unique().tolist()])
        few.append(replace(task, train=task.train.subset(rows)))
    short = replace(training, epochs=1, iterations=1)
    learner = learner_for(method, net, replace(stream, tasks=tuple(few)), short, 0)
    most = 0
    for task in few:
        if method.traits.once and task.index + 1 < len(few):
            learner.remember(task)
            continue
        learner.learn(task)
        most = max(most, learner.memory_bytes)
    return sum(len(task.train) for task in few), most
