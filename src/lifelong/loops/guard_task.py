"""Where a task begins and ends in somebody's own loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.contexts import Spec, TaskContext
from ..core.errors import DataError, MethodError, TrainingError
from ..core.examples import Examples, Tensors
from ..core.loaders import Finite, Nothing, Spread, examples_of, outside
from ..core.modes import evaluating
from ..core.objective import active_classes
from ..core.random import generator, untouched
from ..core.segments import Segment
from ..core.vector import Vector
from ..training.first_batch import plain_width, written
from ..training.protected import mark, moved, owner
from ..training.task_end import try_end
from .guard_checks import output_indices, stepped
from .guarding import Guarding

__all__ = ["ask", "begin", "check_active", "consolidate", "placed_again", "rehearse", "sees", "try_end_on"]


# --- begin --------------------------------------------------------------------------------------------------------------
def begin(guard: Guarding, classes: Sequence[int] | None) -> None:
    """See `Guard.begin`."""
    record, held, method = guard.record, guard.held, guard.method
    if record.open and record.steps and "end" in guard.acts:
        raise MethodError(
            f"{method.name} looks at a task's examples when it ends, and the task before was not consolidated: guard.consolidate(loader) "
            "before the next begins"
        )
    _same_weights(guard)
    if guard.acts and held.spec is not None and not record.open:
        placed_again(guard)
        if record.marked is not None and moved(record.marked, mark(guard.theta.tensors)):
            guard.warn(
                f"the weights were replaced or trained since the last task ended (best weights restored, averaged, trained without the guard), and "
                f"{method.name} holds them to what they were then: consolidate after that"
            )
    if guard.dropped:
        guard.warn(guard.dropped)
        guard.dropped = ""
    _begin_classes(guard, classes)
    if guard.outputs_known and not held.learnt and not method.traits.adopts and guard.acts:
        guard.warn(
            f"{method.name} holds nothing of the {guard.outputs_known} outputs that the model knew before, as it has seen no examples of them: "
            "guard.begin(classes) and guard.consolidate(old examples) make a first task of some, or LwF() holds the outputs without examples"
        )
    if held.spec is None:
        [seeds] = guard.ranks.gather(torch.tensor([guard.seed]))
        if len(seeds.unique()) > 1:
            raise MethodError(
                f"ranks with the seeds {seeds.tolist()} would draw differently: give all of them one (protect(seed=...))"
            )
    _begin_method(guard)
    record.open, record.steps = True, 0
    guard.watched.versions, guard.watched.buffers = _writes(guard), written(guard.model)
    guard.watched.unheld = _unheld(guard)


def placed_again(guard: Guarding) -> None:
    """The state follows a model that has moved to another device."""
    if guard.spec is not None:
        guard.state = guard.method.placed(guard.state, guard.theta.tensors[0])


def _begin_classes(guard: Guarding, classes: Sequence[int] | None) -> None:
    record, held = guard.record, guard.held
    if guard.scenario != "domain":
        if classes is None:
            raise MethodError(f"in the scenario {guard.scenario!r} a task begins with guard.begin(classes=[...])")
        record.classes = tuple(output_indices(classes, _width(guard)))
    if not record.open:
        record.before = held.seen
    if record.classes is not None:
        held.seen = tuple(sorted({*record.before, *record.classes}))


def _begin_method(guard: Guarding) -> None:
    """The method's part of it; again where the model turns out to have other outputs than were thought."""
    record, held = guard.record, guard.held
    held.generator = generator(guard.seed, f"method/{held.learnt}", guard.device)
    guard.bind()
    if held.spec is None:
        width = _width(guard)
        _all_known(guard, width)
        record.width = width
        guard.stepper.init(Spec((), width or max((*held.seen, 0)) + 1, guard.scenario, guard.seed))
        guard.bind()
    with guard.plain():
        guard.stepper.begin(_context(guard, Nothing()))


def _width(guard: Guarding) -> int | None:
    """The model's outputs, where they are known."""
    return plain_width(guard.model) if guard.record.width is None else guard.record.width


def _all_known(guard: Guarding, width: int | None) -> None:
    if width is not None and guard.outputs_known > width:
        raise MethodError(f"known={guard.outputs_known}: the model gives {width} outputs; expected at most as many")


