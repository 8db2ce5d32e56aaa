"""What a method against forgetting is: constants, and a few pure functions between which values flow.

A slot is named by the value that flows through it. `Learner` looks once which slots a method overrides; one that is
not overridden costs nothing in a step. A method is a frozen dataclass of constants; everything that learning changes
lives in its state, a tree of tensors that is handed in and handed back::

    task edges    init  grow  begin  data  expand  resize  end
    the step      examples  criterion  loss  gradient  project  track  observe
    reading out   predict

The defaults here are identities: the one class of this package that is neither abstract nor final is `Method` itself.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import tree
from .errors import DataError, MethodError, warn
from .growth import Growth, IndexMap
from .ranks import ALONE, Ranks
from .stream import Examples, Scenario, Task
from .vector import Vector, double

__all__ = ["Batch", "Costs", "Edge", "GradOf", "Method", "Spec", "Step", "chain", "cross_entropy", "not_negative"]


@final
@dataclass(frozen=True)
class Spec:
    """What a method may know before the first task. No length: a stream may never end."""

    shape: tuple[int, ...]  # of one input
    outputs: int
    scenario: Scenario
    seed: int = 0


class Batch(NamedTuple):
    """What one step learns from."""

    x: Tensor  # [B, ...]
    y: Tensor  # [B] output indices
    mask: Tensor | None = None  # [C] or [B, C], true where an output competes; None: all do
    weight: Tensor | None = None  # [B] weights of the examples in the loss; NaN: none of its own; None: nowhere
    target: Tensor | None = None  # [B, C] earlier outputs to stay close to; NaN where there are none; None: nowhere
    share: float = 1.0  # what the examples without a weight of their own count together, each alike

    @property
    def weights(self) -> Tensor | None:
        """The weight of each example, ``[B]``; None: 1/B each."""
        if self.weight is None:
            n = len(self.y)
            return None if self.share == 1 else torch.full((n,), self.share / n, device=self.y.device)
        none = self.weight.isnan()
        return torch.where(none, self.share / none.sum().to(self.weight), self.weight)

    def shared(self, factor: float) -> Batch:
        """With `factor` times the share of the examples that have no weight of their own. So what a method says of the
        new examples holds wherever it stands in a chain, and leaves alone what others bring."""
        return self._replace(share=self.share * factor)

    def weighed(self, total: float) -> Batch:
        """With weights of their own that sum to `total`, as they are to one another."""
        n, weights = len(self.y), self.weights
        if weights is not None:
            return self._replace(weight=weights * (total / weights.sum()), share=1.0)
        return self._replace(weight=torch.full((n,), total / n, device=self.y.device))

    def cut(self, own: int, ranks: Ranks) -> Batch:
        """The part of this batch that this rank learns from, so that the mean over ranks of a loss (or a gradient) is that of the whole
        batch: of the first `own` examples a block, of the others every N-th. As many are held to as many earlier answers on
        every rank; where the batch cannot be cut so, the part is the whole."""
        n, N = len(self.y), ranks.world
        if N == 1 or own % N or n % N:
            return self
        rest = torch.arange(own, n, device=self.y.device)
        known = None if self.target is None else ~self.target.isnan()
        if known is not None:  # those that are held to something first
            rest = rest[known[own:].any(1).argsort(descending=True, stable=True)]
        rows = torch.cat([torch.arange(own, device=rest.device).view(N, own // N), rest.view((n - own) // N, N).T], 1)
        if known is not None:
            held = torch.stack([known.sum(1), known.any(1)])[:, rows].sum(2)  # [2, N]
            if not bool((held == held[:, :1]).all()):
                return self
        mine = rows[ranks.rank]
        mask, weight, target = self.mask, self.weights, self.target
        return Batch(
            self.x[mine],
            self.y[mine],
            mask[mine] if mask is not None and mask.dim() == 2 else mask,
            None if weight is None else weight[mine] * N,
            None if target is None else target[mine],
        )

    def plus(self, other: Batch) -> Batch:
        """With the examples of `other` behind. A mask ``[C]`` here holds for those of `other` that bring none; those of
        `other` that bring no weight share what those here share."""
        B, k = len(self.y), len(other.y)
        if len(self.x) != B:
            raise MethodError(
                "what latent_replay remembers joins behind the batch: put it behind the others in the chain"
            )
        weight, more = self.weight, other.weight if other.share == 1 else other.weights
        if weight is not None or more is not None:
            none = torch.full((), float("nan"), device=self.y.device)
            weight = torch.cat([none.expand(n) if w is None else w for w, n in ((weight, B), (more, k))])
        mask = self.mask
        if other.mask is not None:
            own = torch.ones_like(other.mask[:1]) if mask is None else mask
            mask = torch.cat([own.expand(B, -1), other.mask.expand(k, -1)])
        elif mask is not None and mask.dim() == 2:
            mask = torch.cat([mask, torch.ones_like(mask[:1]).expand(k, -1)])
        target = self.target
        if target is not None and other.target is not None:
            raise MethodError("two methods of this chain hold examples to earlier answers: leave one of them out")
        if target is not None or other.target is not None:
            width = (target if target is not None else other.target).shape[1]  # type: ignore[union-attr]
            parts = [(target, B), (other.target, k)]
            nan = torch.full((), float("nan"), device=self.x.device)
            target = torch.cat([nan.expand(n, width) if part is None else part for part, n in parts])
        if self.x.shape[1:] != other.x.shape[1:]:
            raise DataError(
                f"inputs of {list(self.x.shape[1:])} beside remembered ones of {list(other.x.shape[1:])}: pad all to one shape (in a Trainer, length=...)"
            )
        return Batch(torch.cat([self.x, other.x]), torch.cat([self.y, other.y]), mask, weight, target, self.share)


class Step(NamedTuple):
    """What the optimiser did: the weights before and after, and each tensor's learning rate."""

    before: Vector
    after: Vector  # the network's own tensors; `project` writes to them
    grads: Vector  # of the examples' loss, before any method's change
    rates: Sequence[float]


