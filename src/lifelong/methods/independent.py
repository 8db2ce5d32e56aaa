"""One network a task: nothing is forgotten, nothing is transferred, and storage grows with the number of tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from torch import Tensor, nn
from torch.func import functional_call

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.method import Method, Traits
from ..core.stream import Scenario
from ..core.vector import Vector

__all__ = ["Independent"]


@final
@dataclass(frozen=True)
class Networks:
    """The weights and buffers of each task's network; first the initial one, which answers for tasks not yet learnt."""

    nets: list[dict[str, Tensor]]


@final
@dataclass(frozen=True)
class Independent(Method):
    """A network of its own for each task, each from the same initial weights.

    Args:
        oracle: tell it the task at test time even where the scenario hides it, as a reference for others.
        inherit: a task's network begins as the last task's ended.
    """

    oracle: bool = False
    inherit: bool = False

    name: ClassVar[str] = "independent"
    summary: ClassVar[str] = "one network a task: nothing shared, storage grows"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)  # the others as an oracle
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "every task starts from the initial network; there is no amount of that to turn down"
    apart: ClassVar[tuple[str, ...]] = ("nets",)

    @property
    def traits(self) -> Traits:
        return Traits(restarts=True, oracle=self.oracle, ranks=True)

    def check(self, scenario: Scenario) -> None:
        if scenario != "task" and not self.oracle:
            raise MethodError(
                f"independent needs to know the task at test time, which the scenario {scenario!r} hides: use the scenario "
                "'task', or, as a reference for others, independent with oracle true"
            )

    def init(self, theta: Vector, spec: Spec) -> Networks:
        return Networks([])

    def begin(self, state: Networks, context: TaskContext) -> Networks:
        if context.index:
            if not self.inherit:
                context.reset()
            return state
        return Networks([_copy(context.net)])

    def end(self, state: Networks, context: TaskContext) -> Networks:
        return replace(state, nets=[*state.nets, _copy(context.net)])

    def resize(self, state: Networks, mapping: IndexMap, theta: Vector) -> Networks:
        return Networks([mapping.tensors(own, {**own, **theta.dict()}) for own in state.nets])

    def predict(self, state: Networks | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if task is None:
            raise MethodError("independent needs the task of the inputs: predict(x, task)")
        if state is None:  # before the first task
            return net(x)  # type: ignore[no-any-return]
        own = state.nets[task + 1 if task + 1 < len(state.nets) else 0]
        return functional_call(net, own, (x,))  # type: ignore[no-any-return]

    def parameters(self, state: Any, net: nn.Module) -> int:
        each = sum(p.numel() for p in net.parameters())
        return each * max(1, len(state.nets) - 1 if state else 1)


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
