"""What follows from the slots that a method overrides, what it says of itself, and what of both a chain says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from lifelong.core.chain import chain
from lifelong.core.contexts import Spec, StepContext, TaskContext
from lifelong.core.errors import MethodError
from lifelong.core.examples import Examples
from lifelong.core.method import GROUPS, Answers, AtTaskEdges, Exports, InStep, Method, OwnsLoop, Traits
from lifelong.core.registry import METHODS
from lifelong.core.segments import Batch, Segment
from lifelong.core.vector import Vector
from lifelong.methods import EWC, L2


def test_the_groups_hold_every_slot_once() -> None:
    assert {
        AtTaskEdges: ("init", "begin", "end", "resize"),
        InStep: ("segments", "loss", "gradient", "project", "track", "observe", "extra_passes"),
        OwnsLoop: ("network", "grow", "data", "expand"),
        Answers: ("predict", "parameters", "sample"),
        Exports: ("answering", "placed"),
    } == GROUPS
    assert Method().acts == frozenset()
    assert Method().traits == Traits()


@dataclass(frozen=True)
class Some(Method):
    """With any traits."""

    name: ClassVar[str] = "some"
    said: tuple[str, ...] = ()

    @property
    def traits(self) -> Traits:
        return Traits(**dict.fromkeys(self.said, True))


@dataclass(frozen=True)
class Begins(Some):
    def begin(self, state: None, context: TaskContext) -> None: ...


@dataclass(frozen=True)
class Observes(Some):
    def observe(self, state: None, new: Segment, output: Any, context: StepContext) -> None: ...


@dataclass(frozen=True)
class Takes(Some):
    def data(self, state: None, examples: Examples, past: Any) -> Examples:
        return examples


@dataclass(frozen=True)
class Predicts(Some):
    def predict(self, state: None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        return net(x)


def test_portable_is_what_needs_no_loop_of_its_own() -> None:
    assert all(m.portable for m in (Method(), Begins(), Observes(), Predicts(), chain(Begins(), Predicts())))
    assert not Takes().portable
    assert not chain(Begins(), Takes()).portable
    for said in ("restarts", "rereads", "once", "counts_steps"):
        assert not Begins((said,)).portable
        assert not chain(Begins((said,)), Observes()).portable
    for said in {f.name for f in fields(Traits)} - {"restarts", "rereads", "once", "counts_steps"}:
        assert Begins((said,)).portable


def test_the_traits_of_a_chain() -> None:
    """What is true of any, but for what must be true of all."""
    for f in fields(Traits):
        one, both = chain(Begins((f.name,)), L2()).traits, Traits.merged([Begins((f.name,)), Begins((f.name,))])
        every = f.name in ("unlabelled", "ranks", "stores")
        expected = (
            f.name == "stores" or not every or getattr(L2().traits, f.name)
        )  # none observes: nothing there starves
        assert getattr(one, f.name) == expected, f.name
        assert getattr(both, f.name)
    assert Traits.merged([Observes(("stores",)), Begins()]).stores  # of all that observe
    assert not Traits.merged([Observes(("stores",)), Observes()]).stores
    assert not Traits.merged([Begins(("unlabelled",)), Begins()]).unlabelled


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (Predicts(), Predicts(), "both claim the slot 'predict'"),
        (Observes(), Begins(("idles",)), "takes none in most tasks"),
        (Begins(("joins",)), Begins(("compares",)), "asks about each input of a step"),
        (Begins(("asks",)), Predicts(), "asks the network as it was before a task"),
    ],
)
def test_what_cannot_stand_beside_each_other(one: Method, other: Method, message: str) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(MethodError, match=message):
            chain(*pair)
    with pytest.raises(MethodError, match=message):
        chain(chain(one, EWC()), other)


def test_what_masks_weights_acts_last_and_changes_the_examples_gradient_first() -> None:
    acted = []

    @dataclass(frozen=True)
    class Acting(Some):
        label: str = ""

        def gradient(self, state: None, grads: Any, context: StepContext) -> Any:
            acted.append(self.label)
            return grads

        def segments(self, state: None, batch: Batch, context: StepContext) -> Batch:
            acted.append(self.label)
            return batch

    both = chain(Acting(("masks",), "a"), Acting((), "b"), Acting(("masks",), "c"), Acting((), "d"))
    nothing: Any = None
    both.gradient(None, nothing, nothing)
    both.segments(None, nothing, nothing)
    assert acted == ["a", "c", "b", "d", "b", "d", "a", "c"]


def test_the_state_of_a_chain_has_the_types_of_its_members() -> None:
    @dataclass(frozen=True)
    class Counting(Begins):
        def init(self, theta: Vector, spec: Spec) -> list[int]:
            return [0]

    assert chain(Counting(), EWC()).state_type == tuple[list[int], EWC().state_type]
    assert chain(Counting(), EWC()).name == "some+ewc"


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_says_of_itself_is_traits(name: str) -> None:
    """One that is set on the class itself would be read by nobody."""
    method = METHODS[name].load()()
    assert isinstance(method.traits, Traits)
    hidden = {f.name for f in fields(Traits)} & set(dir(type(method)))
    assert hidden <= {f.name for f in fields(method)}, hidden  # a hyperparameter may have a trait's name
