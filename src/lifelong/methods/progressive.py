"""Progressive Neural Networks (Rusu et al. 2016, arXiv 1606.04671): each task gets a column of its own, which reads the columns
before it through adapters (`lifelong.nets.columns` has the equation). Nothing is forgotten, bit for bit; parameters grow with the
tasks, and the report counts all of them.

At test time a task is answered by its column, so the task must be known. Where a task has none yet the newest column answers, which never
learnt it: that is what forward transfer then measures, as with one network.

The paper begins α small. Here it begins uniform in 0 to 1: with a tenth of that, on rotated digits, a column of a few hundred steps of SGD read
a trained column no more than a random one, on held-out training images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor, nn

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.growth import Growth
from ..core.hyperparameters import not_negative
from ..core.method import Method, Traits
from ..core.random import derive
from ..core.stream import Scenario, Task
from ..core.vector import Vector
from ..nets.columns import Columns

__all__ = ["Progressive"]


@final
@dataclass(frozen=True)
class Columned:
    """How many tasks have a column that is done."""

    seed: int
    tasks: int = 0


@final
@dataclass(frozen=True)
class Progressive(Method):
    """A column a task, which reads the frozen columns of earlier tasks.

    Args:
        alpha: the learnt scale of each earlier column's features starts uniform in 0 to this.
    """

    alpha: float = 1.0

    name: ClassVar[str] = "progressive"
    summary: ClassVar[str] = "Progressive Neural Networks: a column a task, which reads the frozen columns before it"
    paper: ClassVar[str] = "Rusu et al. 2016, arXiv 1606.04671"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "every task has weights of its own; there is no amount of that to turn down"

    def __post_init__(self) -> None:
        not_negative(self.name, alpha=self.alpha)

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True)

    def network(self, net: nn.Module) -> nn.Module:
        return Columns(net, self.alpha)

    def init(self, theta: Vector, spec: Spec) -> Columned:
        return Columned(spec.seed)

    def grow(self, state: Columned, net: nn.Module, task: Task) -> list[Growth]:
        return [Growth("column", seed=derive(state.seed, f"column/{state.tasks}"))] if state.tasks else []

    def end(self, state: Columned, context: TaskContext) -> Columned:
        return replace(state, tasks=state.tasks + 1)

    def predict(self, state: Columned | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if task is None:
            raise MethodError("progressive needs the task of the inputs: predict(x, task)")
        assert isinstance(net, Columns)
        return net.column(x, min(task, len(net.columns) - 1))
