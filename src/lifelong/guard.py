"""A method inside your own training loop.

    guard = protect(model, optimizer, EWC(strength=1.0))
    for x, y in loader:                    # your loop, as it was
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    guard.consolidate(loader)              # a task is over

The guard hooks into the optimiser's step; gradients are changed before it, weights projected after it. It is the same
method object, with the same numbers, as in `fit`. A method that replays or adds a loss also needs ``guard.mix`` and
``guard.loss``; one that needs the loop itself (joint training, one network a task) is refused by name.

The loop may run in several processes (`DistributedDataParallel`), and take a step after several batches: see `lifelong.ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, final, get_args

import torch
from torch import Tensor, nn

from . import tree
from .around import Around
from .beforehand import ended, not_held, try_end
from .digest import constants, differing
from .errors import DataError, MethodError, TrainingError, warn
from .loaders import Finite, Nothing, Spread, examples_of, finite, outside
from .method import Batch, Costs, Edge, Method, Spec, cross_entropy, is_method, weighed
from .parts.fisher import evaluating
from .protected import Protected, by_a_learner, claim, copied, known, mark, moved, owner, same
from .random import generator, untouched
from .ranks import Ranks, bare, whole
from .sighted import First, plain_width, written
from .stream import Examples, Scenario, Tensors
from .vector import Vector

__all__ = ["Guard", "carried", "protect"]


def protect(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    *,
    scenario: Scenario = "domain",
    seed: int = 0,
    clip: float | None = None,
    ranks: Ranks | None = None,
    known: int = 0,
) -> Guard:
    """Attaches `method` to a model and its optimiser; gives the guard that ends tasks, saves and detaches.

    The guard acts on the weights that the optimiser steps. Weights that another optimiser steps need a guard of their own. A weight has one
    guard, the one that was made last: called again for the same weights with the same method (a new optimiser for each task), `protect`
    carries on with what is held of earlier tasks. After ``guard.remove()``, or where the weights have been replaced since, it begins anew,
    and warns where that drops earlier tasks.

    Args:
        model: inputs ``[B, ...]`` to logits ``[B, C]``; also what `DistributedDataParallel` or `torch.compile` made of it.
        optimizer: any torch optimiser over (some of) the model's parameters, also with several parameter groups.
        method: a portable method.
        scenario: which outputs compete in the method's own estimates; the loss of your loop is yours.
        seed: of the method's draws.
        clip: the largest norm of the gradient that the method leaves, to which a larger one is brought; default: no limit.
        ranks: the processes that learn this model together; default: all that ``init_process_group`` joined (of
            `DistributedDataParallel`, its group). `Ranks()` where each learns a model of its own.
        known: how many of the first outputs stood for something before the first task (a classifier that was trained elsewhere): they count
            as seen, and LwF holds them. Of old examples ``guard.begin(classes)`` and ``guard.consolidate(old)`` make a first task instead.

    Raises:
        MethodError: the method needs a loop of its own, or does not work on several ranks; the model's weights are sharded.
    """
    carried(method)
    ranks = Ranks.of(model) if ranks is None else ranks
    plain = bare(model)
    if method.acts:
        whole(plain, method.name)
    ranks.check(method)
    return Guard(
        plain, _innermost(optimizer), method, scenario, seed, clip, ranks, known, watch=not hasattr(model, "_orig_mod")
    )


def _other(there: Any, here: Any) -> str:
    differ = [f"{a} there, {b} here" for a, b in zip(there, here) if a != b] or [
        f"{len(there)} there, {len(here)} here"
    ]
    return (
        f"the model has other trainable weights than the one that this was kept for ({differ[0]}): give it the layers and as many outputs as it had, "
        "those of classes to come included (a Learner with grows=True gets more as they come)"
    )


def carried(method: Method, *, loop: str = "", mend: str = "use Learner or fit") -> None:
    """Raises `MethodError` for a method that somebody else's `loop` cannot carry, or for what is none."""
    if not is_method(method).portable:
        raise MethodError(
            f"{method.name} needs a training loop of its own{loop} (it chooses the data, restarts or grows the network, or answers "
            f"in its place): {mend}"
        )


