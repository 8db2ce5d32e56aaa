"""A stream whose best order is known by construction: two classes whose direction turns from task to task.

Task k's classes lie at ±r (cos θ_k, sin θ_k) with noise of variance 1 about them. A linear network that has learnt angle θ alone
answers a share Φ(r cos(θ − θ_k)) of task k. If each task is learnt so well that nothing of earlier ones is left, then

    R[m, k] = Φ(r cos(θ_{o_m} − θ_k))

for the order o, so forward transfer is best where neighbours follow one another, and the accuracy at the end where the last task
lies in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..core.errors import DataError
from ..core.examples import Tensors
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task, remembered
from ..measures.matrix import RMatrix

__all__ = ["closed_form", "turning"]


@remembered
def turning(
    tasks: int = 5,
    degrees: float = 40.0,
    radius: float = 2.0,
    seed: int = 0,
    scenario: Scenario = "domain",
    examples: int = 500,
    test_examples: int = 1000,
) -> Stream:
    """Two classes in a plane whose direction turns from task to task; the tasks come shuffled. The angles stand in
    ``stream.notes["degrees"]``, by task.

    Args:
        tasks: how many directions.
        degrees: between two neighbours.
        radius: how far the classes' means lie from the origin; the noise about them has variance 1.
        seed: of the order and of the examples.
        scenario: domain; in others there is no order that is known to be best.
        examples: training examples of a task.
        test_examples: test examples of a task.

    Raises:
        DataError: a number out of range; another scenario.
    """
    if tasks < 1 or examples < 1 or test_examples < 1 or not radius > 0:
        raise DataError(
            f"tasks {tasks}, examples {examples}, {test_examples}, radius {radius}: expected 1 or more of each"
        )
    if scenario != "domain":
        raise DataError(f"scenario {scenario!r}: this stream's tasks share two classes, which is the scenario 'domain'")
    made, angles = [], {}
    for k in torch.randperm(tasks, generator=generator(seed, "order")).tolist():
        name = f"a{k + 1}"
        angles[name] = degrees * k
        turn = math.radians(degrees * k)
        mean = radius * torch.tensor([math.cos(turn), math.sin(turn)])
        sets = []
        for part, n in (("train", examples), ("test", test_examples)):
            draws = generator(seed, f"{part}/{k}")
            y = torch.randint(2, (n,), generator=draws)
            sets.append(Tensors((2 * y[:, None] - 1) * mean + torch.randn(n, 2, generator=draws), y))
        made.append(Task(name, sets[0], sets[1], (0, 1)))
    notes = {"degrees": angles, "radius": radius, "seed": seed}
    return Stream(tuple(made), scenario, ("behind", "ahead"), "turning", "drawn", notes)


def closed_form(degrees: Sequence[float], radius: float = 2.0) -> RMatrix:
    """R of these angles in this order, for a linear network that keeps nothing of earlier tasks; untrained it guesses."""
    from scipy.special import ndtr

    turn = np.radians(np.asarray(degrees, dtype=np.float64))
    right = ndtr(radius * np.cos(turn[:, None] - turn))
    return RMatrix(np.vstack([np.full((1, len(turn)), 0.5), right]))
