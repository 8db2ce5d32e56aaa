"""What is looked at before a learner learns: what cannot be is refused, and what would be missed is reported."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from ..core import state_io
from ..core.contexts import Spec
from ..core.errors import DataError, MethodError, RunError
from ..core.examples import Examples, Tensors
from ..core.growth import Growth
from ..core.random import derive, generator, untouched
from ..core.ranks import ALONE
from ..core.stream import Task
from ..core.vector import Vector
from .first_batch import written
from .learning import Learning
from .plan import Allowed, Position
from .protected import by_a_guard, by_a_learner
from .task_end import not_held, try_end

__all__ = ["called", "enter", "known_outputs", "learnable", "make_room", "others_hold", "try_on_few", "unheld"]

FEW = 8  # examples on which the end of a task is tried


def called(task: Task) -> str:
    """By what a task that was left in the middle is known again."""
    return f"{task.name!r} of {len(task.train)} examples"


def enter(learner: Learning, task: Task) -> None:
    """A task begins: the network gets the outputs that it needs, and the method is told."""
    now = Vector.of(learner.net)
    if [id(t) for t in now.tensors] != [id(t) for t in learner.theta.tensors]:
        changed = sorted({*now.names} ^ {*learner.theta.names}) or ["replaced"]
        raise MethodError(
            f"the network has other trainable weights than this learner was made with ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}), "
            "and its optimizer and method know nothing of them: freeze or unfreeze before Learner(...) is made"
        )
    learner.modes = learner.modes.look(learner.net)
    learnable(task)
    learner.outputs.check(task)
    if learner.spec is None:
        others_hold(learner)
        learner.stepper.init(Spec(task.train.shape, learner.width(task), learner.scenario, learner.seed))
        _read_back(learner)
        learner.outputs.adopt(task, not learner.learnt)
        known_outputs(learner)
    make_room(learner, task)
    assert learner.spec is not None
    learner.allowed = None
    if learner.limit is not None:  # what the end of a task costs is set aside
        until = learner.limit - learner.ending
        learner.allowed = Allowed(until - learner.costs.passes, until)
    if learner.training.reset_optimizer and learner.learnt:
        learner.bind(learner.make_optimizer(learner.net))
    learner.outputs.meet(task, learner.spec.outputs)
    learner.held.generator = generator(learner.seed, f"method/{learner.learnt}", learner.device)
    if "grow" in learner.method.acts:
        learner.grow(learner.method.grow(learner.state, learner.net, task))
    learner.stepper.at(learner.objective(task))
    learner.stepper.begin(learner.context(task.train, task))
    learner.buffers = written(learner.net)
    learner.at = Position(called(task))


def _read_back(learner: Learning) -> None:
    """Raises `MethodError` where a saved state could not be read back."""
    method = learner.method
    tensors, skeleton = state_io.split(learner.state)
    try:
        state_io.join(method.state_type, skeleton, tensors, "state")
    except RunError as error:
        raise MethodError(
            f"{method.name}: `init` gives what its return type does not say ({error.__cause__}), so that a saved state could not be read back: write there "
            "what it gives"
        ) from error


def learnable(task: Task) -> None:
    """Raises `DataError` for a task that cannot be learnt from as it is."""
    if len(task.train) == 0:
        raise DataError(f"task {task.name!r} has no training examples; leave it out or give it data")
    y = task.train.labels
    if y.is_floating_point() or y.dim() != 1:
        raise DataError(
            f"task {task.name!r} has labels of {y.dtype} {list(y.shape)}: expected class indices [N], one an example (another loss: protect in "
            "your own loop)"
        )
    wrong = task.train.wild(3)
    if wrong:
        raise DataError(
            f"task {task.name!r} has inputs that are NaN or infinite (rows {wrong}, ...): clean them or leave them out"
        )


def make_room(learner: Learning, task: Task) -> None:
    """Gives the network more outputs where the task needs them and it may grow.

    Raises:
        DataError: labels outside the outputs.
    """
    assert learner.spec is not None
    labels = task.train.labels
    low, high = int(labels.min()), max(int(labels.max()), task.outputs - 1)
    if learner.grows and high >= learner.spec.outputs and low >= 0:
        learner.grow([Growth("outputs", size=high + 1, seed=derive(learner.seed, f"outputs/{high + 1}"))])
        width = learner.width(task)
        if width != high + 1:
            raise MethodError(
                f"the network's last linear layer got {high + 1} outputs, and the network gives {width}: name the layer that decides "
                "(net.head), or give the network its own grow(operation)"
            )
    if low < 0 or high >= learner.spec.outputs:
        raise DataError(
            f"task {task.name!r} has labels {low}..{high}, the network has outputs 0..{learner.spec.outputs - 1}: "
            "give the network more outputs, let it grow them (grows=True), or number the classes from 0"
        )


def others_hold(learner: Learning) -> None:
    """Reports what a learner or a guard before holds of these weights, and this one does not."""
    if not learner.method.acts:
        return
    guarded, learnt = by_a_guard(learner.theta), by_a_learner(learner.theta, learner.noted)
    if guarded is not None:
        learner.warn(
            f"a guard of this network holds {guarded.held.learnt} task(s) with {guarded.held.method.name}, and this learner holds none of them: go on in the "
            "loop that is guarded, or guard.remove() first"
        )
    elif learnt is not None:
        alike = (learnt.method, learnt.scenario) == (learner.method, learner.scenario) and not learnt.grown
        learner.warn(
            f"an earlier learner of this network holds {learnt.tasks} task(s) with {learnt.method.name}, and this learner holds none of them: let "
            "the earlier one learn the next task too"
            + (", or learner.load_state_dict(earlier.state_dict()) carries on" if alike else "")
        )


def known_outputs(learner: Learning) -> None:
    """What a method cannot hold of them is refused or reported."""
    assert learner.spec is not None
    if not learner.known:
        return
    if learner.known > learner.spec.outputs:
        raise DataError(
            f"{learner.known} outputs are said to be known from before, and the network has {learner.spec.outputs}: give it the network that knows them"
        )
    if learner.method.traits.adopts:
        return
    if "predict" in learner.method.acts or learner.method.traits.restarts or learner.method.traits.idles:
        raise MethodError(
            f"{learner.method.name} answers from the tasks that it has met itself, and {learner.known} outputs of this network were learnt elsewhere: "
            "learn their examples as a first task, or use lwf, which holds them without examples"
        )
    learner.warn(
        f"{learner.method.name} holds nothing of the {learner.known} outputs that the network knew before, as it has met no examples of them: learn "
        "some as a first task, or use lwf, which holds them without examples"
    )


def try_on_few(learner: Learning, own: Examples, task: Task | None) -> None:
    """The end of a task on a few examples and a copy of the network, before the first is learnt: what cannot be is said now. A method with
    a loop of its own may need more examples than a few, and is not tried."""
    if "end" not in learner.method.acts or not learner.method.portable:
        return
    try:
        net = copy.deepcopy(learner.net)
    except (RuntimeError, TypeError):  # some networks have no copy
        return
    with untouched():
        chunk = next(own.subset(torch.arange(min(FEW, len(own)))).all())
    few = Tensors(chunk.x, chunk.y, mask=chunk.mask)
    context = learner.context(few, None if task is None else replace(task, train=few))
    try_end(
        learner.method,
        learner.state,
        replace(context, net=net, theta=Vector.of(net), count=len(own), ranks=ALONE),
        learner.warn,
    )


def unheld(learner: Learning) -> None:
    """Reports what a penalty does not hold."""
    if learner.learnt and learner.method.traits.penalises:
        with learner.modes.training(learner.net):
            missed = not_held(learner.method, learner.net, learner.moved)
        for text in missed:
            learner.warn(text)
