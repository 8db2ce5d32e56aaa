"""A stream that nobody cuts into tasks: each example is answered before it is learnt (test, then train)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import MethodError
from ..core.stream import Stream
from .learner import Learner

__all__ = ["test_then_train"]


def test_then_train(learner: Learner, stream: Stream) -> NDArray[np.bool_]:
    """Which examples were answered right before they were learnt, ``[N]``: all tasks' training examples in their order, in batches of the
    learner's batch size, each of which is answered, then learnt in one step. The learner is not told where a task begins.

    Raises:
        MethodError: the method needs whole tasks.
    """
    method = learner.method
    if learner.scenario == "domain" and (method.traits.later or "end" in method.acts):
        raise MethodError(
            f"{method.name} acts when a task has ended, and in this loop none ends: take a method that needs no ends (replay, der, derpp, agem with "
            "fill reservoir), or learn tasks (Learner.learn, or step and finish)"
        )
    found = []
    for task in stream:
        for chunk in task.train.all(learner.training.batch_size):
            knows = learner.scenario != "class" or learner.seen
            answer = learner.predict(chunk.x).cpu() if knows else torch.full_like(chunk.y, -1)
            found.append(answer == chunk.y.cpu())
            learner.step(chunk.x, chunk.y)
    right: NDArray[np.bool_] = torch.cat(found).numpy()
    return right


test_then_train.__test__ = False  # type: ignore[attr-defined]  # pytest: it is none
