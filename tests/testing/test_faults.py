"""Faults of a method that its results do not show are found by the laws, and named."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lifelong import Method, chain
from lifelong.core.contexts import Spec, Step, StepContext, TaskContext
from lifelong.core.method import Traits
from lifelong.core.modes import evaluating
from lifelong.core.segments import Batch, Segment
from lifelong.core.stream import Scenario
from lifelong.core.vector import Vector
from lifelong.testing import LawBroken
from lifelong.testing.device_law import waits_for_no_device
from lifelong.testing.method_laws import (
    answers_each_example_by_itself,
    nothing_global_changes,
    writes_what_is_its_own,
)


@dataclass(frozen=True)
class Draws(Method):
    """Draws where its fault says."""

    fault: str = ""

    name: ClassVar[str] = "draws"

    def project(self, state: None, step: Step, context: StepContext) -> None:
        if self.fault == "project":
            step.after.tensors[0].add_(torch.randn_like(step.after.tensors[0]), alpha=1e-3)

    def end(self, state: None, context: TaskContext) -> None:
        if self.fault == "end":
            torch.rand(1)
        if self.fault == "python":
            random.random()


@dataclass(frozen=True)
class DrawsInOwnLoop(Draws):
    """The same, and is not portable."""

    def data(self, state: None, examples: Any, past: Any) -> Any:
        return examples


@dataclass(frozen=True)
class DrawsAmongClasses(Method):
    """Draws in the scenario "class" alone."""

    name: ClassVar[str] = "among classes"

    def init(self, theta: Vector, spec: Spec) -> str:
        return spec.scenario

    def begin(self, state: str, context: TaskContext) -> str:
        if state == "class":
            torch.rand(1)
        return state


@pytest.mark.parametrize("kind", [Draws, DrawsInOwnLoop])
def test_draws_from_torchs_own_generator_are_found_within_every_slot(kind: type[Draws]) -> None:
    nothing_global_changes(kind())
    for fault in ("project", "end"):
        with pytest.raises(LawBroken, match=r"draws from torch's own generator: draw from context\.generator"):
            nothing_global_changes(kind(fault))
    with pytest.raises(LawBroken, match="draws from Python's or numpy's own generator"):
        nothing_global_changes(kind("python"))


def test_draws_in_one_scenario_are_found() -> None:
    with pytest.raises(LawBroken, match="draws from torch's own generator"):
        nothing_global_changes(DrawsAmongClasses())


@dataclass(frozen=True)
class Answers(Method):
    """Answers with what its fault makes of the inputs."""

    fault: str = ""

    name: ClassVar[str] = "answers"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("domain",)

    def predict(self, state: None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if self.fault == "standardised":
            x = (x - x.mean(0)) / (x.std(0, correction=0) + 1e-6)
        scores: Tensor = net(x)
        return scores - scores.mean(0) if self.fault == "centred" else scores


def test_answers_that_depend_on_the_other_examples_are_found() -> None:
    answers_each_example_by_itself(Answers())
    for fault in ("standardised", "centred"):
        with pytest.raises(LawBroken, match="in the scenario 'domain' its answers depend on the other examples"):
            answers_each_example_by_itself(Answers(fault))


@dataclass(frozen=True)
class Writes(Method):
    """Writes into what its fault says."""

    fault: str = ""

    name: ClassVar[str] = "writes"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("domain",)

    def init(self, theta: Vector, spec: Spec) -> Tensor:
        return torch.zeros(0)

    def begin(self, state: Tensor, context: TaskContext) -> Tensor:
        if self.fault == "examples":
            next(context.examples.all(10_000)).x.mul_(0.5)
        return state

    def segments(self, state: Tensor, batch: Batch, context: StepContext) -> Batch:
        if self.fault == "inputs":
            batch.new.x.mul_(0.99)
        if self.fault == "mode of a step":
            context.net.eval()
        return batch

    def loss(self, state: Tensor, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        if self.fault == "targets":
            batch.new.y.clamp_(max=1)
        if self.fault == "outputs":
            output.detach().mul_(0.5)
        return output.new_zeros(())

    def gradient(self, state: Tensor, grads: Vector, context: StepContext) -> Vector:
        if self.fault == "weights":
            context.theta.mul_(0.999)
        if self.fault == "data":
            context.theta.tensors[0].data.mul_(0.999)
        return grads.mul_(0.9)  # its own

    def project(self, state: Tensor, step: Step, context: StepContext) -> None:
        if self.fault == "record":
            step.before.mul_(0.5)
        step.after.mul_(0.999)

    def observe(self, state: Tensor, new: Segment, output: Tensor, context: StepContext) -> Tensor:
        return (
            new.x[:2] if self.fault == "view" else output[:2] if self.fault == "view of outputs" else new.x[:2].clone()
        )

    def end(self, state: Tensor, context: TaskContext) -> Tensor:
        if self.fault == "mode":
            context.net.eval()
        with evaluating(context.net):
            context.theta.mul_(1.01)
        return state


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("inputs", "segments writes into the step's inputs"),
        ("targets", "loss writes into the step's targets"),
        ("outputs", "loss writes into the step's outputs"),
        ("weights", "gradient writes into the network's weights: only `project`"),
        ("data", "gradient writes into the network's weights"),
        ("record", "project writes into the record of the step"),
        ("view", "observe stores inputs of the step in state without a copy"),
        ("view of outputs", "observe stores outputs of the step in state without a copy"),
        ("mode", r"end leaves the network in another mode .* evaluating\(context\.net\)"),
        ("mode of a step", "segments leaves the network in another mode"),
        ("examples", "writes into the examples of a task"),
    ],
)
def test_writing_into_what_is_not_its_own_is_found(fault: str, said: str) -> None:
    with pytest.raises(LawBroken, match=said):
        writes_what_is_its_own(Writes(fault))


def test_writing_into_what_is_its_own_passes_in_a_chain_as_well() -> None:
    writes_what_is_its_own(Writes())
    writes_what_is_its_own(chain(Writes(), Draws()))
    with pytest.raises(LawBroken, match="segments writes into the step's inputs"):
        writes_what_is_its_own(chain(Draws(), Writes("inputs")))


@dataclass(frozen=True)
class Off(Method):
    """A step that a GPU would not like."""

    fault: str = ""

    name: ClassVar[str] = "off"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("domain",)

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True)

    def gradient(self, state: None, grads: Vector, context: StepContext) -> Vector:
        g = grads.tensors[0]
        if self.fault == "reads":
            float(g.sum())
        if self.fault == "adds":
            g.add_(torch.ones(g.shape))
        if self.fault == "multiplies":
            return grads.map(lambda t: t * torch.ones(t.shape))
        if self.fault == "copies":
            g.cpu()
        if self.fault == "double":
            g.double()
        return grads


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("reads", r"a step reads a value of the device, for which it waits \(test_faults\.py:\d+, in gradient\)"),
        ("adds", r"it mixes devices, .*=t\.device of a tensor of the step \(test_faults\.py:\d+, in gradient\)"),
        ("multiplies", r"it mixes devices, .*=t\.device of a tensor of the step \(test_faults\.py:\d+, in <lambda>\)"),
        ("copies", r"copies a tensor from the device, for which it waits \(test_faults\.py:\d+, in gradient\)"),
        ("double", r"makes float64, .* \(test_faults\.py:\d+, in gradient\)"),
    ],
)
def test_what_no_device_likes_is_said_with_its_line(fault: str, said: str) -> None:
    with pytest.raises(LawBroken, match=said):
        waits_for_no_device(Off(fault))