@dataclass
class Costs:
    """What a run has cost so far."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    forward: int = 0  # examples passed forward in training, through this network or another (a teacher, a generator), estimates included
    backward: int = 0

    @property
    def passes(self) -> int:
        """Of examples, forward and backward together: what a budget of compute counts."""
        return self.forward + self.backward


@final
@dataclass(frozen=True)
class Edge:
    """What is known where a task begins and ends."""

    net: nn.Module
    theta: Vector  # the trainable weights themselves
    examples: Examples  # what the task trains on
    mask: Tensor | None  # [C] the outputs that compete in training; None: all
    index: int  # how many tasks came before
    task: Task | None  # None inside somebody's own loop
    generator: torch.Generator  # of this task, for this method's draws
    reset: Callable[[], None]  # back to the network's and the optimiser's initial state
    costs: Costs = field(default_factory=Costs)
    seen: tuple[int, ...] = ()  # classes, the present task's included; empty where all tasks share theirs
    steps: int | None = None  # that the task takes, a round; None: nobody knows
    epoch: int | None = None  # steps of one pass over its examples
    ranks: Ranks = ALONE  # who learns this network together
    known: int = 0  # the first so many outputs stood for something before the first task
    trial: bool = False  # whether the end of a task is only tried, on a few examples, before the task is learnt
    count: int = 0  # then: how many examples the end will look at; 0: nobody knows
    say: Callable[[str], None] = warn  # reports what goes on differently than its user probably expects


def cross_entropy(output: Tensor, batch: Batch) -> Tensor:
    """Mean negative log-likelihood of the labels among the outputs that compete (a masked output has logit −∞)."""
    if batch.mask is not None:
        output = output.masked_fill(~batch.mask, float("-inf"))
    if batch.weights is None:
        return F.cross_entropy(output, batch.y)
    return weighed(F.cross_entropy(output, batch.y, reduction="none"), batch)


def weighed(losses: Tensor, batch: Batch) -> Tensor:
    """The loss of a batch of the losses ``[B]`` of its examples."""
    weights = batch.weights
    return losses.mean() if weights is None else (losses * weights.to(losses)).sum()


def not_negative(name: str, **constants: float) -> None:
    """Raises `MethodError` for a constant below 0, or for what is no number."""
    for constant, value in constants.items():
        if not isinstance(value, Real):
            raise MethodError(f"{name}: {constant} {value!r}: expected a number")
        if not value >= 0:
            raise MethodError(f"{name}: {constant} {value}: expected 0 or more; below 0 a penalty would push away")


def whole_number(name: str, least: int, **constants: object) -> None:
    """Raises `MethodError` for what is no whole number of at least `least`."""
    for constant, value in constants.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise MethodError(f"{name}: {constant} {value!r}: expected {least} or more, a whole number")


class GradOf(Protocol):
    """The gradient of the mean loss on other examples, at the present weights. Of several ranks all give the same examples, and each takes
    its part of them."""

    net: nn.Module
    costs: Costs
    ranks: Ranks

    def __call__(self, batch: Batch) -> Vector: ...


SLOTS = [
    "init",
    "grow",
    "begin",
    "data",
    "expand",
    "resize",
    "end",
    "examples",
    "criterion",
    "loss",
    "gradient",
    "project",
    "track",
    "observe",
    "aside",
    "predict",
]
_OWN_LOOP = {"data", "grow", "expand", "predict"}  # slots that need more than the optimiser of somebody's own loop


@dataclass(frozen=True)
class Method:
    """No method: plain fine-tuning. Others override some slots."""

    name: ClassVar[str] = "finetune"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task", "domain", "class")
    # The constants at which a method equals fine-tuning bit for bit; None: it has none, and `no_neutral` says why.
    neutral: ClassVar[Mapping[str, Any] | None] = {}
    no_neutral: ClassVar[str] = ""
    # True: trained once, on all tasks, when the last has come (needs a stream that ends).
    once: ClassVar[bool] = False
    # True: `data` is handed the examples of past tasks, which are then kept.
    rereads: ClassVar[bool] = False
    # True: asks the network as it was before a task, which must then answer by itself.
    asks: ClassVar[bool] = False
    # True: starts each task from the initial network, which only the library's own loop can do.
    restarts: ClassVar[bool] = False
    # True: on several ranks it gives what it gives on one with the same global batch (docs/many-processes.md); tested for all that say so.
    ranks: ClassVar[bool] = False
    # True: what it remembers joins behind the batch within the network, so that there are more outputs than inputs.
    joins: ClassVar[bool] = False
    # True: its loss asks a network about the inputs of the batch, and holds that against its outputs, row by row.
    compares: ClassVar[bool] = False
    # True: takes no step in most tasks, its `data` being empty; what is fed by steps would starve beside it.
    rests: ClassVar[bool] = False
    # True: says which weights may move at all; in a chain it acts after all others, wherever it stands.
    masks: ClassVar[bool] = False
    # True: `observe` only stores what passes, so that examples may be shown to it without a step (a model that was trained elsewhere).
    gathers: ClassVar[bool] = False
    # True: holds what a network knew before its first task, from the network alone.
    adopts: ClassVar[bool] = False
    # True: takes the outputs for logits of one class an example.
    softmax: ClassVar[bool] = False
    # True: holds weights by a penalty, and nothing else of the network.
    penalises: ClassVar[bool] = False
    # Fields of the state that are lists with an entry a task, of which `predict` reads one at a time: an export keeps each entry in
    # a file of its own, and loads it when it is asked for.
    apart: ClassVar[tuple[str, ...]] = ()

    @property
    def later(self) -> bool:
        """Whether it does nothing before a second task begins: where nobody says that a task ends it would be fine-tuning."""
        return False

    @property
    def oracle(self) -> bool:
        """Whether `predict` is told the task even where the scenario hides it (references only)."""
        return False

    def network(self, net: nn.Module) -> nn.Module:
        """The network that this method learns with, made of the one that was given."""
        return net

    # --- task edges: ordinary Python, shapes may change -------------------------------------------------------------
    def init(self, theta: Vector, spec: Spec) -> Any:
        """The state before the first task."""
        return None

    def grow(self, state: Any, net: nn.Module, task: Task) -> list[Growth]:
        """Enlargements that the coming task needs whatever it scores (a new column)."""
        return []

    def begin(self, state: Any, edge: Edge) -> Any:
        """Before the first step of a task (keep the old network as a teacher)."""
        return state

    def data(self, state: Any, examples: Examples, past: Sequence[Examples]) -> Examples:
        """What the task trains on; `past` holds what earlier tasks came with (where it `rereads`)."""
        return examples

    def expand(self, state: Any, edge: Edge, accuracy: float) -> list[Growth]:
        """Not good enough? How to go on bigger; empty: good enough. `accuracy` is that on the training examples."""
        return []

    def resize(self, state: Any, mapping: IndexMap, theta: Vector) -> Any:
        """The state follows a growth: `theta` are the new weights."""
        return state

    def end(self, state: Any, edge: Edge) -> Any:
        """After the last step of a task (importance, exemplars, anchor)."""
        return state

    # --- the step: tensors in, tensors out --------------------------------------------------------------------------
    def examples(self, state: Any, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        """What the step learns from (replay mixes remembered examples in)."""
        return batch

    def criterion(self, state: Any, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        """The loss of the examples; at most one method of a chain claims it."""
        return cross_entropy(output, batch)

    def loss(self, state: Any, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        """A further term that needs autograd (distillation)."""
        raise MethodError(f"{self.name} adds no loss")

    def gradient(self, state: Any, theta: Vector, grads: Vector, grad_of: GradOf) -> Vector:
        """The gradient that the optimiser gets. `grads` is the step's own and may be written to."""
        return grads

    def project(self, state: Any, step: Step) -> None:
        """Moves the weights `step.after` after the optimiser (masks, implicit penalties)."""

    def track(self, state: Any, step: Step) -> Any:
        """Keeps account of a step (path integrals)."""
        return state

    def observe(self, state: Any, batch: Batch, output: Tensor, generator: torch.Generator) -> Any:
        """What is remembered of a step: `batch` as it came from the task, `output` its logits."""
        return state

    def aside(self, state: Any, own: int, learnt: int) -> tuple[int, int]:
        """How many examples a step passes forward and backward through other networks than the one that learns (a teacher, a generator),
        of `own` examples of the task and `learnt` in all. Numbers only: nothing is waited for."""
        return 0, 0

    # --- reading out ------------------------------------------------------------------------------------------------
    def predict(self, state: Any, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        """Scores ``[B, C]``, the largest of which is the answer; at most one method of a chain claims it."""
        raise MethodError(f"{self.name} does not predict: the network does")

    def answering(self, state: Any) -> Any:
        """The state with only what `predict` reads of it (no past examples, where it needs none): an export holds this."""
        return state

    def placed(self, state: Any, like: Tensor) -> Any:
        """A state that was read from a file, where a network with the weight `like` is."""
        kind = torch.float64 if like.dtype == torch.float64 else double(like.device)
        return tree.mapped(
            state,
            lambda t: (
                t.to(kind if t.dtype == torch.float64 else t.dtype).to(like.device) if isinstance(t, Tensor) else t
            ),
        )

    def sample(self, state: Any, n: int, generator: torch.Generator) -> Tensor | None:
        """`n` inputs as the method draws them ``[n, ...]``, for people to look at; None: it draws none."""
        return None

    def parameters(self, state: Any, net: nn.Module) -> int:
        """Weights needed to predict for all tasks so far."""
        return sum(p.numel() for p in net.parameters())

    # --- about the method -------------------------------------------------------------------------------------------
    @property
    def acts(self) -> frozenset[str]:
        """The slots that this method overrides."""
        return frozenset(s for s in SLOTS if getattr(type(self), s) is not getattr(Method, s))

    @property
    def portable(self) -> bool:
        """Whether it can work inside somebody's own loop, through `protect`."""
        return not (self.acts & _OWN_LOOP or self.restarts or self.once)

    @property
    def state_type(self) -> Any:
        """What `init` gives: checkpoints are read back as that."""
        return typing.get_type_hints(type(self).init)["return"]

    @property
    def labels(self) -> bool:
        """Whether the end of a task needs labels."""
        return True

    def advice(self, scenario: Scenario) -> str:
        """What somebody should know who runs this in a scenario; empty: nothing."""
        if not self.neutral or any(getattr(self, name) != value for name, value in self.neutral.items()):
            return ""
        constants = ", ".join(f"{name} {value}" for name, value in self.neutral.items())
        return f"{self.name} with {constants} is fine-tuning bit for bit"

    def check(self, scenario: Scenario) -> None:
        """Raises `MethodError` where the method does not fit a scenario, or a constant is none of those that there are."""
        for constant, kind in typing.get_type_hints(type(self)).items():
            kinds = typing.get_args(kind)
            if typing.get_origin(kind) is typing.Literal and getattr(self, constant) not in kinds:
                raise MethodError(
                    f"{self.name}: {constant} {getattr(self, constant)!r}: expected one of {', '.join(map(repr, kinds))}"
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

    def parts(self) -> tuple[Method, ...]:
        """The methods that this one is a chain of."""
        return (self,)


def is_method(given: object) -> Method:
    """`given`, which raises `MethodError` where it is a name, or anything else."""
    if not isinstance(given, Method):
        raise MethodError(f"method {given!r}: expected a method such as EWC(strength=1.0), not its name")
    return given


def chain(*methods: Method) -> Method:
    """Several methods as one: examples, data, gradients and projections compose in order, losses add, states are kept
    side by side. A method that masks weights (PackNet, HAT, a warm-up of LwF) acts after the others, wherever it stands. ``chain(m)`` is `m`.

    The order of gradients matters: ``chain(GEM(), EWC())`` projects the gradient of the examples and adds EWC's penalty afterwards, so that
    the sum may violate GEM's constraints; ``chain(EWC(), GEM())`` projects the sum."""
    flat = tuple(part for method in methods for part in is_method(method).parts() if part.acts)
    if not flat:
        return methods[0] if methods else Method()
    if len(flat) == 1:
        return flat[0]
    for claim in ("criterion", "predict"):
        claimants = [m.name for m in flat if claim in m.acts]
        if len(claimants) > 1:
            raise MethodError(
                f"{claimants[0]} and {claimants[1]} both claim the slot {claim!r}, which only one method can hold: "
                "leave one of them out"
            )
    resting = next((m.name for m in flat if m.rests), None)
    fed = next((m.name for m in flat if m.acts & {"examples", "observe"}), None)
    if resting and fed:
        raise MethodError(
            f"{fed} remembers and replays in steps, and {resting} takes none in most tasks: leave one of them out"
        )
    joining = next((m.name for m in flat if m.joins), None)
    comparing = next((m.name for m in flat if m.compares), None)
    if joining and comparing:
        raise MethodError(
            f"{comparing} asks about each input of a step, and what {joining} remembers has none: leave one of them out"
        )
    asking = next((m.name for m in flat if m.asks), None)
    answering = next((m.name for m in flat if "predict" in m.acts and not m.asks), None)
    if asking and answering:
        raise MethodError(
            f"{asking} asks the network as it was before a task, and with {answering} that is not what answers: leave one of them out"
        )
    return Chain(flat)


@final
@dataclass(frozen=True)
class Chain(Method):
    """Made by `chain`."""

    members: tuple[Method, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        return "+".join(m.name for m in self.members)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:  # type: ignore[override]
        return tuple(s for s in Method.scenarios if all(s in m.scenarios for m in self.members))

    @property
    def once(self) -> bool:  # type: ignore[override]
        return any(m.once for m in self.members)

    def advice(self, scenario: Scenario) -> str:
        return "; ".join(filter(None, (Method.advice(m, scenario) for m in self.members)))

    @property
    def rereads(self) -> bool:  # type: ignore[override]
        return any(m.rereads for m in self.members)

    @property
    def restarts(self) -> bool:  # type: ignore[override]
        return any(m.restarts for m in self.members)

    @property
    def ranks(self) -> bool:  # type: ignore[override]
        return all(m.ranks for m in self.members)

    @property
    def rests(self) -> bool:  # type: ignore[override]
        return any(m.rests for m in self.members)

    @property
    def oracle(self) -> bool:
        return any(m.oracle for m in self.members)

    @property
    def acts(self) -> frozenset[str]:
        return frozenset().union(*(m.acts for m in self.members))

    @property
    def labels(self) -> bool:
        return any(m.labels for m in self.members)

    @property
    def state_type(self) -> Any:
        return tuple[tuple(m.state_type for m in self.members)]  # type: ignore[misc]

    def parts(self) -> tuple[Method, ...]:
        return self.members

    @property
    def later(self) -> bool:
        return any(m.later for m in self.members)

    @property
    def gathers(self) -> bool:  # type: ignore[override]
        return all(m.gathers for m in self.members if "observe" in m.acts)

    @property
    def adopts(self) -> bool:  # type: ignore[override]
        return any(m.adopts for m in self.members)

    @property
    def softmax(self) -> bool:  # type: ignore[override]
        return any(m.softmax for m in self.members)

    @property
    def penalises(self) -> bool:  # type: ignore[override]
        return any(m.penalises for m in self.members)

    def _pairs(self, state: Any) -> list[tuple[Method, Any]]:
        return list(zip(self.members, (None,) * len(self.members) if state is None else state))  # None: not begun

    def _each(self, slot: str, state: Any) -> list[tuple[Method, Any]]:
        """The members that override a slot, in order; those that mask weights last. They change the gradient of the examples first: what is
        added to masked weights after that is undone by their `project`."""
        first = slot == "gradient"
        return sorted(
            ((m, s) for m, s in self._pairs(state) if slot in m.acts),
            key=lambda pair: not pair[0].masks if first else pair[0].masks,
        )

    def network(self, net: nn.Module) -> nn.Module:
        for m in self.members:
            net = m.network(net)
        return net

    def init(self, theta: Vector, spec: Spec) -> Any:
        return tuple(m.init(theta, spec) for m in self.members)

    def grow(self, state: Any, net: nn.Module, task: Task) -> list[Growth]:
        return [op for m, s in self._each("grow", state) for op in m.grow(s, net, task)]

    def begin(self, state: Any, edge: Edge) -> Any:
        return tuple(m.begin(s, edge) if "begin" in m.acts else s for m, s in zip(self.members, state))

    def data(self, state: Any, examples: Examples, past: Sequence[Examples]) -> Examples:
        for m, s in self._each("data", state):
            examples = m.data(s, examples, past)
        return examples

    def expand(self, state: Any, edge: Edge, accuracy: float) -> list[Growth]:
        return [op for m, s in self._each("expand", state) for op in m.expand(s, edge, accuracy)]

    def resize(self, state: Any, mapping: IndexMap, theta: Vector) -> Any:
        return tuple(m.resize(s, mapping, theta) if "resize" in m.acts else s for m, s in zip(self.members, state))

    def end(self, state: Any, edge: Edge) -> Any:
        return tuple(m.end(s, edge) if "end" in m.acts else s for m, s in zip(self.members, state))

    def examples(self, state: Any, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        for m, s in self._each("examples", state):
            batch = m.examples(s, net, batch, generator)
        return batch

    def criterion(self, state: Any, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        [(m, s)] = self._each("criterion", state)
        return m.criterion(s, net, batch, output)

    def loss(self, state: Any, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        terms = [m.loss(s, net, batch, output) for m, s in self._each("loss", state)]
        return torch.stack(terms).sum()

    def gradient(self, state: Any, theta: Vector, grads: Vector, grad_of: GradOf) -> Vector:
        for m, s in self._each("gradient", state):
            grads = m.gradient(s, theta, grads, grad_of)
        return grads

    def project(self, state: Any, step: Step) -> None:
        for m, s in self._each("project", state):
            m.project(s, step)

    def track(self, state: Any, step: Step) -> Any:
        return tuple(m.track(s, step) if "track" in m.acts else s for m, s in zip(self.members, state))

    def observe(self, state: Any, batch: Batch, output: Tensor, generator: torch.Generator) -> Any:
        return tuple(
            m.observe(s, batch, output, generator) if "observe" in m.acts else s for m, s in zip(self.members, state)
        )

    def aside(self, state: Any, own: int, learnt: int) -> tuple[int, int]:
        counts = [m.aside(s, own, learnt) for m, s in self._each("aside", state)]
        return sum(f for f, _ in counts), sum(b for _, b in counts)

    def predict(self, state: Any, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        [(m, s)] = self._each("predict", state)
        return m.predict(s, net, x, task)

    def answering(self, state: Any) -> Any:
        """The state with only what `predict` reads of it (no past examples, where it needs none): an export holds this."""
        return state

    def placed(self, state: Any, like: Tensor) -> Any:
        return tuple(m.placed(s, like) for m, s in zip(self.members, state))

    def sample(self, state: Any, n: int, generator: torch.Generator) -> Tensor | None:
        drawn = (m.sample(s, n, generator) for m, s in self._pairs(state))
        return next((x for x in drawn if x is not None), None)

    def parameters(self, state: Any, net: nn.Module) -> int:
        return max(m.parameters(s, net) for m, s in self._pairs(state))

    def check(self, scenario: Scenario) -> None:
        for member in self.members:
            member.check(scenario)
