"""Choosing a constant: a stated grid, on data held out of the training sets, never on the test sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .fitting import Build, fit
from .learner import Training
from .method import Method
from .stream import Stream

__all__ = ["Choice", "choose"]


class Choice(NamedTuple):
    """A grid and what each of its values scored: average accuracy after the last task on held-out training examples."""

    value: float
    grid: tuple[float, ...]
    scores: tuple[float, ...]  # mean over the seeds
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        tried = ", ".join(f"{g:g}: {s:.3f}" for g, s in zip(self.grid, self.scores))
        return f"{self.value:g} (held-out accuracy {tried})"


def choose(
    make: Callable[[float], Method],
    grid: Sequence[float],
    net: Build,
    stream: Stream,
    training: Training,
    *,
    seeds: Sequence[int] = (1000,),
    fraction: float = 0.1,
    device: torch.device | str = "cpu",
) -> Choice:
    """The value of `grid` whose method scores best on held-out training examples.

    `seeds` should not be those of the runs that the choice is for. A value with which training breaks down scores 0.
    """
    from .errors import TrainingError

    scores = []
    for value in grid:
        got = []
        for seed in seeds:
            held = stream.hold_out(fraction, seed)
            try:
                got.append(fit(make(value), net, held, seeds=[seed], training=training, device=device).matrix().acc)
            except TrainingError:
                got.append(0.0)
        scores.append(float(np.mean(got)))
    best = int(np.argmax(scores))
    return Choice(float(grid[best]), tuple(grid), tuple(scores), tuple(seeds))
