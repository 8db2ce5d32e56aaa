"""Small streams and networks that a test can learn in a blink."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lifelong.core.errors import DataError, warn
from lifelong.core.examples import Tensors
from lifelong.core.method import Method
from lifelong.core.stream import Scenario, Stream, Task
from lifelong.training.learner import Learner
from lifelong.training.settings import Training

FEATURES, EACH = 12, 3


def toy_stream(
    scenario: Scenario = "task", tasks: int = 3, examples: int = 96, seed: int = 0, each: int = EACH
) -> Stream:
    """Gaussian blobs, another set of centres for each task; in the scenario "domain" all tasks share their classes."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for t in range(tasks):
        centres = 1.5 * torch.randn(each, FEATURES, generator=g)
        first = 0 if scenario == "domain" else each * t

        def draw(n: int, centres: torch.Tensor = centres, first: int = first) -> Tensors:
            y = torch.randint(each, (n,), generator=g)
            return Tensors(centres[y] + torch.randn(n, FEATURES, generator=g), y + first)

        made.append(Task(f"blobs {t + 1}", draw(examples), draw(60), tuple(range(first, first + each))))
    names = tuple(f"c{c}" for c in range(each if scenario == "domain" else each * tasks))
    return Stream(tuple(made), scenario, names, name="blobs", source="drawn")


def toy_net(outputs: int, seed: int = 0, dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(FEATURES, 16), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        return nn.Sequential(*layers, nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, outputs))


def toy_learner(
    method: Method, stream: Stream, training: Training | None = None, seed: int = 0, dropout: float = 0.0
) -> Learner:
    training = training or Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2)
    return Learner(toy_net(stream.outputs, seed, dropout), method, training, scenario=stream.scenario, seed=seed)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """The same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- work for engines, which import it by name ---
def warned_of(text: str) -> str:
    warn(text)
    return text


def squared(i: int, tell: Callable[[Any], None]) -> int:
    tell(i)
    if i < 0:
        raise DataError(f"number {i}")
    return i * i


def squared_alone(i: int, marks: Path) -> int:
    """Leaves a mark; a second call with the same number is an error."""
    (marks / str(i)).touch(exist_ok=False)
    return i * i


def dies(i: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DiesOnce:
    """A job of a run; the first that ends its first task dies there, and leaves its name in `grave`."""

    job: Callable[..., None]
    grave: Path

    def __call__(self, *given: Any) -> None:
        *given, tell = given

        def mortal(message: Any) -> None:
            tell(message)
            if message.kind == "task" and message.task == 0:
                try:
                    with self.grave.open("x") as file:
                        file.write(str(message.job.folder))
                except FileExistsError:
                    return
                os.kill(os.getpid(), signal.SIGKILL)

        self.job(*given, mortal)
