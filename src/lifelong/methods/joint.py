"""Joint (multi-task) training: the upper bound. It keeps all data, so it is a reference and not a life-long learner.

After task i the network is trained on the union of tasks 1..i; `JointOnce` trains one time, when the last task has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from ..core.contexts import TaskContext
from ..core.examples import Examples, Joined
from ..core.method import Method, Traits

__all__ = ["Joint", "JointOnce"]


@final
@dataclass(frozen=True)
class Joint(Method):
    """Trains on all tasks met so far, after each of them.

    Args:
        restart: start from the initial network each time; otherwise go on from the present one.
    """

    restart: bool = True

    name: ClassVar[str] = "joint"
    summary: ClassVar[str] = "trains on all tasks met so far after each: the upper bound"
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "it trains on the union of tasks; there is no amount of that to turn down"

    @property
    def traits(self) -> Traits:
        return Traits(restarts=True, rereads=True, ranks=True)

    def begin(self, state: None, context: TaskContext) -> None:
        if self.restart and context.index:
            context.reset()

    def data(self, state: None, examples: Examples, past: Sequence[Examples]) -> Examples:
        return Joined([*past, examples]) if past else examples


@final
@dataclass(frozen=True)
class JointOnce(Method):
    """Trains on all tasks at once, when the last has come: of R it fills the first row and the last."""

    name: ClassVar[str] = "joint_once"
    summary: ClassVar[str] = "trains on all tasks at once, at the end"
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "it trains on the union of tasks; there is no amount of that to turn down"

    @property
    def traits(self) -> Traits:
        return Traits(once=True, rereads=True, ranks=True)

    def data(self, state: None, examples: Examples, past: Sequence[Examples]) -> Examples:
        return Joined([*past, examples]) if past else examples