def _innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The one that steps, within those that wrap it (accelerate's)."""
    while not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        if not hasattr(optimizer, "optimizer"):
            got = "several" if isinstance(optimizer, list | tuple) else f"a {type(optimizer).__name__}"
            raise MethodError(
                f"expected protect(model, optimizer, method) with one torch optimizer, got {got}: guard each with a protect of its own"
            )
        optimizer = optimizer.optimizer
    return optimizer


@final
class Guard:
    """Made by `protect`."""

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
        watch: bool = True,
    ) -> None:
        if scenario not in get_args(Scenario):
            raise MethodError(f"scenario {scenario!r}: expected one of {', '.join(map(repr, get_args(Scenario)))}")
        method.check(scenario)
        self.model, self.optimizer, self.method = model, optimizer, method
        self._slots = method.acts
        self.scenario, self.seed, self.clip, self.ranks = scenario, seed, clip, ranks
        self.theta = _stepped(model, optimizer)
        if not Vector.of(model).names:
            raise MethodError("the model has no trainable parameters: nothing can be learnt or kept")
        if not self.theta.names:
            raise MethodError("the optimizer holds none of the model's parameters: pass the one that trains it")
        self.costs = Costs()
        self._held = Protected(method, scenario, seed, generator(seed, "method/0", self._device))
        self._held.seen = tuple(range(outputs_known)) if scenario != "domain" else ()
        self._known = outputs_known
        self._said: set[str] = set()
        self._mask: Tensor | None = None
        self._compiled = False
        self._fresh = False  # whether this step's batch was mixed
        self._new: Batch | None = None  # what came last, from all ranks
        self._part, self._split = 0, False  # how many new examples the network gets; whether other ranks have others
        # what came since the last step, and what the network answered, by the tensor of inputs that it came in (which is kept, so that its id is its own)
        self._met: dict[tuple[int, int], tuple[Tensor, Batch, Tensor]] = {}
        self._came: Tensor | None = None
        self._lost = False  # whether this step's loss was ours
        self._tried = "end" not in self._slots  # whether the end of a task was tried before the first one is learnt
        self._versions = 0  # writes to the weights before the task
        self._buffers: dict[str, tuple[int, int]] = {}  # as they were when the task began
        self._moved: list[str] = []  # the buffers that the last task wrote to
        self._beside: tuple[float, float] | None = (
            None  # weights that train, and that no guard holds, as the task began
        )
        self._dropped = ""  # what an earlier guard of these weights held, and this one does not
        self._hooks: list[Any] = []
        self._first: First | None = None  # looks at the first batch
        if self._slots:
            self._take_over()
        self.attach(optimizer)
        if self._slots and self._held not in known(self.theta):
            claim(self.theta, self._held)
        if self._slots and watch and not self.learnt:
            self._first = First(model, self._wide)

    def _take_over(self) -> None:
        """Carries on with what is held of the weights, or notes what is not."""
        before = known(self.theta)
        for held in before:
            began = held.learnt > 0 or held.steps > 0
            alike = (held.method, held.scenario, held.seed) == (self.method, self.scenario, self.seed)
            whole = held.weights == tuple(id(t) for t in self.theta.tensors)
            now = mark(self.theta.tensors)
            reset = held.begun is not None and same(held.begun, now)  # to where they were before its first task
            there = held.marked is None or held.open or same(held.marked, now) or not (reset or moved(held.marked, now))
            if began and alike and whole and there and not held.removed:
                self._held = held
                self._again()
                if held.open and held.steps and "end" in self._slots:
                    self._say(
                        f"this guard goes on within a task that began with an earlier one, {held.steps} step(s) ago, as it was not consolidated: "
                        "guard.consolidate(loader) ends a task"
                    )
            elif began and (not held.removed or (alike and there)):
                tasks = f"{held.learnt} task(s)" if held.learnt else "the task that had begun"
                self._dropped = (
                    f"these weights were protected before, with {held.method}, and {tasks} that were held then are not held now: "
                    "guard.attach(optimizer) of the guard before carries on, and so does protect with the same method and settings where the "
                    "weights are the same (none frozen or replaced since); guard.load_state_dict(...) goes back to what was saved"
                )
        other = copied(self.theta) if not before else None
        learnt = by_a_learner(self.theta) if not before else None
        if learnt is not None:
            self._dropped = (
                f"a learner of this model holds {learnt.tasks} task(s) with {learnt.method.name}, and this guard holds none of them: let the learner "
                "learn the next task too"
            )
        if other is not None:
            self._dropped = (
                f"this is a copy of a model that was protected with {other.method}, and the {other.learnt} task(s) that are held of that one are not "
                "held of the copy: guard.load_state_dict(guard_before.state_dict()) carries on"
            )

    def _again(self) -> None:
        """What is derived from what is held."""
        held = self._held
        if held.classes is not None and held.spec is not None:
            self._mask = self._as_mask(held.classes if self.scenario == "task" else held.seen)
        self._tried = True

    def _say(self, text: str) -> None:
        """Warns, once a guard."""
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def __reduce__(self) -> Any:
        """A copy would hook into no optimizer, and hold nothing."""
        raise MethodError(
            "a guard belongs to its model and its optimizer, and is neither copied nor pickled: protect(copy, its optimizer, method), then "
            "guard.load_state_dict(earlier.state_dict())"
        )

    # what is learnt belongs to the weights
    @property
    def state(self) -> Any:
        """The method's state; None before the first task begins."""
        return self._held.state

    @state.setter
    def state(self, value: Any) -> None:
        self._held.state = value

    @property
    def spec(self) -> Spec | None:
        """What the method was told of the network; None before the first task begins."""
        return self._held.spec

    @property
    def learnt(self) -> int:
        """How many tasks have ended."""
        return self._held.learnt

    @property
    def seen(self) -> tuple[int, ...]:
        """The classes met so far."""
        return self._held.seen

    @property
    def _device(self) -> torch.device:
        return self.theta.tensors[0].device

    # --- your loop --------------------------------------------------------------------------------------------------
    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Goes on with another optimiser of the same weights, where each task has one of its own.

        Raises:
            MethodError: it holds none of the model's weights, or another guard acts at its steps.
        """
        optimizer = _innermost(optimizer)
        now = _stepped(self.model, optimizer)
        if not now.names:
            raise MethodError("the optimizer holds none of the model's parameters: pass the one that trains it")
        own = {id(p) for p in self.theta.tensors}
        more = [name for name, t in now if id(t) not in own] if self._slots else []
        if more:
            raise MethodError(
                f"the optimizer steps weights that this guard does not hold ({', '.join(more[:3])}{', ...' if len(more) > 3 else ''}): "
                "protect(model, optimizer, method) with an optimizer of all weights that are to be held"
            )
        if isinstance(optimizer, torch.optim.SparseAdam) and "gradient" in self._slots:
            raise MethodError(
                f"SparseAdam takes sparse gradients alone, and {self.method.name} adds a dense one: a penalty with implicit=True acts after the "
                "optimizer's step, or use another optimizer"
            )
        for hook in list(optimizer._optimizer_step_pre_hooks.values()):
            other = getattr(hook, "__self__", None)
            if not isinstance(other, Guard) or other is self or not (self._slots and other.method.acts):
                continue
            if not any(id(p) in own for p in other.theta.tensors):
                continue
            if other._held is self._held:  # of this one's own, before
                other.detach()
                continue
            raise MethodError(
                f"the optimizer is guarded by {other.method.name} already, and both would act on the same weights: guard.remove() of the "
                "one before (or a new optimizer), or protect(..., chain(a, b)) for two methods together"
            )
        self.detach()
        self.optimizer = optimizer
        self._held.removed = False
        self._around = Around(self.method, self.model, self.theta, optimizer, self.costs, self.ranks)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def begin(self, classes: Sequence[int] | None = None) -> None:
        """Begins a task; called by itself at the first step. `classes` are the outputs that the task's labels use, where
        the scenario is not "domain".

        Raises:
            MethodError: no classes where they are needed, or none of the network's; a task that was learnt and not consolidated, of which the
                method would know nothing; the model has other trainable weights than it had.
        """
        held = self._held
        if held.open and held.steps and "end" in self._slots:
            raise MethodError(
                f"{self.method.name} looks at a task's examples when it ends, and the task before was not consolidated: guard.consolidate(loader) "
                "before the next begins"
            )
        self._same_weights()
        if self._slots and held.spec is not None and not held.open:
            held.state = self.method.placed(held.state, self.theta.tensors[0])  # the model may have moved
            if held.marked is not None and moved(held.marked, mark(self.theta.tensors)):
                self._say(
                    f"the weights were replaced or trained since the last task ended (best weights restored, averaged, trained without the guard), and "
                    f"{self.method.name} holds them to what they were then: consolidate after that"
                )
        if self._dropped:
            self._say(self._dropped)
            self._dropped = ""
        if self.scenario != "domain":
            if classes is None:
                raise MethodError(f"in the scenario {self.scenario!r} a task begins with guard.begin(classes=[...])")
            held.classes = tuple(self._indices(classes))
        if not held.open:
            held.before = held.seen
        if held.classes is not None:
            held.seen = tuple(sorted({*held.before, *held.classes}))
        if self._known and not held.learnt and not self.method.adopts and self._slots:
            self._say(
                f"{self.method.name} holds nothing of the {self._known} outputs that the model knew before, as it has seen no examples of them: "
                "guard.begin(classes) and guard.consolidate(old examples) make a first task of some, or LwF() holds the outputs without examples"
            )
        if held.spec is None:
            [seeds] = self.ranks.gather(torch.tensor([self.seed]))
            if len(seeds.unique()) > 1:
                raise MethodError(
                    f"ranks with the seeds {seeds.tolist()} would draw differently: give all of them one (protect(seed=...))"
                )
        self._begin()
        held.open, held.steps = True, 0
        self._versions, self._buffers = self._written(), written(self.model)
        self._beside = self._unheld()

    def _written(self) -> int:
        """How often the weights were written to."""
        return sum(t._version for t in self.theta.tensors)

    def _begin(self) -> None:
        """The method's part of it; again where the model turns out to have other outputs than were thought."""
        held = self._held
        held.draws = generator(self.seed, f"method/{held.learnt}", self._device)
        if held.spec is None:
            width = plain_width(self.model) if held.width is None else held.width
            if width is not None and self._known > width:
                raise MethodError(f"known={self._known}: the model gives {width} outputs; expected at most as many")
            held.width = width
            held.spec = Spec((), width or max((*held.seen, 0)) + 1, self.scenario, self.seed)
            held.state = self.method.init(self.theta, held.spec)
        if held.classes is not None:
            self._mask = self._as_mask(held.classes if self.scenario == "task" else held.seen)
        if "begin" in self._slots:
            with self._plain():
                held.state = self.method.begin(held.state, self._edge(Nothing(), self._mask))

    def _wide(self, width: int) -> None:
        """The model has been seen to give so many outputs."""
        held = self._held
        if held.width == width:
            return
        if held.width is not None:
            raise MethodError(
                f"the model gives {width} outputs, and what is held of it is of {held.width}: give it as many (a Learner with grows=True gets "
                "more as classes come)"
            )
        if self._known > width:
            raise MethodError(f"known={self._known}: the model gives {width} outputs; expected at most as many")
        held.width = width
        if held.classes is not None:
            self._indices(held.classes)
        if held.spec is not None and not held.learnt and not held.steps:  # nothing is learnt yet
            held.spec = None
            self._begin()
        elif held.spec is not None:
            held.spec = replace(held.spec, outputs=width)
            if held.classes is not None:
                self._mask = self._as_mask(held.classes if self.scenario == "task" else held.seen)

    def _ask(self, x: Tensor) -> None:
        """Asks the model for the number of its outputs, once."""
        if self._held.width is None and len(x):
            p = self.theta.tensors[0]
            one = x[:1].to(p.device, p.dtype if x.is_floating_point() else None)
            try:
                with untouched(), self._plain(), evaluating(self.model):
                    output = self.model(one)
            except (
                Exception
            ):  # it takes more than inputs (labels, decoder inputs): methods that ask nothing of it need no width
                return
            if isinstance(output, Tensor) and output.dim() == 2:
                self._wide(output.shape[1])

    def mix(self, x: Tensor, y: Tensor) -> Batch:
        """What a step should learn from: the batch itself, and what the method replays. Several ranks bring examples of their own each; what
        is replayed beside all of them is shared out. Without gradients it is the batch itself.

        Raises:
            DataError: labels that are no output indices ``[B]``, or outputs that do not compete.
        """
        if not self._hooks:
            raise MethodError(
                "the guard was removed from its optimizer: protect the model again, or guard.attach(optimizer)"
            )
        if not torch.is_grad_enabled():
            return Batch(x, y, self._mask)
        if not self._held.open:
            self.begin()
        self._labelled(x, y)
        y = y.long()
        if not self._tried:
            self._try(Tensors(x[:2], y[:2], raw=True))
        self._came = x
        own = self._new = Batch(x, y, self._mask)
        self._fresh, self._lost = True, False
        self._part, self._split = len(y), self.ranks.world > 1
        if self._split and self._slots & {"examples", "observe"}:
            every_x, every_y = self.ranks.gather(x, y)
            self._new = Batch(every_x, every_y, self._mask)
        if "examples" not in self._slots:
            return own
        mixed = self.method.examples(self.state, self.model, self._new, self._held.draws)
        part = mixed.cut(len(self._new.y), self.ranks)
        if part is mixed:
            self._part, self._split = len(self._new.y), False
        else:
            self._part = len(self._new.y) // self.ranks.world
        return part

    @property
    def share(self) -> float:
        """For how many of the step's new examples the loss of this rank stands: its own, or where all are mixed with what is replayed, its share."""
        assert self._new is not None
        return len(self._new.y) / self.ranks.world if "examples" in self._slots else self._part

    def loss(self, output: Tensor, batch: Batch, losses: Tensor | None = None) -> Tensor:
        """The loss of a mixed batch, with what the method adds to it; at least in single precision.

        Args:
            output: what the model answers to the batch, ``[B, C]``.
            batch: what `mix` gave.
            losses: your own loss of each of its examples, ``[B]``; default their cross-entropy. With class weights w, for instance,
                ``F.cross_entropy(output, batch.y, weight=w, reduction="none")``, whose mean is over examples (torch's own mean is over their
                weights: ``losses * len(batch.y) / w[batch.y].sum()``). Which outputs compete is then your loss's to say.

        Raises:
            MethodError: `losses` beside a method whose own gradients of remembered examples are of cross-entropy, or that claims the loss.
        """
        if losses is not None:
            self._takes(losses, batch)
        if output.dtype in (torch.bfloat16, torch.float16):
            output = output.float()
        self._lost = True
        if output.shape[:1] != batch.y.shape[:1]:
            raise DataError(
                f"{len(output)} outputs for the {len(batch.y)} examples of the mixed batch: the model answers that, guard.loss(model(batch.x), batch)"
            )
        claims, adds = "criterion" in self._slots, "loss" in self._slots
        try:
            if losses is not None:
                loss = weighed(losses.float() if losses.dtype in (torch.bfloat16, torch.float16) else losses, batch)
            elif claims:
                loss = self.method.criterion(self.state, self.model, batch, output)
            else:
                loss = cross_entropy(output, batch)
        except IndexError as error:
            raise DataError(f"{error}: labels are output indices, from 0 to {output.shape[1] - 1}") from error
        if adds:
            loss = loss + self.method.loss(self.state, self.model, batch, output)
        if "observe" in self._slots and torch.is_grad_enabled() and self._new is not None:
            answered = output.detach()[: self._part]
            if self._split:
                [answered] = self.ranks.gather(answered)
            assert self._came is not None
            # a closure that is called several times a step brings the same examples again
            version = 0 if self._came.is_inference() else self._came._version
            self._met[id(self._came), version] = self._came, self._new, answered
        return loss

    def _takes(self, losses: Tensor, batch: Batch) -> None:
        """Whether one's own losses can stand in the place of cross-entropy."""
        if losses.shape != batch.y.shape:
            raise DataError(
                f"losses {list(losses.shape)} for the {len(batch.y)} examples of the mixed batch: expected one an example, [B] "
                '(reduction="none")'
            )
        takes = [m.name for m in self.method.parts() if "criterion" in m.acts or {"gradient", "observe"} <= m.acts]
        if takes:
            raise MethodError(
                f"{takes[0]} takes the cross-entropy of remembered examples itself, and would hold another loss to it: leave losses= out, "
                "or use replay, der, lwf or a penalty"
            )

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any]] | None:
        """Before a step. Where the step is given a closure the gradients come to be within it, so that is wrapped."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._ready()
            return None

        def wrapped() -> Any:
            with torch.enable_grad():
                loss = closure()
            self._ready()
            return loss

        return args[:1], {**kwargs, "closure": wrapped}

    def _ready(self) -> None:
        """The gradients are there, the step is next."""
        held = self._held
        if self._slots and any(owner(t) is not held for t in self.theta.tensors):
            raise MethodError(
                f"another guard has taken over weights that this guard of {self.method.name} holds, and both would act on them: step the optimizer "
                "of the newer guard alone, or give each guard an optimizer over weights of its own"
            )
        if not held.open:
            self.begin()
        needs = self._slots & {"examples", "criterion", "loss", "observe"}
        if needs and not self._fresh:
            raise MethodError(
                f"{self.method.name} takes part in the batch and the loss of each step: batch = guard.mix(x, y), then "
                "guard.loss(model(batch.x), batch)"
            )
        if self._slots & {"criterion", "loss"} and not self._lost:
            raise MethodError(f"{self.method.name} has a part in the loss: loss = guard.loss(model(batch.x), batch)")
        if "observe" in self._slots and not self._met:
            raise MethodError(f"{self.method.name} remembers what comes: loss = guard.loss(model(batch.x), batch)")
        if getattr(self.optimizer, "found_inf", None) is not None:
            raise MethodError(
                "a fused optimizer divides by the GradScaler's scale, or skips the step, after the method has seen the gradients: make it with "
                "fused=False"
            )
        if not held.steps:
            self._first_step()
        with self._eager():
            self._around.before(self.state)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.theta.tensors, self.clip)

    def _first_step(self) -> None:
        """Before the first step of a task: what its end would stumble over, and what the method does not hold."""
        first, self._first = self._first, None
        if first is not None:
            first.remove()
            if not self._tried and first.x is not None and first.y is not None:
                self._try(Tensors(first.x, first.y, raw=True))
            if self.method.softmax and first.shifts:
                self._say(
                    f"the loss changes when one number is added to all outputs of an example, so that it is no cross-entropy of them, and the Fisher "
                    f"information of {self.method.name} is that of one class an example: its importance is another loss's. mas, si and l2 make no "
                    "assumption about the loss"
                )
        for text in not_held(self.method, self.model, self._moved) if self.learnt else ():
            self._say(text)

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        with torch.no_grad():
            self.state = self._around.after(self.state)
            if "observe" in self._slots:
                met = list(self._met.values())
                _, batch, output = met[0]
                if len(met) > 1:  # a step after several batches is one after a larger batch
                    x, y = (torch.cat([getattr(b, of) for _, b, _ in met]) for of in ("x", "y"))
                    batch, output = batch._replace(x=x, y=y), torch.cat([o for _, _, o in met])
                self.state = self.method.observe(self.state, batch, output, self._held.draws)
        self._fresh = self._lost = False
        self._met, self._came = {}, None
        self._held.steps += 1

    def consolidate(self, data: Examples | Tensor | tuple[Tensor, Tensor] | Iterable[Any]) -> None:
        """Ends a task: the method looks at its data once more (importance, exemplars, anchor).

        Args:
            data: the task's examples (of several ranks each brings its own part, and all call this): a pair of tensors, an iterable of
                batches ``(x, y)`` (a `DataLoader`), or `Examples`.
                For a method that needs no labels (MAS, and EWC unless its Fisher is empirical) inputs alone will do, ``x [N,
                ...]``, also of another distribution than what was trained on.

        Raises:
            MethodError: no step was taken since the last task ended; inputs alone for a method that needs labels.
        """
        held = self._held
        examples: Examples = self._brought(data)
        if not held.open:
            raise MethodError(
                "consolidate ends a task, but none has begun: no step was taken of the optimizer that the guard is attached to (a step begins a "
                "task, or guard.begin()); where each task has an optimizer of its own, guard.attach(optimizer)"
            )
        self._same_weights()
        if (
            not held.steps
            and self._slots & {"gradient", "project", "track", "observe"}
            and self._versions != self._written()
        ):
            raise MethodError(
                "the weights have changed since the task began, and not by the optimizer that the guard is attached to, so that the method did not "
                "act: guard.attach(optimizer) with the one that steps, before the task"
            )
        if self._slots and not all(bool(t.isfinite().all()) for t in self.theta.tensors):
            raise TrainingError(
                "the model's weights are NaN or infinite: go back to earlier ones, and lower the learning rate"
            )
        if self.ranks.world > 1:
            examples = Spread(examples, self.ranks)
        if len(examples) == 0:
            raise DataError("consolidate needs the task's examples; got none")
        if self._slots:
            self._ask(next(examples.all(1)).x)
        if "observe" in self._slots and not held.steps:
            self._show(examples)
        if "end" in self._slots:
            with self._plain():
                self.state = ended(self.method, self.state, self._edge(examples, self._mask))
        self._left_out()
        self._moved = [name for name, now in written(self.model).items() if self._buffers.get(name, now) != now]
        held.learnt += 1
        held.open, held.steps, held.classes = False, 0, None
        held.marked = mark(self.theta.tensors) if self._slots else None

    def _show(self, examples: Examples) -> None:
        """The method remembers examples on which no step was taken: those of a model that was trained elsewhere."""
        if not self.method.gathers:
            raise MethodError(
                f"{self.method.name} learns from each step of a task, and none was taken in this one: train on the task, or use a method that "
                "stores examples (replay)"
            )
        p = self.theta.tensors[0]
        with self._plain(), evaluating(self.model):
            for chunk in examples.all():
                x = chunk.x.to(p.device)
                batch = Batch(x, chunk.y.to(p.device), self._mask)
                output = self.model(x.to(p.dtype) if x.is_floating_point() else x)
                self.state = self.method.observe(self.state, batch, output, self._held.draws)
                self.costs.forward += len(batch.y)

    def _left_out(self) -> None:
        """Reports weights that trained in this task and that no guard holds."""
        now = self._unheld()
        if self._beside is not None and now is not None and self._beside != now:
            names = [name for name, t in self._others() if owner(t) is None]
            self._say(
                f"{self.method.name} acts on the weights that its optimizer steps, and others of the model have changed as well "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}), which it does not hold: protect the model with the optimizer of "
                "those as well, or freeze them (requires_grad_(False))"
            )

    def _others(self) -> Vector:
        """Weights that may train, and that this guard's optimiser does not step."""
        own = {id(t) for t in self.theta.tensors}
        found = [(name, t) for name, t in Vector.of(self.model) if id(t) not in own]
        return Vector(tuple(name for name, _ in found), [t for _, t in found])

    def _unheld(self) -> tuple[float, float] | None:
        """A mark of those that no other guard holds either; None where there are none, or it does not matter."""
        if not self._slots & {"gradient", "project"}:
            return None
        loose = [t for _, t in self._others() if owner(t) is None]
        return mark(loose) if loose else None

    def rehearse(self, data: Examples | Tensor | tuple[Tensor, Tensor] | Iterable[Any]) -> None:
        """Tries on the first two examples what `consolidate` will do with all of them, and keeps nothing: what cannot be is said before a task
        is trained on, not after. The first batch that comes is tried so by itself, where the guard sees it.

        Args:
            data: as in `consolidate`.

        Raises:
            MethodError: no task has begun; or what `consolidate` would say.
        """
        if not self._held.open:
            raise MethodError("rehearse tries the end of a task, and none has begun: guard.begin()")
        if "end" not in self._slots:
            return
        examples = self._brought(data)
        with untouched():
            chunk = next(examples.all(2))
        self._ask(chunk.x)
        self._try(Tensors(chunk.x, chunk.y, raw=True), examples.count)

    def _try(self, few: Examples, count: int = 0) -> None:
        """The end of the task on few examples; nothing of it is kept."""
        self._tried = True
        if "end" not in self._slots:
            return
        self._ask(next(few.all(1)).x)
        if self.ranks.world > 1:
            few = Spread(few, self.ranks)
        edge = replace(self._edge(few, self._mask), count=count)
        with self._plain():
            try_end(self.method, self.state, edge, self._say)

    def _brought(self, data: Any) -> Finite:
        if isinstance(data, Tensor):
            if self.method.labels:
                raise MethodError(f"{self.method.name} needs labels at the end of a task: consolidate((x, y))")
            return Finite(Tensors(data, torch.zeros(len(data), dtype=torch.int64), raw=True))
        found = data if isinstance(data, Examples) else examples_of(data)
        return Finite(found, self._mask if self.method.labels or "observe" in self._slots else None)

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The method's state: ``tensors`` by name and ``meta`` that is plain JSON. Model and optimiser save themselves."""
        held = self._held
        tensors, skeleton = tree.split({"state": held.state, "draws": held.draws}, "guard")
        meta = {
            "method": self.method.name,
            "constants": constants(self.method),
            "weights": [list(t.shape) for t in self.theta.tensors],
            "mark": mark(self.theta.tensors)
            if self._slots
            else (0.0, 0.0),  # without a method the weights may be sharded
            "state": skeleton,
            "outputs": None if held.spec is None else held.spec.outputs,
            "width": held.width,
            "learnt": held.learnt,
            "seen": list(held.seen),
            "before": list(held.before),
            "open": held.open,
            "steps": held.steps,
            "scenario": self.scenario,
            "known": self._known,
            "classes": None if held.classes is None else list(held.classes),
        }
        if self._mask is not None:
            tensors["mask"] = self._mask
        return {"tensors": {k: v.detach().clone() for k, v in tensors.items()}, "meta": meta}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes back to what `state_dict` gave. Load the model's weights first.

        Raises:
            MethodError: it is of another method, of other constants, or of another model.
        """
        if not saved.keys() >= {"meta", "tensors"}:
            raise MethodError(
                f"expected what guard.state_dict() gave, got {', '.join(map(repr, saved))[:100]}: the model loads its own"
            )
        meta = saved["meta"]
        if meta["method"] != self.method.name:
            raise MethodError(f"this was saved by the method {meta['method']!r}, not {self.method.name!r}")
        if meta.get("scenario", self.scenario) != self.scenario:
            raise MethodError(
                f"this was saved in the scenario {meta['scenario']!r}, and this guard is in {self.scenario!r}: protect(..., scenario=...) as before"
            )
        if others := differing(meta.get("constants"), constants(self.method)):
            raise MethodError(
                f"this was saved by a guard with {'; '.join(others)}: protect with the constants of before"
            )
        here = [list(t.shape) for t in self.theta.tensors]
        if meta.get("weights", here) != here:
            raise MethodError(_other(meta["weights"], here))
        present = mark(self.theta.tensors) if self._slots else (0.0, 0.0)
        saved_mark: tuple[float, float] = tuple(meta.get("mark", present))
        if moved(saved_mark, present):
            self._say(
                "the model's weights are not those that this was saved beside: load the model's first, or it will be held to another's"
            )
        tensors = {k: v.clone() for k, v in saved["tensors"].items()}  # learning writes into them
        nodes = dict(meta["state"]["items"])
        # of its own from now on: another guard of these weights that went on with what is held would not have been loaded
        held = self._held = Protected(
            self.method, self.scenario, self.seed, generator(self.seed, "method/0", self._device)
        )
        if meta["outputs"] is not None:
            now, then = plain_width(self.model), meta.get("width")
            if None not in (now, then) and now != then:
                raise MethodError(
                    f"this was saved with a network of {then} outputs, and this one has {now}: give it as many (a Learner with "
                    "grows=True gets more as classes come)"
                )
            held.spec = Spec((), meta["outputs"], self.scenario, self.seed)
            held.state = tree.join(self.method.state_type, nodes["state"], tensors, "state")
            held.state = self.method.placed(held.state, self.theta.tensors[0])
        held.draws.set_state(tensors[nodes["draws"]["tensor"]])
        held.learnt, held.seen, held.open = meta["learnt"], tuple(meta["seen"]), meta["open"]
        held.steps, self._known = meta.get("steps", 0), meta.get("known", self._known)
        self._versions = self._written()
        held.before = tuple(meta.get("before", ()))
        held.classes = None if meta.get("classes") is None else tuple(meta["classes"])
        held.width = meta.get("width")
        self._mask = tensors["mask"].to(self._device) if "mask" in tensors else None
        self._tried, self._dropped = True, ""
        if self._slots:
            claim(self.theta, held)

    def remove(self) -> None:
        """Detaches from the optimiser: the loop is again as it was. What was held of earlier tasks is dropped, unless the guard is attached
        again."""
        self.detach()
        if self._first is not None:
            self._first.remove()
        self._held.removed = True

    def detach(self) -> None:
        """Takes the hooks off the optimiser. What is held stays with the weights: `attach`, or `protect` with the same method, carries on."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    # --- derived ----------------------------------------------------------------------------------------------------
    def _edge(self, examples: Examples, mask: Tensor | None) -> Edge:
        draws = generator(self.seed, f"edge/{self.learnt}", self._device)
        return Edge(
            self.model,
            self.theta,
            examples,
            mask,
            self.learnt + bool(self._known),
            None,
            draws,
            self._no_reset,
            self.costs,
            self.seen,
            ranks=self.ranks,
            known=self._known,
            say=self._say,
        )

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """At a task's edges: in full precision, and layer by layer."""
        self._compiled = any(m._compiled_call_impl is not None for m in self.model.modules())
        first = self._first
        if first is not None:  # looks at the user's calls alone
            first.idle = True
        try:
            with torch.no_grad(), torch.autocast(self._device.type, enabled=False), self._eager():
                yield
        finally:
            if first is not None:
                first.idle = False

    def _eager(self) -> AbstractContextManager[Any]:
        """A model that was compiled in place runs layer by layer within: methods look at layers, which a compiled call passes over."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def _no_reset(self) -> None:
        raise MethodError(f"{self.method.name} cannot restart a network that it does not own")

    def _same_weights(self) -> None:
        now = _stepped(self.model, self.optimizer)
        own = {id(t) for t in self.theta.tensors}
        there = {id(t) for _, t in Vector.of(self.model)}
        if any(id(t) not in own for _, t in now) or any(id(t) not in there for _, t in self.theta):
            raise MethodError(
                "the model has other trainable weights than when it was protected (some were frozen, unfrozen or replaced, or a layer grew), and the "
                "method knows nothing of them: make the changes first, then protect; or use Learner, whose networks may grow"
            )

    def _indices(self, classes: Any) -> list[int]:
        """Of outputs."""
        outputs = self._held.width or plain_width(self.model)
        try:
            found = sorted({int(c) for c in classes})
        except (TypeError, ValueError):
            found = []
        if not found or found[0] < 0 or (outputs is not None and found[-1] >= outputs):
            raise MethodError(
                f"classes {classes!r}: expected output indices, as labels are, from 0 to {'the last' if outputs is None else outputs - 1}"
            )
        return found

    def _labelled(self, x: Tensor, y: Tensor) -> None:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            raise DataError(f"expected tensors, got {type(x).__name__} and {type(y).__name__}: torch.as_tensor(...)")
        if y.dim() != 1 or len(y) != len(x) or y.is_floating_point():
            raise DataError(
                f"labels of {y.dtype} {list(y.shape)} for {len(x)} inputs: expected output indices [B] (one class an example: methods that have part "
                "in the loss use cross-entropy)"
            )
        if x.device.type == "cpu":  # elsewhere looking would be waiting
            finite(x, "this batch")
        self._ask(x)
        if (
            self._mask is not None and y.device.type == self._mask.device.type == "cpu"
        ):  # elsewhere looking would be waiting
            wrong = outside(y, self._mask)
            if wrong:
                raise DataError(
                    f"labels {wrong} are not among the task's classes: name all of them, guard.begin(classes=[...])"
                )

    def _as_mask(self, classes: Sequence[int]) -> Tensor | None:
        assert self.spec is not None
        outputs = self.spec.outputs
        if len(classes) == outputs:
            return None
        mask = torch.zeros(outputs, dtype=torch.bool, device=self._device)
        mask[list(classes)] = True
        return mask


def _stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> Vector:
    """The weights of a model that train and that an optimiser steps."""
    ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found = [(name, t) for name, t in Vector.of(model) if id(t) in ids]
    return Vector(tuple(name for name, _ in found), [t for _, t in found])
