"""A method inside your own training loop.

    guard = protect(model, optimizer, EWC(strength=1.0))
    for x, y in loader:                    # your loop, as it was
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    guard.consolidate(loader)              # a task is over

The guard hooks into the optimiser's step; gradients are changed before it, weights projected after it. It is the same
method object, with the same numbers, as in `fit`. A method that replays or adds a loss also needs ``guard.mix`` and
``guard.loss``; one that needs the loop itself (joint training, one network a task) is refused by name.

The loop may run in several processes (`DistributedDataParallel`), and take a step after several batches: see `lifelong.core.ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.errors import DataError, MethodError
from ..core.examples import Examples, Tensors
from ..core.method import Method
from ..core.modes import evaluating
from ..core.ranks import Ranks, bare, whole
from ..core.segments import Batch, Segment, together
from ..core.stream import Scenario
from ..training.first_batch import First
from ..training.protected import claim, known, owner
from ..training.task_end import not_held
from . import guard_state, guard_task
from .guard_checks import carried, check_optimizer, innermost, labelled, own_losses, shares_weights
from .guarding import Guarding
from .handover import taken_over

__all__ = ["Guard", "protect"]


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
    method.check_net(plain)
    method.check_ranks(ranks)
    return Guard(
        plain, innermost(optimizer), method, scenario, seed, clip, ranks, known, watch=not hasattr(model, "_orig_mod")
    )


@final
class Guard(Guarding):
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
        super().__init__(model, optimizer, method, scenario, seed, clip, ranks, outputs_known)
        self._mixed = False  # whether this step's batch was mixed
        self._lost = False  # whether this step's loss was the guard's
        self._new: Segment | None = None  # what came last, from all ranks
        self._part, self._split = 0, False  # how many new examples the network gets; whether other ranks have others
        # what came since the last step, and what the network answered, by the tensor of inputs that it came in (which is kept, so that its id is its own)
        self._met: dict[tuple[int, int], tuple[Tensor, Segment, Tensor]] = {}
        self._came: Tensor | None = None
        self._hooks: list[Any] = []
        if self.acts:
            self._take_over()
        self.attach(optimizer)
        if self.acts and self.record not in known(self.theta):
            claim(self.theta, self.record)
        if self.acts and watch and not self.learnt:
            self._first = First(model, self.sees)

    def _take_over(self) -> None:
        """Carries on with what is held of the weights, or notes what is not."""
        before = self.record
        self.record, self.dropped = taken_over(before, self.theta)
        if self.record is not before:
            self.tried = True
            if self.record.open and self.record.steps and "end" in self.acts:
                self.warn(
                    f"this guard goes on within a task that began with an earlier one, {self.record.steps} step(s) ago, as it was not consolidated: "
                    "guard.consolidate(loader) ends a task"
                )

    def __reduce__(self) -> Any:
        raise MethodError(
            "a guard belongs to its model and its optimizer, and is neither copied nor pickled: protect(copy, its optimizer, method), then "
            "guard.load_state_dict(earlier.state_dict())"
        )

    # --- its optimiser ----------------------------------------------------------------------------------------------
    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Goes on with another optimiser of the same weights, where each task has one of its own.

        Raises:
            MethodError: it holds none of the model's weights, or another guard acts at its steps.
        """
        optimizer = innermost(optimizer)
        others = check_optimizer(self.model, self.theta, self.method, optimizer)
        for other in (hook for hook in others if isinstance(hook, Guard) and hook is not self):
            if not (self.acts and other.acts and shares_weights(self.theta, other.theta)):
                continue
            if other.record is not self.record:
                raise MethodError(
                    f"the optimizer is guarded by {other.method.name} already, and both would act on the same weights: guard.remove() of the "
                    "one before (or a new optimizer), or protect(..., chain(a, b)) for two methods together"
                )
            other.detach()  # of this one's own, before
        self.detach()
        self.optimizer = optimizer
        self.record.removed = False
        self.bind()
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Detaches from the optimiser: the loop is again as it was. What was held of earlier tasks is dropped, unless the guard is attached
        again."""
        self.detach()
        if self._first is not None:
            self._first.remove()
        self.record.removed = True

    def detach(self) -> None:
        """Takes the hooks off the optimiser. What is held stays with the weights: `attach`, or `protect` with the same method, carries on."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    # --- your loop --------------------------------------------------------------------------------------------------
    def begin(self, classes: Sequence[int] | None = None) -> None:
        """Begins a task; called by itself at the first step. `classes` are the outputs that the task's labels use, where
        the scenario is not "domain".

        Raises:
            MethodError: no classes where they are needed, or none of the network's; a task that was learnt and not consolidated, of which the
                method would know nothing; the model has other trainable weights than it had.
        """
        guard_task.begin(self, classes)

    def sees(self, width: int) -> None:
        """The model has been seen to give so many outputs."""
        guard_task.sees(self, width)

    def mix(self, x: Tensor, y: Tensor) -> Batch:
        """What a step should learn from: the batch itself, and what the method replays. Several ranks bring examples of their own each; what
        is replayed beside all of them is shared out. Without gradients it is the batch itself.

        Raises:
            DataError: labels that are no output indices ``[B]``, or outputs that are not active.
        """
        if not self._hooks:
            raise MethodError(
                "the guard was removed from its optimizer: protect the model again, or guard.attach(optimizer)"
            )
        if not torch.is_grad_enabled():
            return Batch((Segment(x, y),))
        if not self.record.open:
            self.begin()
        labelled(x, y)
        guard_task.ask(self, x)
        guard_task.check_active(self, y)
        y = y.long()
        if not self.tried:
            guard_task.try_end_on(self, Tensors(x[:2], y[:2], raw=True))
        self._came = x
        own = self._new = Segment(x, y)
        self._mixed, self._lost = True, False
        self._part, self._split = len(y), self.ranks.world > 1
        if self._split and self.acts & {"segments", "observe"}:
            every_x, every_y = self.ranks.gather(x, y)
            self._new = Segment(every_x, every_y)
        if "segments" not in self.acts:
            return Batch((own,))
        mixed = self.stepper.batch(self._new)
        part = mixed.part(self.ranks)
        self._part, self._split = part.sizes[0], part is not mixed
        return part

    @property
    def share(self) -> float:
        """For how many of the step's new examples the loss of this rank stands: its own, or where all are mixed with what is replayed, its share."""
        assert self._new is not None
        return self._new.rows / self.ranks.world if "segments" in self.acts else self._part

    def loss(self, output: Tensor, batch: Batch, losses: Tensor | None = None) -> Tensor:
        """The loss of a mixed batch, with what the method adds to it; at least in single precision.

        Args:
            output: what the model answers to the batch, ``[B, C]``.
            batch: what `mix` gave.
            losses: your own loss of each of its examples, ``[B]``; default their cross-entropy. With class weights w, for instance,
                ``F.cross_entropy(output, batch.y, weight=w, reduction="none")``, whose mean is over examples (torch's own mean is over their
                weights: ``losses * len(batch.y) / w[batch.y].sum()``). Which outputs are active is then your loss's to say.

        Raises:
            MethodError: `losses` beside a method whose own gradients of stored examples are of cross-entropy.
        """
        if losses is not None:
            own_losses(losses, sum(batch.sizes), self.method)
            losses = losses.float() if losses.dtype in (torch.bfloat16, torch.float16) else losses
        if output.dtype in (torch.bfloat16, torch.float16):
            output = output.float()
        self._lost = True
        if len(output) != sum(batch.sizes):
            raise DataError(
                f"{len(output)} outputs for the {sum(batch.sizes)} examples of the mixed batch: the model answers that, guard.loss(model(batch.x), batch)"
            )
        try:
            loss = self.stepper.loss(batch, output, losses)
        except IndexError as error:
            raise DataError(f"{error}: labels are output indices, from 0 to {output.shape[1] - 1}") from error
        if "observe" in self.acts and torch.is_grad_enabled() and self._new is not None:
            answered = output.detach()[: self._part]
            if self._split:
                [answered] = self.ranks.gather(answered)
            assert self._came is not None
            # a closure that is called several times a step brings the same examples again
            version = 0 if self._came.is_inference() else self._came._version
            self._met[id(self._came), version] = self._came, self._new, answered
        return loss

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
        guard_task.consolidate(self, data)

    def rehearse(self, data: Examples | Tensor | tuple[Tensor, Tensor] | Iterable[Any]) -> None:
        """Tries on the first two examples what `consolidate` will do with all of them, and keeps nothing: what cannot be is said before a task
        is trained on, not after. The first batch that comes is tried so by itself, where the guard sees it.

        Args:
            data: as in `consolidate`.

        Raises:
            MethodError: no task has begun; or what `consolidate` would say.
        """
        guard_task.rehearse(self, data)

    def scores(self, x: Tensor, task: int | None = None) -> Tensor:
        """Scores ``[B, C]`` of inputs ``x [B, ...]`` as the model takes them: those of the method where it answers in the model's place, otherwise
        the model's. `task` counts from 0, for a method that must know it."""
        guard_task.placed_again(self)
        with torch.no_grad(), evaluating(self.model):
            if "predict" not in self.acts:
                found: Tensor = self.model(x)
                return found
            return self.method.predict(self.state, self.model, x, task)

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """The most likely output of each input, ``[B]``."""
        return self.scores(x, task).argmax(1)

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The method's state: ``tensors`` by name and ``meta`` that is plain JSON. Model and optimiser save themselves."""
        return guard_state.saved(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes back to what `state_dict` gave. Load the model's weights first.

        Raises:
            MethodError: it is of another method, of other hyperparameters, or of another model.
        """
        guard_state.load(self, saved)

    # --- the optimiser's step ---------------------------------------------------------------------------------------
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
        if self.acts and any(owner(t) is not self.record for t in self.theta.tensors):
            raise MethodError(
                f"another guard has taken over weights that this guard of {self.method.name} holds, and both would act on them: step the optimizer "
                "of the newer guard alone, or give each guard an optimizer over weights of its own"
            )
        if not self.record.open:
            self.begin()
        needs = self.acts & {"segments", "loss", "observe"}
        if needs and not self._mixed:
            raise MethodError(
                f"{self.method.name} takes part in the batch and the loss of each step: batch = guard.mix(x, y), then "
                "guard.loss(model(batch.x), batch)"
            )
        if "loss" in self.acts and not self._lost:
            raise MethodError(f"{self.method.name} has a part in the loss: loss = guard.loss(model(batch.x), batch)")
        if "observe" in self.acts and not self._met:
            raise MethodError(f"{self.method.name} stores what comes: loss = guard.loss(model(batch.x), batch)")
        if getattr(self.optimizer, "found_inf", None) is not None:
            raise MethodError(
                "a fused optimizer divides by the GradScaler's scale, or skips the step, after the method has seen the gradients: make it with "
                "fused=False"
            )
        if not self.record.steps:
            self._first_step()
        with self._eager():
            self.stepper.before()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.theta.tensors, self.clip)

    def _first_step(self) -> None:
        """Before the first step of a task: what its end would stumble over, and what the method does not hold."""
        first, self._first = self._first, None
        if first is not None:
            first.remove()
            if not self.tried and first.x is not None and first.y is not None:
                guard_task.try_end_on(self, Tensors(first.x, first.y, raw=True))
            if self.method.traits.likelihood and first.shifts:
                self.warn(
                    f"the loss changes when one number is added to all outputs of an example, so that it is no cross-entropy of them, and the Fisher "
                    f"information of {self.method.name} is that of one class an example: its importance is another loss's. mas, si and l2 make no "
                    "assumption about the loss"
                )
        for text in not_held(self.method, self.model, self.watched.moved) if self.learnt else ():
            self.warn(text)

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.stepper.after()
        if "observe" in self.acts:
            met = list(self._met.values())  # a step after several batches is one after a larger batch
            self.stepper.observe(together([new for _, new, _ in met]), torch.cat([answered for _, _, answered in met]))
        self._mixed = self._lost = False
        self._met, self._came = {}, None
        self.record.steps += 1