def sees(guard: Guarding, width: int) -> None:
    """See `Guard.sees`."""
    record, held = guard.record, guard.held
    if record.width == width:
        return
    if record.width is not None:
        raise MethodError(
            f"the model gives {width} outputs, and what is held of it is of {record.width}: give it as many (a Learner with grows=True gets "
            "more as classes come)"
        )
    _all_known(guard, width)
    record.width = width
    if record.classes is not None:
        output_indices(record.classes, width)
    if held.spec is not None and not held.learnt and not record.steps:  # nothing is learnt yet
        held.spec = None
        _begin_method(guard)
    elif held.spec is not None:
        held.spec = replace(held.spec, outputs=width)
        guard.bind()


def ask(guard: Guarding, x: Tensor) -> None:
    """Asks the model for the number of its outputs, once."""
    if guard.record.width is None and len(x):
        p = guard.theta.tensors[0]
        one = x[:1].to(p.device, p.dtype if x.is_floating_point() else None)
        try:
            with untouched(), guard.plain(), evaluating(guard.model):
                output = guard.model(one)
        except (
            Exception
        ):  # it takes more than inputs (labels, decoder inputs): methods that ask nothing of it need no width
            return
        if isinstance(output, Tensor) and output.dim() == 2:
            sees(guard, output.shape[1])


def check_active(guard: Guarding, y: Tensor) -> None:
    """Raises `DataError` for labels whose outputs are not active."""
    active = active_classes(guard.objective)
    if active is not None and y.device.type == active.device.type == "cpu":  # elsewhere looking would be waiting
        wrong = outside(y, active)
        if wrong:
            raise DataError(
                f"labels {wrong} are not among the task's classes: name all of them, guard.begin(classes=[...])"
            )


# --- end ----------------------------------------------------------------------------------------------------------------
def consolidate(guard: Guarding, data: Any) -> None:
    """See `Guard.consolidate`."""
    record = guard.record
    examples: Examples = _brought(guard, data)
    if not record.open:
        raise MethodError(
            "consolidate ends a task, but none has begun: no step was taken of the optimizer that the guard is attached to (a step begins a "
            "task, or guard.begin()); where each task has an optimizer of its own, guard.attach(optimizer)"
        )
    _same_weights(guard)
    acting = guard.acts & {"gradient", "project", "track", "observe"}
    if not record.steps and acting and guard.watched.versions != _writes(guard):
        raise MethodError(
            "the weights have changed since the task began, and not by the optimizer that the guard is attached to, so that the method did not "
            "act: guard.attach(optimizer) with the one that steps, before the task"
        )
    if guard.acts and not all(bool(t.isfinite().all()) for t in guard.theta.tensors):
        raise TrainingError(
            "the model's weights are NaN or infinite: go back to earlier ones, and lower the learning rate"
        )
    if guard.ranks.world > 1:
        examples = Spread(examples, guard.ranks)
    if len(examples) == 0:
        raise DataError("consolidate needs the task's examples; got none")
    if guard.acts:
        ask(guard, next(examples.all(1)).x)
    if "observe" in guard.acts and not record.steps:
        _show(guard, examples)
    with guard.plain():
        guard.stepper.end(_context(guard, examples))
    _report_unheld(guard)
    watched = guard.watched
    watched.moved = [name for name, now in written(guard.model).items() if watched.buffers.get(name, now) != now]
    guard.held.learnt += 1
    record.open, record.steps, record.classes = False, 0, None
    record.marked = mark(guard.theta.tensors) if guard.acts else None


def rehearse(guard: Guarding, data: Any) -> None:
    """See `Guard.rehearse`."""
    if not guard.record.open:
        raise MethodError("rehearse tries the end of a task, and none has begun: guard.begin()")
    if "end" not in guard.acts:
        return
    examples = _brought(guard, data)
    with untouched():
        chunk = next(examples.all(2))
    ask(guard, chunk.x)
    try_end_on(guard, Tensors(chunk.x, chunk.y, raw=True), examples.count)


