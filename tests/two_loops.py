"""The library's loop and one that anybody would write, for tests that hold one to the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from lifelong.core.contexts import Spec, Step, StepContext, TaskContext
from lifelong.core.method import Method
from lifelong.core.segments import Batch, Segment
from lifelong.core.stream import Stream
from lifelong.core.vector import Vector
from lifelong.loops.guard import Guard, protect
from lifelong.training.settings import Training
from toys import toy_net

STEP = ["segments", "loss", "gradient", "project", "track", "observe"]
TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=1)


def guarded(method: Method, stream: Stream, seed: int = 0) -> Guard:
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return protect(net, optimizer, method, scenario=stream.scenario, seed=seed)


def steps(guard: Guard, x: Tensor, y: Tensor) -> None:
    """What anybody would write."""
    for rows in torch.arange(len(y)).split(16):
        batch = guard.mix(x[rows], y[rows])
        guard.optimizer.zero_grad()
        guard.loss(guard.model(batch.x), batch).backward()
        guard.optimizer.step()


@dataclass(frozen=True)
class Telling(Method):
    """Writes down each slot that is called, and what it was given."""

    name: ClassVar[str] = "telling"
    calls: list[tuple[str, Any]] = field(default_factory=list, compare=False)

    def init(self, theta: Vector, spec: Spec) -> Tensor:
        self.calls.append(("init", spec))
        return torch.zeros(())

    def begin(self, state: Tensor, context: TaskContext) -> Tensor:
        self.calls.append(("begin", context))
        return state + 1

    def segments(self, state: Tensor, batch: Batch, context: StepContext) -> Batch:
        self.calls.append(("segments", context))
        return batch.plus(batch.new)

    def loss(self, state: Tensor, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        self.calls.append(("loss", context))
        assert len(output) == batch.rows == 2 * batch.new.rows
        return 0 * output.sum()

    def gradient(self, state: Tensor, grads: Vector, context: StepContext) -> Vector:
        self.calls.append(("gradient", context))
        assert not torch.is_grad_enabled()
        return grads

    def project(self, state: Tensor, step: Step, context: StepContext) -> None:
        self.calls.append(("project", context))
        assert not torch.is_grad_enabled()

    def track(self, state: Tensor, step: Step, context: StepContext) -> Tensor:
        self.calls.append(("track", context))
        assert not torch.is_grad_enabled()
        return state + 1

    def observe(self, state: Tensor, new: Segment, output: Tensor, context: StepContext) -> Tensor:
        self.calls.append(("observe", context))
        assert new.rows == len(output) == 16  # what came from the task, and what was answered to it alone
        assert not output.requires_grad
        return state + 1

    def extra_passes(self, state: Tensor, own: int, learnt: int) -> tuple[int, int]:
        self.calls.append(("extra_passes", None))
        assert (own, learnt) == (16, 32)
        return 5, 7

    def end(self, state: Tensor, context: TaskContext) -> Tensor:
        self.calls.append(("end", context))
        return state + 1
