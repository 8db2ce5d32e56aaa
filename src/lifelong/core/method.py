"""What a method against forgetting is: hyperparameters, and a few functions between which values flow.

A slot is a function that a method may override; it is named by the value that flows through it, and one that is not overridden costs
nothing. The slots stand in five groups, from which it follows what a method can be used for::

    AtTaskEdges   init  begin  end  resize
    InStep        segments  loss  gradient  project  track  observe  extra_passes
    OwnsLoop      network  grow  data  expand              needs the library's own loop
    Answers       predict  parameters  sample
    Exports       answering  placed

A method is a frozen dataclass of hyperparameters. Everything that learning changes lives in its state, a tree of tensors that is handed in
and handed back. A slot that gives a state *consumes* the one it was given: it may write into its tensors, and nobody uses the old one again.

The slots of a step are functions of tensors: they decide nothing in Python by a tensor's value, so that a step can be traced. All of
them get one context (`StepContext`), with a generator for what they draw.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final
from weakref import WeakSet

import torch
from torch import Tensor, nn

from . import state_io
from .contexts import Spec, Step, StepContext, TaskContext
from .errors import MethodError
from .examples import Examples
from .growth import Growth, IndexMap
from .ranks import Ranks
from .segments import Batch, Segment
from .stream import Scenario, Task
from .vector import Vector, double

__all__ = ["GROUPS", "Answers", "AtTaskEdges", "Exports", "InStep", "Method", "OwnsLoop", "Traits", "is_method"]


@final
@dataclass(frozen=True)
class Traits:
    """What others must know of a method, and cannot see from the slots that it overrides. Each is false unless the method says otherwise.

    Args:
        restarts: it starts each task from the initial network. (With this or one of the next three it needs the library's own loop.)
        rereads: `data` is given the examples of past tasks, which are then kept.
        once: it is trained once, on all tasks, when the last has come; the stream must end.
        counts_steps: it must know before a task how many steps the task takes.
        masks: it says which weights may move at all: in a chain it acts after all others, wherever it stands.
        idles: it takes no step in most tasks, its `data` being empty, so that nothing is chained with it that is fed by steps.
        joins: a segment of it joins within the network, so that there are more outputs than inputs.
        compares: its loss asks a network about the inputs of the batch, and compares the answers with the outputs, row by row: in a chain it
            acts last on segments.
        asks: it asks the network as it was before a task, which must then answer by itself.
        waits: a step of it waits for the device.
        penalises: it holds weights by a penalty, and nothing else of the network.
        unlabelled: the end of a task needs no labels.
        later: it does nothing before a second task begins: where nobody says that a task ends it would be fine-tuning.
        stores: `observe` only stores what passes, so that examples may be shown to it without a step (a model trained elsewhere).
        adopts: it holds what a network knew before its first task, from the network alone.
        likelihood: it takes the outputs for logits of one class an example.
        oracle: `predict` is told the task even where the scenario hides it (references only).
        ranks: on several ranks it gives what it gives on one with the same global batch (docs/many-processes.md).
    """

    restarts: bool = False
    rereads: bool = False
    once: bool = False
    counts_steps: bool = False
    masks: bool = False
    idles: bool = False
    joins: bool = False
    compares: bool = False
    asks: bool = False
    waits: bool = False
    penalises: bool = False
    unlabelled: bool = False
    later: bool = False
    stores: bool = False
    adopts: bool = False
    likelihood: bool = False
    oracle: bool = False
    ranks: bool = False

    @staticmethod
    def merged(methods: Sequence[Method]) -> Traits:
        """Those of a chain: what is true of any of its methods, but for `unlabelled`, `ranks` and `stores`, which must be true of all (of
        all that observe)."""
        each = [m.traits for m in methods]
        found = {f.name: any(getattr(t, f.name) for t in each) for f in fields(Traits)}
        found["unlabelled"], found["ranks"] = (all(getattr(t, name) for t in each) for name in ("unlabelled", "ranks"))
        found["stores"] = all(m.traits.stores for m in methods if "observe" in m.acts)
        return Traits(**found)


class AtTaskEdges:
    """Where a task begins and ends: ordinary Python, shapes may change."""

    def init(self, theta: Vector, spec: Spec) -> Any:
        """The state before the first task. Its annotated return type is the state's type: checkpoints are read back as that."""
        return None

    def begin(self, state: Any, context: TaskContext) -> Any:
        """Before the first step of a task (keep the old network as a teacher)."""
        return state

    def end(self, state: Any, context: TaskContext) -> Any:
        """After the last step of a task (importance, exemplars, anchor)."""
        return state

    def resize(self, state: Any, mapping: IndexMap, theta: Vector) -> Any:
        """The state follows a growth of the network: `theta` are the new weights."""
        return state


class InStep:
    """The step: tensors in, tensors out."""

    def segments(self, state: Any, batch: Batch, context: StepContext) -> Batch:
        """What the step learns from: `batch` with segments added, weighed anew or changed (replay adds stored examples)."""
        return batch

    def loss(self, state: Any, batch: Batch, output: Any, context: StepContext) -> Tensor:
        """A further term of the loss, ``[]`` (distillation). `output` is the network's answer to all of the batch; ``batch.parts(output)`` gives
        each segment with its part."""
        raise NotImplementedError

    def gradient(self, state: Any, grads: Vector, context: StepContext) -> Vector:
        """The gradient that the optimiser gets. `grads` is the step's own and may be written to."""
        return grads

    def project(self, state: Any, step: Step, context: StepContext) -> None:
        """Moves the weights `step.after` after the optimiser (masks, implicit penalties)."""

    def track(self, state: Any, step: Step, context: StepContext) -> Any:
        """Keeps account of a step (path integrals)."""
        return state

    def observe(self, state: Any, new: Segment, output: Any, context: StepContext) -> Any:
        """What is stored of a step: `new` as it came from the task, `output` the network's answer to it."""
        return state

    def extra_passes(self, state: Any, own: int, learnt: int) -> tuple[int, int]:
        """How many examples a step passes forward and backward through other networks than the one that learns (a teacher, a generator),
        of `own` examples of the task and `learnt` in all. Numbers only: nothing is waited for."""
        return 0, 0


class OwnsLoop:
    """What only the library's own loop can do for a method."""

    def network(self, net: nn.Module) -> nn.Module:
        """The network that this method learns with, made of the one that was given."""
        return net

    def grow(self, state: Any, net: nn.Module, task: Task) -> list[Growth]:
        """Enlargements that the coming task needs whatever it scores (a new column)."""
        return []

    def data(self, state: Any, examples: Examples, past: Sequence[Examples]) -> Examples:
        """What the task trains on; `past` holds what earlier tasks came with (where it `rereads`)."""
        return examples

    def expand(self, state: Any, context: TaskContext, accuracy: float) -> list[Growth]:
        """Not good enough? How to go on bigger; empty: good enough. `accuracy` is that on the training examples."""
        return []


class Answers:
    """Reading out."""

    def predict(self, state: Any, net: nn.Module, x: Any, task: int | None) -> Tensor:
        """Scores ``[B, C]``, the largest of which is the answer; at most one method of a chain claims it. `state` is None before the first
        task."""
        raise NotImplementedError

    def parameters(self, state: Any, net: nn.Module) -> int:
        """Weights needed to predict for all tasks so far."""
        return sum(p.numel() for p in net.parameters())

    def sample(self, state: Any, n: int, generator: torch.Generator) -> Tensor | None:
        """`n` inputs as the method draws them ``[n, ...]``, for people to look at; None: it draws none."""
        return None


class Exports:
    """Leaving for a file, and coming back."""

    # Fields of the state that are lists with an entry a task, of which `predict` reads one at a time: an export keeps each entry in
    # a file of its own, and loads it when it is asked for.
    apart: ClassVar[tuple[str, ...]] = ()

    def answering(self, state: Any) -> Any:
        """The state with only what `predict` reads of it (no past examples, where it needs none): an export holds this."""
        return state

    def placed(self, state: Any, like: Tensor) -> Any:
        """A state that was read from a file, where a network with the weight `like` is."""
        kind = torch.float64 if like.dtype == torch.float64 else double(like.device)
        return state_io.mapped(
            state,
            lambda t: (
                t.to(kind if t.dtype == torch.float64 else t.dtype).to(like.device) if isinstance(t, Tensor) else t
            ),
        )


GROUPS: dict[type, tuple[str, ...]] = {
    group: tuple(name for name, value in vars(group).items() if callable(value) and not name.startswith("_"))
    for group in (AtTaskEdges, InStep, OwnsLoop, Answers, Exports)
}
_HOME = {slot: group for group, slots in GROUPS.items() for slot in slots}


@dataclass(frozen=True)
class Method(AtTaskEdges, InStep, OwnsLoop, Answers, Exports):
    """No method: plain fine-tuning. Others override some slots."""

    name: ClassVar[str] = "finetune"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    # The hyperparameters at which a method equals fine-tuning bit for bit; None: it has none, and `no_neutral` says why.
    neutral: ClassVar[Mapping[str, Any] | None] = {}
    no_neutral: ClassVar[str] = ""
    # In a line, for lists.
    summary: ClassVar[str] = ""
    # Where it comes from: authors, year, arXiv number.
    paper: ClassVar[str] = ""
    # Hyperparameters at which tests try it, beside its scenarios and neutral ones.
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    # The shape of one input that tests try it with, for a method of images or sequences.
    inputs: ClassVar[tuple[int, ...]] = (12,)

    @property
    def traits(self) -> Traits:
        """What others must know of it."""
        return Traits()

    @property
    def acts(self) -> frozenset[str]:
        """The slots that this method overrides, as far as its hyperparameters let them do something."""
        return frozenset(s for s, group in _HOME.items() if getattr(type(self), s) is not getattr(group, s))

    @property
    def portable(self) -> bool:
        """Whether it can work inside somebody's own loop, through `protect`."""
        t = self.traits
        return not (self.acts & {*GROUPS[OwnsLoop]} or t.restarts or t.rereads or t.once or t.counts_steps)

    @property
    def state_type(self) -> Any:
        """What `init` gives: checkpoints are read back as that.

        Raises:
            MethodError: `init` does not say it, or names a type that is not found.
        """
        kind = type(self).__name__
        write = f"write what {kind}.init returns, as in def init(self, theta: Vector, spec: Spec) -> Vector | None"
        try:
            hints = typing.get_type_hints(type(self).init)
        except NameError as error:
            raise MethodError(
                f"{kind}.init: its annotations cannot be read ({error}): {write}; a state's type is defined at the top level of a module"
            ) from error
        if "return" not in hints:
            raise MethodError(f"{kind}.init has no return type, by which a saved state is read back: {write}")
        return hints["return"]

    def advice(self, scenario: Scenario) -> str:
        """What somebody should know who runs this in a scenario; empty: nothing."""
        if not self.neutral or any(getattr(self, name) != value for name, value in self.neutral.items()):
            return ""
        given = ", ".join(f"{name} {value}" for name, value in self.neutral.items())
        return f"{self.name} with {given} is fine-tuning bit for bit"

    def check(self, scenario: Scenario) -> None:
        """Raises `MethodError` where the method does not fit a scenario, or a hyperparameter is none of those that there are."""
        for key, kind in typing.get_type_hints(type(self)).items():
            kinds = typing.get_args(kind)
            if typing.get_origin(kind) is typing.Literal and getattr(self, key) not in kinds:
                raise MethodError(
                    f"{self.name}: {key} {getattr(self, key)!r}: expected one of {', '.join(map(repr, kinds))}"
                )
        if scenario not in typing.get_args(Scenario):
            raise MethodError(
                f"scenario {scenario!r}: expected one of {', '.join(map(repr, typing.get_args(Scenario)))}"
            )
        if scenario not in self.scenarios:
            why = (
                f"needs to know the task at test time, which the scenario {scenario!r} hides"
                if self.scenarios == ("task",)
                else f"does not run in the scenario {scenario!r}"
            )
            fits = ", ".join(map(repr, self.scenarios))
            raise MethodError(
                f"{self.name} {why}; it runs in {fits}: choose one of these (--scenario), or another method"
            )

    def check_net(self, net: nn.Module) -> None:
        """Raises `MethodError` where the method cannot work with a network."""

    def check_ranks(self, ranks: Ranks) -> None:
        """Raises `MethodError` where the method does not say that it works on several ranks."""
        if ranks.world > 1 and self.acts and not self.traits.ranks:
            raise MethodError(
                f"{self.name} is not known to give on {ranks.world} ranks what it gives on one ({self}): train in one process, or choose what "
                "`lifelong methods` marks with 'ranks' (a method of your own says so with Traits(ranks=True))"
            )

    def parts(self) -> tuple[Method, ...]:
        """The methods that this one is a chain of."""
        return (self,)


def is_method(given: object) -> Method:
    """`given`, which raises `MethodError` where it is a name or anything else, or where a part of it would be passed over in silence: a
    function that was meant for a slot and is none, a slot that takes other arguments."""
    if not isinstance(given, Method):
        raise MethodError(f"method {given!r}: expected a method such as EWC(strength=1.0), not its name")
    for part in given.parts():
        _look_at(type(part))
    return given


# --- what would be passed over in silence -----------------------------------------------------------------------------------
_FORMER = {
    "examples": "it is `segments(state, batch, context)` now; `examples` are the hyperparameters that check_method tries",
    "criterion": "give a segment an `objective`, or a further term in `loss(state, batch, output, context)`",
    "aside": "it is `extra_passes(state, own, learnt)` now",
}
_FORMER_FLAGS = {"rests": "idles", "softmax": "likelihood", "gathers": "stores"} | {
    f.name: f.name for f in fields(Traits)
}


_FINE: WeakSet[type] = WeakSet()  # classes that were looked at


def _look_at(kind: type[Method]) -> None:
    """Raises `MethodError` where something of a class is meant for the library, and the library would not see it."""
    if kind in _FINE:
        return
    constants = {f.name for f in fields(kind)}
    for slot in constants & _HOME.keys():
        raise MethodError(f"{kind.__name__}.{slot} is a hyperparameter, and {slot!r} is a slot: call it something else")
    for cls in kind.__mro__:
        if cls in (Method, object, *GROUPS):
            continue
        for name, value in vars(cls).items():
            if not name.startswith("_") and name not in constants:
                _attribute(f"{cls.__name__}.{name}", name, value)
    _FINE.add(kind)


def _attribute(called: str, name: str, value: object) -> None:
    """Raises `MethodError` for one of a class that the library would not see, or would not call as its author expects."""
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if name in _FORMER and isinstance(function, types.FunctionType) and "state" in _parameters(function):
        raise MethodError(f"{called} is no slot: {_FORMER[name]}")
    if name == "portable" and isinstance(value, bool):
        raise MethodError(
            f"{called} is read by nobody: it follows from the slots and from the traits that a method has"
        )
    if name in _FORMER_FLAGS and isinstance(value, bool | property):
        raise MethodError(
            f"{called} is read by nobody: give it in the property `traits`, return Traits({_FORMER_FLAGS[name]}=True)"
        )
    if name in _HOME:
        if isinstance(value, property) or not (callable(value) or hasattr(value, "__get__")):
            raise MethodError(
                f"{called} is a {type(value).__name__}, and {name!r} is a slot, a function: call it something else"
            )
        if isinstance(value, types.FunctionType):
            _takes(called, name, value)
    elif isinstance(value, types.FunctionType) and not hasattr(Method, name):
        _near(called, name, value)


def _takes(called: str, slot: str, function: types.FunctionType) -> None:
    """Raises `MethodError` where a slot cannot be called with what a slot is called with."""
    expected = _parameters(getattr(_HOME[slot], slot))
    own = inspect.signature(function)
    try:
        own.bind(None, *expected)
    except TypeError:
        raise MethodError(
            f"{slot} takes ({', '.join(expected)}), and {called} has ({', '.join(_parameters(function))})"
        ) from None


def _near(called: str, name: str, function: types.FunctionType) -> None:
    """Raises `MethodError` where a function is called nearly like a slot, and takes a state and as many arguments. Others are helpers."""
    for slot in difflib.get_close_matches(name, _HOME, n=1, cutoff=0.85):
        own = _parameters(function)
        expected = _parameters(getattr(_HOME[slot], slot))
        if own[:1] == expected[:1] and len(own) == len(expected):
            raise MethodError(
                f"{called}: there is no slot called {name!r} (did you mean {slot!r}?); a helper's name begins with _ or is another"
            )


def _parameters(function: Any) -> list[str]:
    """The names of a function's parameters, without `self`."""
    return [
        str(p) if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) else p.name
        for p in inspect.signature(function).parameters.values()
    ][1:]
