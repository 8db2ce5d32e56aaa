"""The public laws find what they are for, and say it in a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lifelong import EWC, L2, Augment, ICaRL, Method, MethodError, Replay, Stream, chain, stream_of, turning
from lifelong.core import state_io
from lifelong.core.contexts import Spec, StepContext, TaskContext
from lifelong.core.growth import Growth
from lifelong.core.method import Traits
from lifelong.core.objective import labels_of
from lifelong.core.segments import Segment
from lifelong.core.vector import Vector
from lifelong.testing import METHOD_LAWS, LawBroken, check_method, check_stream, method_laws
from lifelong.testing.device_law import waits_for_no_device
from lifelong.testing.ranks_law import ranks_give_what_one_gives
from toys import toy_learner, toy_stream


@dataclass(frozen=True)
class Pull(Method):
    """Pulls each weight back; each fault breaks a law."""

    strength: float = 0.05
    fault: str = ""

    name: ClassVar[str] = "pull"
    neutral: ClassVar[dict[str, Any]] = {"strength": 0.0}

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True, penalises=True)

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.strength or self.fault == "not neutral" else frozenset()

    def init(self, theta: Vector, spec: Spec) -> Vector | None:
        return None

    def begin(self, state: Vector | None, context: TaskContext) -> Vector | None:
        if self.fault == "global draws":
            torch.rand(1)
        return state

    def end(self, state: Vector | None, context: TaskContext) -> Vector:
        if self.fault == "examples of a rank":
            labels = [labels_of(c.y).float().mean() for c in context.examples.part(context.ranks).all()]
            return context.theta.clone() * (1 + 1e-3 * torch.stack(labels).mean().double())
        return context.theta.clone()

    def gradient(self, state: Vector | None, grads: Vector, context: StepContext) -> Vector:
        if self.fault == "not neutral":
            return grads * 0.5
        if self.fault == "unseeded":
            return grads + float(torch.randn(1, generator=torch.Generator().manual_seed(id(grads) % 2**31))) * 0.1
        if self.fault == "waits":
            float(grads.tensors[0].sum())
        if self.fault == "elsewhere":
            grads.tensors[0].add_(torch.ones(grads.tensors[0].shape))
        if self.fault == "double":
            grads.tensors[0].double()
        return grads if state is None else grads + self.strength * (context.theta - state)


@dataclass(frozen=True)
class Forgetful(Pull):
    """Keeps what no checkpoint holds."""

    name: ClassVar[str] = "forgetful"

    def gradient(self, state: Vector | None, grads: Vector, context: StepContext) -> Vector:
        steps.append(1)  # of the process, not of the state
        return grads * (1 + 1e-3 * (len(steps) % 7))


steps: list[int] = []


def test_what_obeys_passes() -> None:
    check_method(Pull)
    check_method(EWC(strength=2.0, implicit=True))


@pytest.mark.parametrize(
    ("fault", "law", "said"),
    [
        ("not neutral", "neutral_is_fine_tuning", "does not end on the bits of fine-tuning at {'strength': 0.0}"),
        ("unseeded", "seeds_decide", "two runs of one seed differ"),
        ("examples of a rank", "ranks_give_what_one_gives", "two ranks"),
        ("waits", "waits_for_no_device", "reads a value of the device"),
        ("elsewhere", "waits_for_no_device", "mixes devices"),
        ("double", "waits_for_no_device", "float64"),
    ],
)
def test_a_fault_is_named(fault: str, law: str, said: str) -> None:
    with pytest.raises(LawBroken) as found:
        check_method(Pull(fault=fault))
    line = next(line for line in str(found.value).splitlines() if line.strip().startswith(law))
    assert said in line
    assert f"of {len(METHOD_LAWS)} laws" in str(found.value)


def test_state_outside_the_state_is_found() -> None:
    with pytest.raises(LawBroken, match="goes on to other weights"):
        method_laws.state_survives_saving(Forgetful())


def test_a_method_without_an_effect_is_found() -> None:
    @dataclass(frozen=True)
    class Idle(Method):
        """Does nothing."""

        name: ClassVar[str] = "idle"
        neutral: ClassVar[None] = None
        no_neutral: ClassVar[str] = "none"

        def gradient(self, state: None, grads: Vector, context: StepContext) -> Vector:
            return grads

    with pytest.raises(LawBroken, match="nothing that it does has an effect"):
        method_laws.neutral_is_fine_tuning(Idle())


def test_who_does_not_say_ranks_is_refused_there() -> None:
    @dataclass(frozen=True)
    class Alone(Pull):
        """On one rank."""

        name: ClassVar[str] = "alone"

        @property
        def traits(self) -> Traits:
            return Traits(penalises=True)

    ranks_give_what_one_gives(Alone())


def test_a_step_that_observes_on_the_device_passes() -> None:
    @dataclass(frozen=True)
    class Counts(Pull):
        """Counts the classes."""

        name: ClassVar[str] = "counts"

        def observe(self, state: Any, new: Segment, output: Tensor, context: StepContext) -> Any:
            labels_of(new.y).float().sum()
            return state

    waits_for_no_device(Counts())


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(LawBroken, match=r"expected a subclass of lifelong\.Method"):
        check_method("ewc")  # type: ignore[arg-type]


def test_a_state_that_is_the_networks_own_is_named() -> None:
    @dataclass(frozen=True)
    class Shares(Pull):
        """Forgets to clone."""

        name: ClassVar[str] = "shares"

        def end(self, state: Vector | None, context: TaskContext) -> Vector:
            return context.theta

    with pytest.raises(LawBroken, match=r"are the network's own tensors: clone\(\) them"):
        method_laws.state_is_its_own(Shares())


@dataclass(frozen=True)
class Kept(Method):
    """Answers with the mean of its answers' biases; keeps inputs that nobody needs for that."""

    leaves_out: bool = False
    spoils: bool = False

    name: ClassVar[str] = "kept"

    def init(self, theta: Vector, spec: Spec) -> tuple[Tensor, Tensor]:
        return torch.zeros(0, *spec.shape), torch.zeros(spec.outputs)

    def observe(self, state: Any, new: Segment, output: Tensor, context: StepContext) -> Any:
        return torch.cat([state[0], new.x]), state[1] + output.sum(0)

    def predict(self, state: Any, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        return net(x) if state is None else net(x) + state[1]

    def answering(self, state: Any) -> Any:
        return state[0][:0] if self.leaves_out else state[0], state[1] + 1e6 if self.spoils else state[1]


def test_what_an_export_would_hold_is_looked_at() -> None:
    method_laws.export_answers(Kept(leaves_out=True))
    with pytest.raises(LawBroken, match="would hold the examples in 'state/0'"):
        method_laws.export_answers(Kept())
    with pytest.raises(LawBroken, match="it answers something else"):
        method_laws.export_answers(Kept(leaves_out=True, spoils=True))


def test_a_chain_is_held_to_the_laws_of_its_members() -> None:
    """Its inputs are what one of its members asks for; what an export holds is what the one that answers reads."""
    assert chain(Replay(20), Augment(shift=1)).inputs == Augment.inputs
    both = chain(ICaRL(20), L2(0.1))
    assert chain(both) is both
    check_method(both)


def test_an_error_is_said_once_and_where_it_is() -> None:
    @dataclass(frozen=True)
    class Fails(Pull):
        """Fails."""

        name: ClassVar[str] = "fails"

        def gradient(self, state: Vector | None, grads: Vector, context: StepContext) -> Vector:
            raise ValueError("no")

    with pytest.raises(LawBroken) as found:
        check_method(Fails())
    assert str(found.value).count("ValueError: no (test_checks.py:") == 1
    assert "in gradient)" in str(found.value)
    assert isinstance(found.value.__cause__, ValueError)


def test_an_undeclared_state_is_refused_by_what_was_declared() -> None:
    @dataclass(frozen=True)
    class Bare(Pull):
        """Declares too little."""

        name: ClassVar[str] = "bare"

        def init(self, theta: Vector, spec: Spec) -> tuple:  # type: ignore[type-arg]
            return (theta.zeros(),)

        def end(self, state: Any, context: TaskContext) -> Any:
            return (context.theta.clone(),)

        def gradient(self, state: Any, grads: Vector, context: StepContext) -> Vector:
            return grads + self.strength * (context.theta - state[0])

    with pytest.raises(
        MethodError, match=r"<class 'tuple'> in the declared type of a state: expected what `init` returns"
    ):
        method_laws.state_survives_saving(Bare())


def test_growth_without_resize_is_refused() -> None:
    stream = toy_stream("class")
    learner = toy_learner(Pull(), stream)
    learner.learn(stream[0])
    with pytest.raises(MethodError, match="pull keeps a Vector of the network's weights, and the network grows"):
        learner.grow([Growth("outputs", "", stream.outputs + 2)])


# --- what is said of a mistake ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Needs(Pull):
    """Needs a hyperparameter."""

    how: str = field(kw_only=True)

    name: ClassVar[str] = "needs"


def test_hyperparameters_that_are_missing_or_misspelt_are_named() -> None:
    with pytest.raises(
        LawBroken, match=r"Needs\(\): how must be given: check_method\(Needs, how=\.\.\.\), or name it in"
    ):
        check_method(Needs)
    with pytest.raises(LawBroken, match=r"no hyperparameter called 'strenght' \(did you mean 'strength'\?\)"):
        check_method(Pull, strenght=1.0)

    class One(Pull):
        """Tries no tuple."""

        examples: ClassVar[Any] = {"strength": 1.0}

    with pytest.raises(LawBroken, match="expected hyperparameters to try, a tuple of dictionaries"):
        check_method(One)


def test_a_function_examples_is_the_slot_of_before() -> None:
    class Former(Pull):
        """Of 0.1.0."""

        def examples(self, state: Any, net: Any, batch: Any, generator: Any) -> Any:  # type: ignore[override]
            return batch

    with pytest.raises(LawBroken, match=r"its slot is `segments\(state, batch, context\)` now"):
        check_method(Former)
    with pytest.raises(LawBroken, match=r"Former\.examples is no slot: it is `segments\(state, batch, context\)` now"):
        check_method(Former())


def test_a_misspelt_slot_is_said_once() -> None:
    class Misspelt(Pull):
        """Misspells."""

        def gradiant(self, state: Any, grads: Vector, context: StepContext) -> Vector:
            return grads

    with pytest.raises(LawBroken) as found:
        check_method(Misspelt)
    assert str(found.value).count("no slot called 'gradiant' (did you mean 'gradient'?)") == 1


def test_the_docstring_that_a_dataclass_writes_is_none() -> None:
    @dataclass(frozen=True)
    class Bare(Pull):
        name: ClassVar[str] = "bare"

    assert Bare.__doc__
    with pytest.raises(LawBroken, match="Bare has no docstring"):
        method_laws.is_hyperparameters(Bare())


def test_a_method_without_a_slot_is_told_so() -> None:
    @dataclass(frozen=True)
    class Nothing(Method):
        """Overrides nothing."""

        strength: float = 1.0

        name: ClassVar[str] = "nothing"

    with pytest.raises(LawBroken, match="it overrides no slot, and is fine-tuning"):
        method_laws.chain_of_one_is_the_method(Nothing())
    with pytest.raises(LawBroken, match="it acts in no slot, and is fine-tuning: check it at others"):
        method_laws.chain_of_one_is_the_method(Pull(strength=0.0))


def test_names_have_no_stray_slash() -> None:
    with pytest.raises(TypeError, match=r"^s: a state may hold"):
        state_io.split({"s": {1}})

    @dataclass(frozen=True)
    class Shares(Pull):
        """Forgets to clone."""

        name: ClassVar[str] = "shares"

        def end(self, state: Vector | None, context: TaskContext) -> Vector:
            return context.theta

    with pytest.raises(LawBroken, match=r"^state/0\.weight, "):
        method_laws.state_is_its_own(Shares())


def test_a_buffer_that_is_too_small_is_called_by_its_name() -> None:
    stream = toy_stream("class", inputs=ICaRL.inputs)
    with pytest.raises(
        MethodError, match="2 exemplars for 3 classes: expected at least one a class; raise buffer_size"
    ):
        toy_learner(ICaRL(2), stream).learn(stream[0])


def _saved(kind: type[Pull], match: str) -> None:
    with pytest.raises(MethodError, match=match):
        method_laws.state_survives_saving(kind())


def test_a_state_that_cannot_be_read_back_is_told_what_to_declare() -> None:
    @dataclass(frozen=True)
    class Whatever(Pull):
        """Declares nothing."""

        name: ClassVar[str] = "whatever"

        def init(self, theta: Vector, spec: Spec) -> Any:
            return None

    @dataclass(frozen=True)
    class Dicts(Pull):
        """Declares half of it."""

        name: ClassVar[str] = "dicts"

        def init(self, theta: Vector, spec: Spec) -> dict[str, Any]:  # type: ignore[override]
            return {"anchor": theta.clone()}

        def end(self, state: Any, context: TaskContext) -> Any:
            return {"anchor": context.theta.clone()}

        def gradient(self, state: Any, grads: Vector, context: StepContext) -> Vector:
            return grads + self.strength * (context.theta - state["anchor"])

    @dataclass(frozen=True)
    class Unsaid(Pull):
        """Says nothing."""

        name: ClassVar[str] = "unsaid"

        def init(self, theta: Vector, spec: Spec):  # type: ignore[no-untyped-def]
            return None

    _saved(
        Whatever, r"the type Any cannot be read back, as Any does not say what a Vector is: declare what `init` returns"
    )
    _saved(Dicts, r"the type dict\[str, Any\] cannot be read back")
    _saved(Unsaid, r"Unsaid\.init has no return type.*: write what Unsaid\.init returns, as in def init\(self")


# --- streams ----------------------------------------------------------------------------------------------------------------
def test_a_stream_that_obeys_passes() -> None:
    check_stream(turning, tasks=2)
    check_stream(turning(tasks=2))


def blobs(seed: int = 0, *, wild: bool = False, draws: bool = False) -> Stream:
    g = None if draws else torch.Generator().manual_seed(seed)
    data = [(torch.randn(40, 3, generator=g), torch.arange(40) % 2) for _ in range(2)]
    if wild:
        data[1][0][7, 1] = float("nan")
    return stream_of(data, scenario="domain")


def test_faults_of_a_stream_are_named() -> None:
    check_stream(blobs)
    with pytest.raises(LawBroken, match=r"inputs_are_finite: task '.*' has inputs that are NaN or infinite"):
        check_stream(blobs, wild=True)
    with pytest.raises(LawBroken, match="draw from the seed alone"):
        check_stream(blobs, draws=True)


def test_labels_beyond_the_classes_are_named() -> None:
    stream = blobs()
    odd = replace(stream, tasks=(replace(stream[0], classes=(0,)), stream[1]))
    with pytest.raises(LawBroken, match=r"training labels \[1\] are not among its classes"):
        check_stream(odd)
