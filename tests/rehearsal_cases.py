"""Learners that have met some toy tasks, what a step of theirs is told, and what each example of a batch counts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lifelong.core.contexts import Costs, StepContext
from lifelong.core.method import Method
from lifelong.core.segments import Batch, Segment
from lifelong.core.stream import Task
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from toys import toy_learner, toy_stream

TRAINING = Training(lr=0.05, batch_size=16, epochs=2)


def after(method: Method, tasks: int = 2, scenario="class", epochs: int = 2):
    """A learner that has learnt `tasks` toy tasks, and the stream."""
    stream = toy_stream(scenario)
    learner = toy_learner(method, stream, replace(TRAINING, epochs=epochs))
    for task in stream.tasks[:tasks]:
        learner.learn(task)
    return learner, stream


def step_context(learner: Learner, draws: torch.Generator | None = None) -> StepContext:
    """What a step of the present task is told, with costs of its own."""
    context = learner.stepper.context
    return replace(context, costs=Costs(), generator=context.generator if draws is None else draws)


def batch_of(task: Task, n: int = 10) -> Batch:
    """The first examples of a task."""
    return Batch((Segment(task.train.x[:n], task.train.y[:n]),))


def each_weight(batch: Batch) -> Tensor:
    """What each example of a batch counts in its loss, ``[B]``."""
    return torch.cat([torch.full((n,), s.weight / n) for s, n in zip(batch.segments, batch.sizes)])
