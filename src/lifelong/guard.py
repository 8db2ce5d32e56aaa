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

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, final, get_args

import torch
from torch import Tensor, nn

from . import tree
from .around import Around
from .digest import worded
from .errors import DataError, MethodError
from .loaders import Nothing, Spread, examples_of
from .method import Batch, Costs, Edge, Method, Spec, cross_entropy, is_method
from .random import generator, untouched
from .ranks import Ranks, bare, whole
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
) -> Guard:
    """Attaches `method` to a model and its optimiser; gives the guard that ends tasks, saves and detaches.

    Args:
        model: inputs ``[B, ...]`` to logits ``[B, C]``; also what `DistributedDataParallel` or `torch.compile` made of it.
        optimizer: any torch optimiser over (some of) the model's parameters, also with several parameter groups.
        method: a portable method.
        scenario: which outputs compete in the method's own estimates; the loss of your loop is yours.
        seed: of the method's draws.
        clip: the largest norm of the gradient that the method leaves, to which a larger one is brought; default: no limit.
        ranks: the processes that learn this model together; default: all that ``init_process_group`` joined (of
            `DistributedDataParallel`, its group). `Ranks()` where each learns a model of its own.

    Raises:
        MethodError: the method needs a loop of its own, or does not work on several ranks; the model's weights are sharded.
    """
    carried(method)
    ranks = Ranks.of(model) if ranks is None else ranks
    model = bare(model)
    if method.acts:
        whole(model, method.name)
    ranks.check(method)
    return Guard(model, _innermost(optimizer), method, scenario, seed, clip, ranks)


