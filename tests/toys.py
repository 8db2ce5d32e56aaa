"""Small streams and networks that a test learns in a blink (`lifelong.testing`'s own), and work for processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifelong.core.errors import DataError, warn
from lifelong.testing.laws import same, weights
from lifelong.testing.toys import EACH, FEATURES, toy_learner, toy_net, toy_stream

__all__ = [
    "EACH",
    "FEATURES",
    "DiesOnce",
    "dies",
    "same",
    "squared",
    "squared_alone",
    "toy_learner",
    "toy_net",
    "toy_stream",
    "warned_of",
    "weights",
]


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
