"""Learning from batches as they come, for streams that nobody cuts into tasks."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ..core.errors import DataError, MethodError, TrainingError
from ..core.examples import Examples, Tensors
from ..core.loaders import finite
from ..core.stream import Task
from .entering import enter, try_on_few
from .learning import Learning
from .task_loop import CHUNK, chunk_of_steps, enough

__all__ = ["finish", "step"]


def step(learner: Learning, x: Tensor, y: Tensor) -> Tensor:
    """See `Learner.step`."""
    if not learner.method.portable or learner.scenario == "task":
        what = f"{learner.method.name} needs" if not learner.method.portable else "the scenario 'task' has"
        raise MethodError(
            f"{what} whole tasks, and a step knows of none: learn(task), or choose a method that learns from each batch as it comes"
        )
    began = time.perf_counter()
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if y.dim() != 1 or len(x) != len(y) or y.is_floating_point():
        raise DataError(
            f"inputs {list(x.shape)} and labels {y.dtype} {list(y.shape)}: expected one class index an example, [B]"
        )
    finite(x, "this batch")
    batch, classes = Tensors(x, y), tuple(sorted(set(y.tolist())))
    if learner.at is not None and learner.scenario == "class" and not set(classes) <= set(learner.seen):
        finish(learner, None)
    with learner.own_random():
        if learner.at is None:
            enter(learner, Task(f"task {learner.learnt + 1}", batch, batch, classes))
            if not learner.learnt:
                try_on_few(learner, batch, None)
        assert learner.at is not None
        learner.modes = learner.modes.look(learner.net)
        with learner.modes.training(learner.net), enough("one step on one example"):
            loss, _ = chunk_of_steps(learner, next(batch.all(len(y))), len(y), 1)
    learner.at.step += 1
    if learner.at.step % CHUNK == 0 and not bool(loss.isfinite()):
        raise TrainingError(
            f"the loss is {float(loss)}: lower the learning rate (now {learner.training.lr}), or scale the inputs"
        )
    learner.costs.train_seconds += time.perf_counter() - began
    return loss


def finish(learner: Learning, examples: Examples | None) -> None:
    """See `Learner.finish`."""
    if learner.at is None:
        return
    if "end" in learner.method.acts:
        if examples is None:
            raise MethodError(
                f"{learner.method.name} looks at a task's examples when it ends: finish(examples), or choose a method that does not"
            )
        learner.stepper.at(learner.objective(None))
        with learner.own_random():
            learner.stepper.end(learner.context(examples, None))
    learner.held.learnt += 1
    learner.at = None
    learner.note()
