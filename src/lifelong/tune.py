"""Choosing a constant: a stated grid, on data held out of the training sets, never on the test sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch

from .errors import TrainingError
from .fitting import Build, fit
from .learner import Training
from .method import Method
from .stream import Stream

__all__ = ["Choice", "choose", "choose_each"]


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
    jobs: int = 1,
) -> Choice:
    """The value of `grid` whose method scores best on held-out training examples.

    Args:
        make: a method of a value, such as `EWC` or ``functools.partial(EWC, implicit=True)``.
        grid: the values.
        net, stream, training: as `fit` takes them.
        seeds: of the runs that are compared; they should not be those that the choice is for.
        fraction: of each task's training examples, held out.
        jobs: how many processes, each with one thread (what is passed must then be picklable); 1: this one.

    A value with which training breaks down scores 0.
    """
    [choice] = choose_each(
        {"": (make, grid)}, net, stream, training, seeds=seeds, fraction=fraction, jobs=jobs
    ).values()
    return choice


def choose_each(
    candidates: Mapping[str, tuple[Callable[[float], Method], Sequence[float]]],
    net: Build,
    stream: Stream,
    training: Training,
    *,
    seeds: Sequence[int] = (1000,),
    fraction: float = 0.1,
    jobs: int = 1,
) -> dict[str, Choice]:
    """`choose` for several methods at once: by name, what makes the method and its grid; the processes are shared."""
    work = [
        (make, value, net, stream, training, seed, fraction)
        for make, grid in candidates.values()
        for value in grid
        for seed in seeds
    ]
    if jobs == 1:
        got = [_score(*w) for w in work]
    else:
        with ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            got = list(pool.map(_score, *zip(*work)))
    left, chosen = iter(got), {}
    for name, (_, grid) in candidates.items():
        scores = [float(np.mean([next(left) for _ in seeds])) for _ in grid]
        chosen[name] = Choice(float(grid[int(np.argmax(scores))]), tuple(grid), tuple(scores), tuple(seeds))
    return chosen


def _score(
    make: Callable[[float], Method],
    value: float,
    net: Build,
    stream: Stream,
    training: Training,
    seed: int,
    fraction: float,
) -> float:
    try:
        return fit(make(value), net, stream.hold_out(fraction, seed), seeds=[seed], training=training).matrix().acc
    except TrainingError:
        return 0.0
