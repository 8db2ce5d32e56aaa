"""Small streams and networks that a test learns in a blink."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..core.examples import Tensors
from ..core.method import Method
from ..core.random import untouched
from ..core.stream import Scenario, Stream, Task
from ..training.learner import Learner
from ..training.settings import Training

__all__ = ["EACH", "FEATURES", "toy_learner", "toy_net", "toy_stream"]

FEATURES, EACH = 12, 3


def toy_stream(
    scenario: Scenario = "task",
    tasks: int = 3,
    examples: int = 96,
    seed: int = 0,
    each: int = EACH,
    inputs: tuple[int, ...] = (FEATURES,),
) -> Stream:
    """Gaussian blobs, another set of centres for each task; in the scenario "domain" all tasks share their classes.

    Args:
        scenario: which outputs are active.
        tasks: how many.
        examples: training examples of each.
        seed: of the draws.
        each: classes of a task.
        inputs: the shape of one input.
    """
    g = torch.Generator().manual_seed(seed)
    made = []
    for t in range(tasks):
        centres = 1.5 * torch.randn(each, *inputs, generator=g)
        first = 0 if scenario == "domain" else each * t

        def draw(n: int, centres: Tensor = centres, first: int = first) -> Tensors:
            y = torch.randint(each, (n,), generator=g)
            return Tensors(centres[y] + torch.randn(n, *inputs, generator=g), y + first)

        made.append(Task(f"blobs {t + 1}", draw(examples), draw(60), tuple(range(first, first + each))))
    names = tuple(f"c{c}" for c in range(each if scenario == "domain" else each * tasks))
    return Stream(tuple(made), scenario, names, name="blobs", source="drawn")


def toy_net(outputs: int, seed: int = 0, dropout: float = 0.0, inputs: tuple[int, ...] = (FEATURES,)) -> nn.Module:
    """A multi-layer perceptron for `toy_stream`, its weights drawn by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()] if len(inputs) > 1 else []
        layers += [nn.Linear(math.prod(inputs), 16), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        return nn.Sequential(*layers, nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, outputs))


def toy_learner(
    method: Method, stream: Stream, training: Training | None = None, seed: int = 0, dropout: float = 0.0
) -> Learner:
    """A learner of a `toy_net` for `stream`."""
    training = training or Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2)
    with untouched():
        shape = stream.shape
    return Learner(toy_net(stream.outputs, seed, dropout, shape), method, training, scenario=stream.scenario, seed=seed)
