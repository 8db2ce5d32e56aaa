"""Choosing a constant: a stated grid, on data held out of the training sets, never on the test sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import TrainingError
from ..core.method import Method
from ..core.stream import Stream
from ..training.build import Build
from ..training.settings import Training
from .executor import Engine, each
from .fitting import fit

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
    extend: int = 0,
    jobs: int | Engine = 1,
) -> Choice:
    """The value of `grid` whose method scores best on held-out training examples.

    Args:
        make: a method of a value, such as `EWC` or ``functools.partial(EWC, implicit=True)``.
        grid: the values.
        net, stream, training: as `fit` takes them.
        seeds: of the runs that are compared; they should not be those that the choice is for.
        fraction: of each task's training examples, held out.
        extend: how often a grid whose best value is its first or last is continued by one more, in its own ratio, so that the
            best has a worse one on either side.
        jobs: how many processes, each with one thread (what is passed must then be picklable), or an engine; 1: this one.

    A value with which training breaks down scores 0.
    """
    [choice] = choose_each(
        {"": (make, grid)}, net, stream, training, seeds=seeds, fraction=fraction, extend=extend, jobs=jobs
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
    extend: int = 0,
    jobs: int | Engine = 1,
) -> dict[str, Choice]:
    """`choose` for several methods at once: by name, what makes the method and its grid; the processes are shared."""
    found: dict[str, dict[float, float]] = {name: {} for name in candidates}
    asked = {name: list(map(float, grid)) for name, (_, grid) in candidates.items()}
    for left in range(extend, -1, -1):
        work = [
            (candidates[name][0], value, net, stream, training, seed, fraction)
            for name, values in asked.items()
            for value in values
            for seed in seeds
        ]
        scores = dict(each(_score, work, jobs))
        got = (scores[i] for i in range(len(work)))
        for name, values in asked.items():
            found[name] |= {value: float(np.mean([next(got) for _ in seeds])) for value in values}
        asked = {name: beyond for name, scored in found.items() if left and (beyond := _beyond(scored))}
        if not asked:
            break
    chosen = {}
    for name, scored in found.items():
        grid = tuple(scored)
        best = max(grid, key=lambda value: scored[value])
        chosen[name] = Choice(best, grid, tuple(scored[value] for value in grid), tuple(seeds))
    return chosen


def _beyond(scored: Mapping[float, float]) -> list[float]:
    """The next value of a grid whose best is at an end; none where it lies within, or has no ratio to go on with."""
    grid = sorted(scored)
    best = max(grid, key=lambda value: scored[value])
    inner = {grid[0]: grid[1], grid[-1]: grid[-2]}.get(best) if len(grid) > 1 else None
    return [best * best / inner] if inner and best > 0 else []


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
