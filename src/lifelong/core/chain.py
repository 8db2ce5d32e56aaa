"""Several methods as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from .contexts import Spec, Step, StepContext, TaskContext
from .errors import MethodError
from .examples import Examples
from .growth import Growth, IndexMap
from .method import Method, Traits, is_method
from .segments import Batch, Segment
from .stream import Scenario, Task
from .vector import Vector

__all__ = ["Chain", "chain"]


def chain(*methods: Method) -> Method:
    """Several methods as one: segments, data, gradients and projections compose in order, losses add, states are kept
    side by side. A method that masks weights (PackNet, HAT, a warm-up of LwF) acts after the others, wherever it stands. ``chain(m)`` is `m`.

    The order of gradients matters: ``chain(GEM(), EWC())`` projects the gradient of the examples and adds EWC's penalty afterwards, so that
    the sum may violate GEM's constraints; ``chain(EWC(), GEM())`` projects the sum.

    Raises:
        MethodError: two methods that cannot stand beside each other.
    """
    flat = tuple(part for method in methods for part in is_method(method).parts() if part.acts)
    if len(methods) == 1 or (methods and not flat):
        return methods[0]
    if not flat:
        return Method()
    if len(flat) == 1:
        return flat[0]
    _compose(flat)
    return Chain(flat)


def _compose(flat: Sequence[Method]) -> None:
    """Raises `MethodError` where they cannot stand beside each other."""

    def first(*names: str) -> str | None:
        """The first that has one of these traits."""
        return next((m.name for m in flat if any(getattr(m.traits, name) for name in names)), None)

    claimants = [m.name for m in flat if "predict" in m.acts]
    if len(claimants) > 1:
        raise MethodError(
            f"{claimants[0]} and {claimants[1]} both claim the slot 'predict', which only one method can hold: leave one of them out"
        )
    idle, joining, comparing, asking = first("idles"), first("joins"), first("compares"), first("asks")
    fed = next((m.name for m in flat if m.acts & {"segments", "observe"} and not m.traits.idles), None)
    if idle and fed:
        raise MethodError(
            f"{fed} stores and replays in steps, and {idle} takes none in most tasks: leave one of them out"
        )
    if joining and comparing:
        raise MethodError(
            f"{comparing} asks about each input of a step, and what {joining} stores has none: leave one of them out"
        )
    answering = next((m.name for m in flat if "predict" in m.acts and not m.traits.asks), None)
    if asking and answering:
        raise MethodError(
            f"{asking} asks the network as it was before a task, and with {answering} that is not what answers: leave one of them out"
        )


@final
@dataclass(frozen=True)
class Chain(Method):
    """Made by `chain`."""

    members: tuple[Method, ...]

    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "its members have their own"

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(m.name for m in self.members)

    @property
    def inputs(self) -> tuple[int, ...]:  # type: ignore[override]
        return next((m.inputs for m in self.members if m.inputs != Method.inputs), Method.inputs)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:  # type: ignore[override]
        return tuple(s for s in Method.scenarios if all(s in m.scenarios for m in self.members))

    @property
    def traits(self) -> Traits:
        return Traits.merged(self.members)

    @property
    def acts(self) -> frozenset[str]:
        return frozenset().union(*(m.acts for m in self.members))

    @property
    def state_type(self) -> Any:
        return tuple[tuple(m.state_type for m in self.members)]  # type: ignore[misc]

    def advice(self, scenario: Scenario) -> str:
        return "; ".join(filter(None, (Method.advice(m, scenario) for m in self.members)))

    def check(self, scenario: Scenario) -> None:
        for member in self.members:
            member.check(scenario)

    def check_net(self, net: nn.Module) -> None:
        for member in self.members:
            member.check_net(net)

    def parts(self) -> tuple[Method, ...]:
        return self.members

    def _pairs(self, state: Any) -> list[tuple[Method, Any]]:
        return list(zip(self.members, (None,) * len(self.members) if state is None else state))  # None: not begun

    @cached_property
    def _order(self) -> Mapping[str, Sequence[int]]:
        """Who acts in each slot, in order. Those that mask weights act last, but change the gradient of the examples first: what is added to
        masked weights after that is undone by their `project`. Those that compare act last on segments: they ask about the inputs that the
        network gets, whatever others add or change."""

        def place(slot: str, traits: Traits) -> bool:
            return traits.masks != (slot == "gradient") or (slot == "segments" and traits.compares)

        members, slots = self.members, frozenset[str]().union(*(m.acts for m in self.members))
        acting = {slot: [i for i, m in enumerate(members) if slot in m.acts] for slot in slots}
        return {slot: sorted(who, key=lambda i: place(slot, members[i].traits)) for slot, who in acting.items()}

    def _each(self, slot: str, state: Any) -> list[tuple[Method, Any]]:
        """The members that act in a slot, each with its state, in order."""
        pairs = self._pairs(state)
        return [pairs[i] for i in self._order.get(slot, ())]

    def _next(self, slot: str, state: Any, act: Callable[[Method, Any], Any]) -> Any:
        """The states after a slot in which each that acts there returns its own."""
        states = list(state)
        for i in self._order.get(slot, ()):
            states[i] = act(self.members[i], states[i])
        return tuple(states)

    # --- where a task begins and ends ----------------------------------------------------------------------------------------
    def init(self, theta: Vector, spec: Spec) -> Any:
        return tuple(m.init(theta, spec) for m in self.members)

    def begin(self, state: Any, context: TaskContext) -> Any:
        return self._next("begin", state, lambda m, s: m.begin(s, context))

    def end(self, state: Any, context: TaskContext) -> Any:
        return self._next("end", state, lambda m, s: m.end(s, context))

    def resize(self, state: Any, mapping: IndexMap, theta: Vector) -> Any:
        return self._next("resize", state, lambda m, s: m.resize(s, mapping, theta))

    # --- the step ---------------------------------------------------------------------------------------------------
    def segments(self, state: Any, batch: Batch, context: StepContext) -> Batch:
        for m, s in self._each("segments", state):
            batch = m.segments(s, batch, context)
        return batch

    def loss(self, state: Any, batch: Batch, output: Any, context: StepContext) -> Tensor:
        return torch.stack([m.loss(s, batch, output, context) for m, s in self._each("loss", state)]).sum()

    def gradient(self, state: Any, grads: Vector, context: StepContext) -> Vector:
        for m, s in self._each("gradient", state):
            grads = m.gradient(s, grads, context)
        return grads

    def project(self, state: Any, step: Step, context: StepContext) -> None:
        for m, s in self._each("project", state):
            m.project(s, step, context)

    def track(self, state: Any, step: Step, context: StepContext) -> Any:
        return self._next("track", state, lambda m, s: m.track(s, step, context))

    def observe(self, state: Any, new: Segment, output: Any, context: StepContext) -> Any:
        return self._next("observe", state, lambda m, s: m.observe(s, new, output, context))

    def extra_passes(self, state: Any, own: int, learnt: int) -> tuple[int, int]:
        counts = [m.extra_passes(s, own, learnt) for m, s in self._each("extra_passes", state)]
        return sum(f for f, _ in counts), sum(b for _, b in counts)

    # --- the loop ---------------------------------------------------------------------------------------------------
    def network(self, net: nn.Module) -> nn.Module:
        for m in self.members:
            net = m.network(net)
        return net

    def grow(self, state: Any, net: nn.Module, task: Task) -> list[Growth]:
        return [op for m, s in self._each("grow", state) for op in m.grow(s, net, task)]

    def data(self, state: Any, examples: Examples, past: Sequence[Examples]) -> Examples:
        for m, s in self._each("data", state):
            examples = m.data(s, examples, past)
        return examples

    def expand(self, state: Any, context: TaskContext, accuracy: float) -> list[Growth]:
        return [op for m, s in self._each("expand", state) for op in m.expand(s, context, accuracy)]

    # --- answers and exports ----------------------------------------------------------------------------------------
    def predict(self, state: Any, net: nn.Module, x: Any, task: int | None) -> Tensor:
        [(m, s)] = self._each("predict", state)
        return m.predict(s, net, x, task)

    def parameters(self, state: Any, net: nn.Module) -> int:
        return max(m.parameters(s, net) for m, s in self._pairs(state))

    def sample(self, state: Any, n: int, generator: torch.Generator) -> Tensor | None:
        drawn = (m.sample(s, n, generator) for m, s in self._pairs(state))
        return next((x for x in drawn if x is not None), None)

    def placed(self, state: Any, like: Tensor) -> Any:
        return tuple(m.placed(s, like) for m, s in zip(self.members, state))
