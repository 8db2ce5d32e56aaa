"""What a guard is made of: a model, an optimiser, a method and what it holds of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn

from ..core.contexts import Costs, Spec
from ..core.errors import MethodError
from ..core.errors import warn as issue
from ..core.method import Method
from ..core.objective import Classification
from ..core.random import generator
from ..core.ranks import Ranks
from ..core.stream import Scenario
from ..core.vector import Vector
from ..training.first_batch import First
from ..training.protected import Protected
from ..training.stepper import Held, Stepper
from .guard_checks import stepped

__all__ = ["Guarding", "Watched"]


@dataclass
class Watched:
    """What is watched of a model while it learns a task."""

    versions: int = 0  # writes to the weights before the task
    buffers: dict[str, tuple[int, int]] = field(default_factory=dict)  # as they were when it began
    moved: list[str] = field(default_factory=list)  # the buffers that the last task wrote to
    unheld: tuple[float, float] | None = None  # a mark of weights that train, and that no guard holds, as it began


class Guarding:
    """What `Guard` is made of, for the modules that do its work. It is not used by itself."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        method: Method,
        scenario: Scenario,
        seed: int,
        clip: float | None,
        ranks: Ranks,
        outputs_known: int = 0,
    ) -> None:
        if scenario not in get_args(Scenario):
            raise MethodError(f"scenario {scenario!r}: expected one of {', '.join(map(repr, get_args(Scenario)))}")
        method.check(scenario)
        self.model, self.optimizer, self.method = model, optimizer, method
        self.acts = method.acts
        self.scenario, self.seed, self.clip, self.ranks = scenario, seed, clip, ranks
        self.theta = stepped(model, optimizer)
        if not Vector.of(model).names:
            raise MethodError("the model has no trainable parameters: nothing can be learnt or kept")
        if not self.theta.names:
            raise MethodError("the optimizer holds none of the model's parameters: pass the one that trains it")
        self.costs = Costs()
        self.outputs_known = outputs_known
        draws = generator(seed, "method/0", self.device)
        seen = tuple(range(outputs_known)) if scenario != "domain" else ()
        self.record = Protected(Held(method, scenario, seed, draws, seen=seen))
        self.objective = Classification()
        self.tried = "end" not in self.acts  # whether the end of a task was tried before the first one is learnt
        self.watched = Watched()
        self.dropped = ""  # what an earlier guard of these weights held, and this one does not
        self._warned: set[str] = set()
        self._compiled = False
        self._first: First | None = None  # looks at the first batch

    def warn(self, text: str) -> None:
        """Warns, once a guard."""
        if text not in self._warned:
            self._warned.add(text)
            issue(text)

    # what is learnt belongs to the weights
    @property
    def held(self) -> Held:
        """What the method holds of the weights."""
        return self.record.held

    @property
    def state(self) -> Any:
        """The method's state; None before the first task begins."""
        return self.held.state

    @state.setter
    def state(self, value: Any) -> None:
        self.held.state = value

    @property
    def spec(self) -> Spec | None:
        """What the method was told of the network; None before the first task begins."""
        return self.held.spec

    @property
    def learnt(self) -> int:
        """How many tasks have ended."""
        return self.held.learnt

    @property
    def seen(self) -> tuple[int, ...]:
        """The classes met so far."""
        return self.held.seen

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.theta.tensors[0].device

    def bind(self) -> None:
        """The slots act on what is held now, at the steps of the present optimiser."""
        self.stepper = Stepper(
            self.model, self.theta, self.optimizer, self.held, self.objective, self.costs, self.ranks
        )
        if self.record.classes is not None and self.spec is not None:
            self.decides_among(self.record.classes if self.scenario == "task" else self.seen)

    def decides_among(self, classes: Sequence[int]) -> None:
        """From now on these outputs are active."""
        assert self.spec is not None
        active = None
        if len(classes) < self.spec.outputs:
            active = torch.zeros(self.spec.outputs, dtype=torch.bool, device=self.device)
            active[list(classes)] = True
        self.objective = Classification(active)
        self.stepper.at(self.objective)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """At a task's edges: in full precision, and layer by layer."""
        self._compiled = any(m._compiled_call_impl is not None for m in self.model.modules())
        first = self._first
        if first is not None:  # looks at the user's calls alone
            first.idle = True
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False), self._eager():
                yield
        finally:
            if first is not None:
                first.idle = False

    def _eager(self) -> AbstractContextManager[Any]:
        """A model that was compiled in place runs layer by layer within: methods look at layers, which a compiled call passes over."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()