def _other(what: str, there: Any, here: Any) -> str:
    if what == "constants":
        return f"this was saved by {there}, and this guard has {here}: protect with the constants of before"
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
    ) -> None:
        if scenario not in get_args(Scenario):
            raise MethodError(f"scenario {scenario!r}: expected one of {', '.join(map(repr, get_args(Scenario)))}")
        method.check(scenario)
        self.model, self.optimizer, self.method = model, optimizer, method
        self._slots = method.acts
        self.scenario, self.seed, self.clip, self.ranks = scenario, seed, clip, ranks
        self.theta = Vector.of(model)
        if not self.theta.names:
            raise MethodError("the model has no trainable parameters: nothing can be learnt or kept")
        self.spec: Spec | None = None
        self.state: Any = None
        self.learnt = 0
        self.seen: tuple[int, ...] = ()
        self.costs = Costs()
        self._mask: Tensor | None = None
        self._draws = generator(seed, "method/0", self._device)
        self._open = False  # whether the present task has begun
        self._compiled = False
        self._fresh = False  # whether this step's batch was mixed
        self._new: Batch | None = None  # what came last, from all ranks
        self._part, self._split = 0, False  # how many new examples the network gets; whether other ranks have others
        self._met: list[tuple[Batch, Tensor]] = []  # what came since the last step, and what the network answered
        self._lost = False  # whether this step's loss was ours
        self._steps = 0  # of the present task
        self._hooks: list[Any] = []
        self.attach(optimizer)

    @property
    def _mark(self) -> tuple[float, float]:
        """Σ ±θ with signs in turn, and ‖θ‖: by which a model is told from one whose weights were not loaded."""
        if not self._slots:  # the weights may be sharded
            return 0.0, 0.0
        flat = [t.detach().reshape(-1) for t in self.theta.tensors]
        signed = torch.stack([t[::2].double().sum() - t[1::2].double().sum() for t in flat]).sum()
        return float(signed), float(torch.stack([t.norm().double() for t in flat]).norm())

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
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in stepped for p in self.theta.tensors):
            raise MethodError("the optimizer holds none of the model's parameters: pass the one that trains it")
        own = {id(p) for p in self.theta.tensors}
        for hook in optimizer._optimizer_step_pre_hooks.values():
            other = getattr(hook, "__self__", None)
            if not isinstance(other, Guard) or other is self or not (self.method.acts and other.method.acts):
                continue
            if any(id(p) in own for p in other.theta.tensors):
                raise MethodError(
                    f"the optimizer is guarded by {other.method.name} already, and both would act on the same weights: guard.remove() of the "
                    "one before (or a new optimizer), or protect(..., chain(a, b)) for two methods together"
                )
        self.remove()
        self.optimizer = optimizer
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
        if self._open and self._steps and "end" in self._slots:
            raise MethodError(
                f"{self.method.name} looks at a task's examples when it ends, and the task before was not consolidated: guard.consolidate(loader) "
                "before the next begins"
            )
        self._same_weights()
        if self.scenario != "domain":
            if classes is None:
                raise MethodError(f"in the scenario {self.scenario!r} a task begins with guard.begin(classes=[...])")
            classes = self._indices(classes)
            self.seen = tuple(sorted({*self.seen, *classes}))
            self._mask = self._as_mask(classes if self.scenario == "task" else self.seen)
        self._draws = generator(self.seed, f"method/{self.learnt}", self._device)
        if self.spec is None:
            [seeds] = self.ranks.gather(torch.tensor([self.seed]))
            if len(seeds.unique()) > 1:
                raise MethodError(
                    f"ranks with the seeds {seeds.tolist()} would draw differently: give all of them one (protect(seed=...))"
                )
            self.spec = Spec((), self._outputs(classes), self.scenario, self.seed)
            self.state = self.method.init(self.theta, self.spec)
        with self._plain():
            if "begin" in self._slots:
                self.state = self.method.begin(self.state, self._edge(Nothing(), self._mask))
        self._open, self._steps = True, 0

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
        if not self._open:
            self.begin()
        self._labelled(x, y)
        y = y.long()
        own = self._new = Batch(x, y, self._mask)
        self._fresh, self._lost = True, False
        self._part, self._split = len(y), self.ranks.world > 1
        if self._split and self._slots & {"examples", "observe"}:
            every_x, every_y = self.ranks.gather(x, y)
            self._new = Batch(every_x, every_y, self._mask)
        if "examples" not in self._slots:
            return own
        mixed = self.method.examples(self.state, self.model, self._new, self._draws)
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

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of a mixed batch, with what the method adds to it; at least in single precision."""
        if output.dtype in (torch.bfloat16, torch.float16):
            output = output.float()
        self._lost = True
        if output.shape[:1] != batch.y.shape[:1]:
            raise DataError(
                f"{len(output)} outputs for the {len(batch.y)} examples of the mixed batch: the model answers that, guard.loss(model(batch.x), batch)"
            )
        claims, adds = "criterion" in self._slots, "loss" in self._slots
        try:
            loss = (
                self.method.criterion(self.state, self.model, batch, output) if claims else cross_entropy(output, batch)
            )
        except IndexError as error:
            raise DataError(f"{error}: labels are output indices, from 0 to {output.shape[1] - 1}") from error
        if adds:
            loss = loss + self.method.loss(self.state, self.model, batch, output)
        if "observe" in self._slots and torch.is_grad_enabled() and self._new is not None:
            answered = output.detach()[: self._part]
            if self._split:
                [answered] = self.ranks.gather(answered)
            self._met.append((self._new, answered))
        return loss

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
        if not self._open:
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
        with self._eager():
            self._around.before(self.state)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.theta.tensors, self.clip)

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        with torch.no_grad():
            self.state = self._around.after(self.state)
            if "observe" in self._slots:
                batch, output = self._met[0]
                if len(self._met) > 1:  # a step after several batches is one after a larger batch
                    x, y = (torch.cat([getattr(b, of) for b, _ in self._met]) for of in ("x", "y"))
                    batch, output = batch._replace(x=x, y=y), torch.cat([o for _, o in self._met])
                self.state = self.method.observe(self.state, batch, output, self._draws)
        self._fresh = self._lost = False
        self._met = []
        self._steps += 1

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
        examples = self._brought(data)
        if not self._open:
            raise MethodError(
                "consolidate ends a task, but none has begun: no step was taken of the optimizer that the guard is attached to (a step begins a "
                "task, or guard.begin()); where each task has an optimizer of its own, guard.attach(optimizer)"
            )
        self._same_weights()
        if self.ranks.world > 1:
            examples = Spread(examples, self.ranks)
        if len(examples) == 0:
            raise DataError("consolidate needs the task's examples; got none")
        if "end" in self._slots:
            with self._plain():
                self.state = self.method.end(self.state, self._edge(examples, self._mask))
        self.learnt += 1
        self._open = False

    def rehearse(self, data: Examples | Tensor | tuple[Tensor, Tensor] | Iterable[Any]) -> None:
        """Tries on the first two examples what `consolidate` will do with all of them, and keeps nothing: what cannot be is said before a task
        is trained on, not after.

        Args:
            data: as in `consolidate`.

        Raises:
            MethodError: no task has begun; or what `consolidate` would say.
        """
        if not self._open:
            raise MethodError("rehearse tries the end of a task, and none has begun: guard.begin()")
        if "end" not in self._slots:
            return
        with untouched():
            chunk = next(self._brought(data).all(2))
        few: Examples = Tensors(chunk.x, chunk.y)
        if self.ranks.world > 1:
            few = Spread(few, self.ranks)
        edge = replace(self._edge(few, self._mask), costs=Costs())
        with untouched(), self._plain():
            self.method.end(copy.deepcopy(self.state), edge)

    def _brought(self, data: Any) -> Examples:
        if isinstance(data, Tensor):
            if self.method.labels:
                raise MethodError(f"{self.method.name} needs labels at the end of a task: consolidate((x, y))")
            data = Tensors(data, torch.zeros(len(data), dtype=torch.int64))
        return data if isinstance(data, Examples) else examples_of(data)

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The method's state: ``tensors`` by name and ``meta`` that is plain JSON. Model and optimiser save themselves."""
        tensors, skeleton = tree.split({"state": self.state, "draws": self._draws}, "guard")
        meta = {
            "method": self.method.name,
            "constants": worded(self.method),
            "weights": [list(t.shape) for t in self.theta.tensors],
            "mark": self._mark,
            "state": skeleton,
            "outputs": None if self.spec is None else self.spec.outputs,
            "learnt": self.learnt,
            "seen": list(self.seen),
            "open": self._open,
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
        for key, here in (("constants", worded(self.method)), ("weights", [list(t.shape) for t in self.theta.tensors])):
            if meta.get(key, here) != here:
                raise MethodError(_other(key, meta[key], here))
        signed, length = self._mark
        if abs(meta.get("mark", self._mark)[0] - signed) > 0.02 * length:  # in half precision it would be nearer
            warnings.warn(
                "the model's weights are not those that this was saved beside: load the model's first, or it will be held to another's",
                stacklevel=2,
            )
        tensors = {k: v.clone() for k, v in saved["tensors"].items()}  # learning writes into them
        nodes = dict(meta["state"]["items"])
        if meta["outputs"] is not None:
            now = self._width
            if now not in (None, meta["outputs"]):
                raise MethodError(
                    f"this was saved with a network of {meta['outputs']} outputs, and this one has {now}: give it as many (a Learner with "
                    "grows=True gets more as classes come)"
                )
            self.spec = Spec((), meta["outputs"], self.scenario, self.seed)
            moved = {k: v.to(self._device) if k.startswith("guard/state") else v for k, v in tensors.items()}
            self.state = tree.join(self.method.state_type, nodes["state"], moved, "state")
        self._draws.set_state(tensors[nodes["draws"]["tensor"]])
        self.learnt, self.seen, self._open = meta["learnt"], tuple(meta["seen"]), meta["open"]
        self._mask = tensors["mask"].to(self._device) if "mask" in tensors else None

    def remove(self) -> None:
        """Detaches from the optimiser: the loop is again as it was."""
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
            self.learnt,
            None,
            draws,
            self._no_reset,
            self.costs,
            self.seen,
            ranks=self.ranks,
        )

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """At a task's edges: in full precision, and layer by layer."""
        self._compiled = any(m._compiled_call_impl is not None for m in self.model.modules())
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False), self._eager():
            yield

    def _eager(self) -> AbstractContextManager[Any]:
        """A model that was compiled in place runs layer by layer within: methods look at layers, which a compiled call passes over."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def _no_reset(self) -> None:
        raise MethodError(f"{self.method.name} cannot restart a network that it does not own")

    def _same_weights(self) -> None:
        now = Vector.of(self.model)
        if now.names != self.theta.names or any(a is not b for a, b in zip(now.tensors, self.theta.tensors)):
            raise MethodError(
                "the model has other trainable weights than when it was protected (some were frozen, unfrozen or replaced, or a layer grew), and the "
                "method knows nothing of them: make the changes first, then protect; or use Learner, whose networks may grow"
            )

    def _indices(self, classes: Any) -> list[int]:
        """Of outputs."""
        outputs = self._width
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
        if (
            self._mask is not None and y.device.type == self._mask.device.type == "cpu"
        ):  # elsewhere looking would be waiting
            C = len(self._mask)
            wrong = y[(y < 0) | (y >= C) | ~self._mask[y.clamp(0, C - 1)]].unique().tolist()
            if wrong:
                raise DataError(
                    f"labels {wrong} are not among the task's classes: name all of them, guard.begin(classes=[...])"
                )

    def _outputs(self, classes: Sequence[int] | None) -> int:
        return max(classes or [0]) + 1 if self._width is None else self._width

    @property
    def _width(self) -> int | None:
        """Of the last linear layer; None: there is none."""
        layers = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        return layers[-1].out_features if layers else None

    def _as_mask(self, classes: Sequence[int]) -> Tensor | None:
        outputs = self.spec.outputs if self.spec is not None else self._outputs(classes)
        if len(classes) == outputs:
            return None
        mask = torch.zeros(outputs, dtype=torch.bool, device=self._device)
        mask[list(classes)] = True
        return mask