def try_end_on(guard: Guarding, few: Examples, count: int = 0) -> None:
    """The end of the task on few examples; nothing of it is kept."""
    guard.tried = True
    if "end" not in guard.acts:
        return
    ask(guard, next(few.all(1)).x)
    if guard.ranks.world > 1:
        few = Spread(few, guard.ranks)
    with guard.plain():
        try_end(guard.method, guard.state, replace(_context(guard, few), count=count), guard.warn)


def _show(guard: Guarding, examples: Examples) -> None:
    """The method stores examples on which no step was taken: those of a model that was trained elsewhere."""
    if not guard.method.traits.stores:
        raise MethodError(
            f"{guard.method.name} learns from each step of a task, and none was taken in this one: train on the task, or use a method that "
            "stores examples (replay)"
        )
    p = guard.theta.tensors[0]
    with guard.plain(), evaluating(guard.model):
        for chunk in examples.all():
            x = chunk.x.to(p.device)
            output = guard.model(x.to(p.dtype) if x.is_floating_point() else x)
            guard.stepper.observe(Segment(x, chunk.y.to(p.device)), output)
            guard.costs.forward += len(chunk.y)


def _brought(guard: Guarding, data: Any) -> Finite:
    """Somebody's data as examples."""
    labels = not guard.method.traits.unlabelled
    if isinstance(data, Tensor):
        if labels:
            raise MethodError(f"{guard.method.name} needs labels at the end of a task: consolidate((x, y))")
        return Finite(Tensors(data, torch.zeros(len(data), dtype=torch.int64), raw=True))
    found = data if isinstance(data, Examples) else examples_of(data)
    return Finite(found, active_classes(guard.objective) if labels or "observe" in guard.acts else None)


def _context(guard: Guarding, examples: Examples) -> TaskContext:
    return TaskContext(
        guard.model,
        guard.theta,
        examples,
        guard.objective,
        guard.learnt + bool(guard.outputs_known),
        None,
        generator(guard.seed, f"edge/{guard.learnt}", guard.device),
        lambda: _no_reset(guard),
        guard.costs,
        guard.seen,
        ranks=guard.ranks,
        known=guard.outputs_known,
        warn=guard.warn,
    )


def _no_reset(guard: Guarding) -> None:
    raise MethodError(f"{guard.method.name} cannot restart a network that it does not own")


# --- the weights --------------------------------------------------------------------------------------------------------
def _writes(guard: Guarding) -> int:
    """How often the weights were written to."""
    return sum(t._version for t in guard.theta.tensors)


def _same_weights(guard: Guarding) -> None:
    now = stepped(guard.model, guard.optimizer)
    own = {id(t) for t in guard.theta.tensors}
    there = {id(t) for _, t in Vector.of(guard.model)}
    if any(id(t) not in own for _, t in now) or any(id(t) not in there for _, t in guard.theta):
        raise MethodError(
            "the model has other trainable weights than when it was protected (some were frozen, unfrozen or replaced, or a layer grew), and the "
            "method knows nothing of them: make the changes first, then protect; or use Learner, whose networks may grow"
        )


def _others(guard: Guarding) -> Vector:
    """Weights that may train, and that the guard's optimiser does not step."""
    own = {id(t) for t in guard.theta.tensors}
    found = [(name, t) for name, t in Vector.of(guard.model) if id(t) not in own]
    return Vector(tuple(name for name, _ in found), [t for _, t in found])


def _unheld(guard: Guarding) -> tuple[float, float] | None:
    """A mark of those that no other guard holds either; None where there are none, or it does not matter."""
    if not guard.acts & {"gradient", "project"}:
        return None
    loose = [t for _, t in _others(guard) if owner(t) is None]
    return mark(loose) if loose else None


def _report_unheld(guard: Guarding) -> None:
    """Reports weights that trained in this task and that no guard holds."""
    before, now = guard.watched.unheld, _unheld(guard)
    if before is not None and now is not None and before != now:
        names = [name for name, t in _others(guard) if owner(t) is None]
        guard.warn(
            f"{guard.method.name} acts on the weights that its optimizer steps, and others of the model have changed as well "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}), which it does not hold: protect the model with the optimizer of "
            "those as well, or freeze them (requires_grad_(False))"
        )
