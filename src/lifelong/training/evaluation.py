"""What a learner answers, and how right it is."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from ..core.errors import DataError, MethodError
from ..core.examples import Tensors
from ..core.modes import evaluating
from ..core.objective import Classification, Objective
from ..core.stream import Task
from .learning import Learning
from .outputs import logits

__all__ = ["answers", "evaluate", "rows_at_once", "scores"]

ROWS = 512  # examples evaluated at once
BYTES = 2**26  # of inputs fetched at once, where so many examples would be more


def scores(learner: Learning, x: Any, task: Task | None = None) -> Tensor:
    """Scores ``[B, C]`` of raw inputs; see `Learner.scores`."""
    if learner.scenario == "task" and task is None:
        raise MethodError("the scenario 'task' needs to know the task: predict(x, task)")
    if learner.scenario == "class" and not learner.seen:
        raise MethodError("no class has been seen yet: learn a task first")
    x = torch.as_tensor(x)
    if learner.spec is None and task is None:  # what the network knew before its first task
        some = Tensors(x, torch.zeros(len(x), dtype=torch.int64))
        task = Task("", some, some, learner.seen)
    objective = learner.objective(task, training=False)
    if learner.spec is not None and x.shape == learner.spec.shape:
        raise DataError(f"expected inputs [B, ...], got one of {list(x.shape)}: give it a row of its own, x[None]")
    x = x.float().div(255) if x.dtype == torch.uint8 else x
    return _scores(learner, x, objective, None if task is None else task.index)


def evaluate(learner: Learning, task: Task) -> tuple[float, int, float]:
    """Accuracy on the test examples of a task, how many there are, and the seconds it took."""
    began = time.perf_counter()
    learner.outputs.check(task)
    learner.outputs.adopt(task, not learner.learnt)
    n = len(task.test)
    if learner.scenario == "class" and not learner.seen:
        return float("nan"), n, 0.0
    objective = learner.objective(task, training=False)
    correct = torch.zeros(2, dtype=torch.int64, device=learner.device)  # and how many have no answer
    for chunk in learner.prepared(task.test).all(rows_at_once(learner, ROWS, task)):
        scores = _scores(learner, chunk.x, objective, task.index)
        right, none = scores.argmax(1) == chunk.y.to(learner.device), scores.isnan().any(1)
        correct += torch.stack([right.sum(), none.sum()])
    right, none = correct.tolist()
    if none:
        raise DataError(
            f"{none} of the {n} test examples of task {task.name!r} get scores that are NaN: look for NaN among their inputs"
        )
    accuracy = right / n
    seconds = time.perf_counter() - began
    learner.costs.eval_seconds += seconds
    return accuracy, n, seconds


def _scores(learner: Learning, x: Tensor, objective: Objective, task: int | None) -> Tensor:
    """What the learner answers, outputs that are not active at −∞."""
    if "predict" in learner.method.acts:
        told = task if learner.scenario == "task" or learner.method.traits.oracle else None
        with torch.no_grad(), evaluating(learner.net):
            found = learner.method.predict(learner.state, learner.net, learner.placed(x), told)
    else:
        found = answers(learner, x)
    return objective.logits(found) if isinstance(objective, Classification) else found


@torch.no_grad()
def answers(learner: Learning, x: Tensor) -> Tensor:
    """What the network that learns gives, in evaluation mode: logits ``[B, C]``."""
    with evaluating(learner.net):
        return logits(learner.net(learner.placed(x)))


def rows_at_once(learner: Learning, most: int, task: Task | None = None) -> int:
    """How many examples are fetched at once: `most`, or fewer where they are large."""
    shape = learner.spec.shape if learner.spec is not None else () if task is None else task.test.shape
    return min(most, max(1, BYTES // (4 * max(1, math.prod(shape)))))
