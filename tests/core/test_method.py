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
from lifelong.core.method import GROUPS, Answers, AtTaskEdges, Exports, InStep, Method, OwnsLoop, Traits, is_method
from lifelong.core.registry import METHODS
from lifelong.core.segments import Batch, Segment
from lifelong.core.vector import Vector
from lifelong.methods import EWC, L2
from toys import toy_learner, toy_stream


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


# --- what would be passed over in silence ---------------------------------------------------------------------------------
class Former(Method):
    def examples(self, state: Any, net: Any, batch: Any, generator: Any) -> Any:  # type: ignore[override]
        return batch


class FormerLoss(Method):
    def criterion(self, state: Any, net: Any, batch: Any, output: Any) -> Any: ...


class FormerPasses(Method):
    def aside(self, state: Any, own: int, learnt: int) -> Any: ...


class FormerFlag(Method):
    restarts: ClassVar[bool] = True


class FormerRests(Method):
    rests = True


class FormerProperty(Method):
    @property
    def masks(self) -> bool:
        return True


class SaysPortable(Method):
    portable: ClassVar[bool] = True  # type: ignore[assignment]


class Misspelt(Method):
    def gradiant(self, state: Any, grads: Any, context: Any) -> Any: ...


class OtherArguments(Method):
    def gradient(self, state: Any, theta: Any, grads: Any, grad_of: Any) -> Any: ...  # type: ignore[override]


@dataclass(frozen=True)
class NamedLikeASlot(Method):
    data: int = 3  # type: ignore[assignment]


class ConstantLikeASlot(Method):
    loss = "mse"  # type: ignore[assignment]


class Inherits(Misspelt):
    pass


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Former, r"Former\.examples is no slot: it is `segments\(state, batch, context\)` now"),
        (FormerLoss, r"FormerLoss\.criterion is no slot: give a segment an `objective`"),
        (FormerPasses, r"FormerPasses\.aside is no slot: it is `extra_passes"),
        (FormerFlag, r"FormerFlag\.restarts is read by nobody: .* return Traits\(restarts=True\)"),
        (FormerRests, r"FormerRests\.rests is read by nobody: .* return Traits\(idles=True\)"),
        (FormerProperty, r"FormerProperty\.masks is read by nobody: .* return Traits\(masks=True\)"),
        (SaysPortable, r"SaysPortable\.portable is read by nobody: it follows from the slots"),
        (Misspelt, r"no slot called 'gradiant' \(did you mean 'gradient'\?\)"),
        (Inherits, r"Misspelt\.gradiant: there is no slot called 'gradiant'"),
        (
            OtherArguments,
            r"gradient takes \(state, grads, context\), and OtherArguments\.gradient has \(state, theta, grads, grad_of\)",
        ),
        (NamedLikeASlot, r"NamedLikeASlot\.data is a hyperparameter, and 'data' is a slot: call it something else"),
        (ConstantLikeASlot, r"ConstantLikeASlot\.loss is a str, and 'loss' is a slot"),
    ],
)
def test_what_nobody_would_call_is_refused_when_a_method_is_used(kind: type[Method], said: str) -> None:
    for use in (is_method, lambda m: chain(L2(), m), lambda m: toy_learner(m, toy_stream("domain"))):
        with pytest.raises(MethodError, match=said):
            use(kind())


def test_helpers_of_any_other_name_stay() -> None:
    @dataclass(frozen=True)
    class Helped(Method):
        once: bool = False  # a hyperparameter may have a trait's name

        def gradient(self, state: None, grads: Vector, *more: Any, scale: float = 1.0) -> Vector:
            return grads

        def size(self) -> int:  # near `resize`, which takes another number of arguments
            return 1

        def losses(self, output: Tensor) -> Tensor:
            return output

        def _gradiant(self, state: None, grads: Vector, context: Any) -> Vector:
            return grads

        def penalty(self, state: None, theta: Vector, context: Any) -> Any: ...

    assert is_method(Helped())
    assert all(is_method(METHODS[name].load()()) for name in METHODS)
