"""A method's state is consumed: what becomes of one that is kept, and slots that write into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from lifelong.core.chain import chain
from lifelong.core.contexts import Spec, Step, StepContext, TaskContext
from lifelong.core.growth import IndexMap
from lifelong.core.method import Method
from lifelong.core.segments import Batch, Segment
from lifelong.core.vector import Vector
from lifelong.loops.guard import protect
from lifelong.methods import SI, Replay
from lifelong.runs.checkpoint import Store
from lifelong.training.learner import Learner
from toys import same, toy_learner, toy_net, toy_stream, weights
from two_loops import STEP, TRAINING, guarded, steps


@dataclass(frozen=True)
class Counts:
    sums: Vector
    n: Tensor


@dataclass(frozen=True)
class Summing(Method):
    """A state that is used in every way: the sum of the weights' paths, whose mean it pulls to.

    A slot may write into the state that it was given, and nobody uses that again: `spoils` makes it worthless there.
    """

    name: ClassVar[str] = "summing"
    spoils: bool = False

    def _next(self, state: Counts, **changed: Any) -> Counts:
        kept = {f.name: getattr(state, f.name).clone() for f in fields(state)} | changed
        if self.spoils:
            for t in (*state.sums.tensors, state.n):
                t.fill_(float("nan"))
        return Counts(**kept)

    def init(self, theta: Vector, spec: Spec) -> Counts:
        return Counts(theta.zeros(), torch.zeros(()))

    def begin(self, state: Counts, context: TaskContext) -> Counts:
        return self._next(state, n=state.n + 1)

    def gradient(self, state: Counts, grads: Vector, context: StepContext) -> Vector:
        return grads + (context.theta - state.sums * (1 / state.n.clamp(min=1))) * 0.01

    def track(self, state: Counts, step: Step, context: StepContext) -> Counts:
        return self._next(state, sums=state.sums + step.after, n=state.n + 1)

    def observe(self, state: Counts, new: Segment, output: Tensor, context: StepContext) -> Counts:
        return self._next(state, n=state.n + 0 * output.sum())

    def end(self, state: Counts, context: TaskContext) -> Counts:
        return self._next(state, sums=state.sums * 0.5, n=state.n * 0.5)

    def resize(self, state: Counts, mapping: IndexMap, theta: Vector) -> Counts:
        return self._next(state, sums=mapping.carry(state.sums, theta))


def in_the_library(method: Method, folder: Path) -> dict[str, Tensor]:
    """Growing, saved within a task and gone on with, the end of the first task tried beforehand."""
    stream = replace(toy_stream("class", examples=2100), announced=False)

    def fresh() -> Learner:
        return Learner(toy_net(3), method, replace(TRAINING, lr=0.01), scenario="class", grows=True)

    learner = fresh()
    learner.learn(stream[0])
    next(learner.steps(stream[1]))
    given = learner.state_dict()
    kept = {k: t.clone() for k, t in given["tensors"].items()}
    Store(folder).save(given)
    saved = Store(folder).newest()
    other = fresh()
    other.load_state_dict(saved)
    for _ in learner.steps(stream[1]):
        pass
    other.learn(stream[1])
    assert same(weights(learner.net), weights(other.net))
    assert same(kept, saved["tensors"])  # what was saved is nobody's state
    assert same(kept, given["tensors"])
    learner.learn(stream[2])
    return weights(learner.net)


def in_ones_own_loop(method: Method, folder: Path) -> dict[str, Tensor]:
    """The end tried by `rehearse`, the guard saved and loaded, and made anew for the same weights."""
    stream = toy_stream("domain")
    guard = guarded(method, stream)
    for task in stream:
        guard.begin()
        guard.rehearse(task.train)
        steps(guard, task.train.x, task.train.y)
        saved = guard.state_dict()
        kept = {k: t.clone() for k, t in saved["tensors"].items()}
        guard.consolidate(task.train)
        guard.load_state_dict(saved)
        guard.consolidate(task.train)
        assert same(kept, saved["tensors"])
        optimizer = torch.optim.SGD(guard.model.parameters(), lr=0.05, momentum=0.9)
        guard = protect(guard.model, optimizer, method, scenario="domain")
        assert guard.learnt == task.index + 1
    return weights(guard.model)


@pytest.mark.parametrize("loop", [in_the_library, in_ones_own_loop], ids=lambda f: f.__name__)
@pytest.mark.parametrize("with_others", [False, True], ids=["alone", "chained"])
def test_a_state_is_consumed(
    loop: Callable[[Method, Path], dict[str, Tensor]], with_others: bool, tmp_path: Path
) -> None:
    """Nobody reads a state again that a slot was given and has answered with the next one."""
    ends = []
    for spoils in (False, True):
        method: Method = Summing(spoils)
        method = chain(SI(0.1), method, Replay(20)) if with_others else method
        ends.append(loop(method, tmp_path / str(spoils)))
    assert all(bool(t.isfinite().all()) for t in ends[1].values())
    assert same(*ends)


@dataclass(frozen=True)
class Writing(Method):
    """Slots that give no state back may write into its tensors as well."""

    name: ClassVar[str] = "writing"

    def init(self, theta: Vector, spec: Spec) -> dict[str, Tensor]:
        return {slot: torch.zeros(()) for slot in STEP}

    def segments(self, state: dict[str, Tensor], batch: Batch, context: StepContext) -> Batch:
        state["segments"].add_(1)
        return batch

    def loss(self, state: dict[str, Tensor], batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        state["loss"].add_(1)
        return 0 * output.sum()

    def gradient(self, state: dict[str, Tensor], grads: Vector, context: StepContext) -> Vector:
        state["gradient"].add_(1)
        return grads

    def project(self, state: dict[str, Tensor], step: Step, context: StepContext) -> None:
        state["project"].add_(1)

    def track(self, state: dict[str, Tensor], step: Step, context: StepContext) -> dict[str, Tensor]:
        state["track"].add_(1)
        return state

    def observe(
        self, state: dict[str, Tensor], new: Segment, output: Tensor, context: StepContext
    ) -> dict[str, Tensor]:
        state["observe"].add_(1)
        return state


def test_slots_may_write_into_the_state() -> None:
    stream = toy_stream("domain", examples=48)
    learner, guard = toy_learner(Writing(), stream, TRAINING), guarded(Writing(), stream)
    learner.learn(stream[0])
    steps(guard, stream[0].train.x, stream[0].train.y)
    for state in (learner.state, guard.state):
        assert {slot: float(n) for slot, n in state.items()} == dict.fromkeys(STEP, 3.0)
