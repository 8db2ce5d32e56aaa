"""How many steps a task takes, and how far it has been learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..core.examples import Examples
from .settings import Training

__all__ = ["Allowed", "Pause", "Position", "planned", "steps_within"]


class Pause(NamedTuple):
    """Where training pauses so that others may look, save, or stop."""

    step: int
    steps: int
    epoch: int
    loss: Tensor  # of the last step, on the device
    phase: str  # "train", or "end": all steps are done, the method's `end` is next


@dataclass
class Position:
    """How far the present task has been learnt."""

    task: str = ""  # which
    epoch: int = 0
    chunk: int = 0  # within the epoch
    step: int = 0  # within the task
    round: int = 0  # how often the network was expanded for this task
    cost: int = 0  # passes of its dearest step


class Allowed(NamedTuple):
    """What a task may spend of a budget of compute, in passes of examples forward and backward."""

    passes: int  # by its steps
    until: int  # what the costs may then come to


def planned(training: Training, examples: Examples, own: Examples) -> int:
    """Steps of a task whose own examples are `own` and which trains on `examples`."""
    if not len(examples):
        return 0  # a method may keep a task's examples for later
    if training.iterations is None:
        return training.epochs * -(-len(examples) // training.batch_size)
    return round(training.iterations * max(1.0, len(examples) / len(own)))


def steps_within(allowed: Allowed | None, training: Training, examples: Examples, own: Examples) -> int:
    """Those of them that its share of a budget allows where each example passes once forward and once back; a method for which a step costs
    more ends sooner. One step is always taken."""
    steps, n, size = planned(training, examples, own), len(examples), training.batch_size
    if allowed is None or not steps:
        return steps
    epochs, rest = divmod(max(0, allowed.passes), 2 * n)
    return min(steps, max(1, epochs * -(-n // size) + rest // (2 * size)))
