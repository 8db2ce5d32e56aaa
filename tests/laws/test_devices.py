"""A step waits for no device, mixes no devices, and needs no double precision off the CPU: of every method that has a step of its own.

There need be no GPU for that. The network, the batch and the method's state are put on the device "meta" as fake tensors, whose operators
know shapes and devices and compute nothing. Everything else is on the CPU, so that a tensor that a method makes without a device meets one
of another device, which is an error. Reading a value (``.item()``, ``bool(t)``, ``nonzero``) is one as well, as there is none.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lifelong import tree
from lifelong.errors import MethodError
from lifelong.learner import Learner
from lifelong.method import Method
from lifelong.registry import METHODS
from lifelong.stream import Chunk, Scenario
from lifelong.training import Training
from lifelong.vector import Vector
from toys import toy_learner, toy_stream

SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "l2": [{}, {"implicit": True}],
    "ewc": [{}, {"implicit": True}],
    "replay": [{}, {"fill": "balanced"}, {"fill": "ring"}, {"weighting": "tasks"}, {"fill": "random"}],
    "agem": [{}, {"fill": "reservoir"}],
    "lwf": [{}, {"weighting": "tasks", "warmup": 9}],
    "generative_replay": [{"hidden": (8,), "code": 4}, {"hidden": (8,), "code": 4, "targets": "soft"}],
    "gdumb": [{"passes": 1}],
    "expert_gate": [{"code": 4, "gate_epochs": 1}],
}
# each with the reason why it may
WAITS = {"gem": "the dual problem of its few past gradients is solved on the CPU"}


class Watched(TorchDispatchMode):
    """Counts what leaves the device "meta", and refuses double precision on it."""

    def __init__(self) -> None:
        super().__init__()
        self.left: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.add_.Tensor:  # which fake tensors let pass
            assert len({t.device for t in _tensors(args) if t.dim()}) < 2, f"{func} mixes devices"
        found = func(*args, **(kwargs or {}))
        there = [t for t in _tensors((args, kwargs)) if t.device.type == "meta"]
        for t in _tensors(found):
            assert not (t.device.type == "meta" and t.dtype == torch.float64), f"{func} makes float64 off the CPU"
            if there and t.device.type == "cpu":
                self.left[func.name()] += 1
        return found


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


def cases() -> list[Any]:
    made = []
    for name, entry in METHODS.items():
        for constants in VARIANTS.get(name, [{}]):
            method = entry.load()(**constants)
            if method.rests:  # it takes no step in most tasks
                continue
            for scenario in SCENARIOS:
                try:
                    method.check(scenario)
                except MethodError:
                    continue
                words = "-".join(f"{k}={v}" for k, v in constants.items())
                made.append(pytest.param(method, scenario, id="-".join(filter(None, (name, words, scenario)))))
    return made


def learner_in_its_third_task(
    method: Method, scenario: Scenario, training: Training
) -> tuple[Learner, Chunk, Tensor | None]:
    stream = toy_stream(scenario, tasks=3, examples=64)
    learner = toy_learner(method, stream, training)
    for task in stream.tasks[:2]:
        learner.remember(task) if method.once else learner.learn(task)
    task = stream[2]
    learner._enter(task)
    own = learner._own(task)
    examples = own if "data" not in method.acts else method.data(learner.state, own, learner.past)
    chunk = next(examples.all(32))
    learner.net.train()
    learner._chunk(chunk, learner._mask(task), 16, 9)  # what is found out once is known
    return learner, chunk, learner._mask(task)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("method", "scenario"), cases())
def test_a_step_waits_for_no_device_and_mixes_none(method: Method, scenario: Scenario, optimizer: str) -> None:
    training = Training(optimizer=optimizer, lr=0.01, batch_size=16, clip=1.0)
    learner, chunk, mask = learner_in_its_third_task(method, scenario, training)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:

        def there(value: Any) -> Any:
            return value if not isinstance(value, Tensor) else fake.from_tensor(value.detach().to("meta"))

        for module in learner.net.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = nn.Parameter(there(p), p.requires_grad)
            for name, b in module._buffers.items():
                module._buffers[name] = there(b)
        learner.device = torch.device("meta")
        learner.theta = Vector.of(learner.net)
        learner.optimizer = training.build(learner.net)
        learner.state = tree.mapped(_single(learner.state), there)
        x, y, m = (None if t is None else there(t) for t in (chunk.x, chunk.y, chunk.mask))
        with Watched() as watched, _waits(method):
            loss, _ = learner._chunk(Chunk(x, y, m), None if mask is None else there(mask), 16, 9)
            assert loss.device.type == "meta"
    assert method.name in WAITS or not watched.left, dict(watched.left)


def _single(state: Any) -> Any:
    """As it would be off the CPU, in single precision."""
    return tree.mapped(state, lambda t: t.float() if isinstance(t, Tensor) and t.dtype == torch.float64 else t)


def _waits(method: Method) -> Any:
    return pytest.raises(DataDependentOutputException) if method.name in WAITS else nullcontext()


def test_the_law_finds_what_it_is_for() -> None:
    """A method that waits, one that makes a tensor without a device, and one in double precision are found."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Bad(Method):
        fault: str = ""

        def gradient(self, state: None, theta: Vector, grads: Vector, grad_of: Any) -> Vector:
            g = grads.tensors[0]
            if self.fault == "waits":
                g.mul_(float(g.sum()))
            if self.fault == "elsewhere":
                g.add_(torch.ones(g.shape))
            if self.fault == "double":
                g.double()
            return grads

    for fault, error in (
        ("", None),
        ("waits", DataDependentOutputException),
        ("elsewhere", AssertionError),
        ("double", AssertionError),
    ):
        case = (Bad(fault), "domain", "sgd")
        if error is None:
            test_a_step_waits_for_no_device_and_mixes_none(*case)
        else:
            with pytest.raises(error):
                test_a_step_waits_for_no_device_and_mixes_none(*case)
