"""A step waits for no device, mixes no devices, and needs no double precision off the CPU.

There need be no GPU for that. The network, the batch and the method's state are put on the device "meta" as fake tensors, whose operators
know shapes and devices and compute nothing. Everything else is on the CPU, so that a tensor that a method makes without a device meets one
of another device, which is an error. Reading a value (``.item()``, ``bool(t)``, ``nonzero``) is one as well, as there is none.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..core import state_io
from ..core.errors import MethodError
from ..core.examples import Chunk
from ..core.method import Method
from ..core.objective import Classification, active_classes
from ..core.stream import Scenario
from ..training.learner import Learner
from ..training.settings import Training
from ..training.task_loop import chunk_of_steps
from .laws import LawBroken, line_of, where
from .toys import toy_learner, toy_stream

__all__ = ["waits_for_no_device"]

SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")


def waits_for_no_device(method: Method) -> None:
    """A step in the method's third task reads no value, mixes no devices and makes no double precision off the CPU."""
    if method.traits.idles:  # it takes no step in most tasks
        return
    fits: list[Scenario] = []
    for scenario in SCENARIOS:
        try:
            method.check(scenario)
            fits.append(scenario)
        except MethodError:
            continue
    for scenario in fits:
        _one(method, scenario, "sgd")
    if fits:  # what Adam does depends on no scenario
        _one(method, fits[0], "adam")


def _one(method: Method, scenario: Scenario, optimizer: str) -> None:
    training = Training(optimizer=optimizer, lr=0.01, batch_size=16, clip=1.0)  # type: ignore[arg-type]
    learner, chunk = _in_its_third_task(method, scenario, training)
    tried = f"in the scenario {scenario!r} with {optimizer}"
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:

        def there(value: Any) -> Any:
            return value if not isinstance(value, Tensor) else fake.from_tensor(value.detach().to("meta"))

        _moved(learner, training, there)
        x, y = there(chunk.x), there(chunk.y)
        m = None if chunk.mask is None else there(chunk.mask)
        watched = _Watched()
        try:
            with watched:
                chunk_of_steps(learner, Chunk(x, y, m), 16, 9)
        except DataDependentOutputException as error:
            if method.traits.waits:
                return
            raise LawBroken(
                f"{tried} a step reads a value of the device, for which it waits{where(error)}: no .item(), float(t), `if t > 0` or nonzero, but "
                "torch.where"
            ) from error
        except (RuntimeError, _MixedError) as error:
            raise LawBroken(f"{tried} a step would fail on a GPU: {_plainly(error)}{where(error)}") from error
    if not method.traits.waits and watched.left:
        raise LawBroken(
            f"{tried} a step copies a tensor from the device, for which it waits{watched.left[0]}: no .cpu(), .to('cpu') or .tolist() in a step"
        )


_MIXED = (
    "it mixes devices, as a tensor that it makes is on the CPU; make it with device=t.device of a tensor of the step"
)


def _plainly(error: Exception) -> str:
    """What is wrong, where torch says it in its own terms."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _MIXED if "different devices" in said or "same device" in said else said


def _in_its_third_task(method: Method, scenario: Scenario, training: Training) -> tuple[Learner, Chunk]:
    stream = toy_stream(scenario, tasks=3, examples=64, inputs=method.inputs)
    learner = toy_learner(method, stream, training)
    for task in stream.tasks[:2]:
        if method.traits.once:
            learner.remember(task)
        else:
            learner.learn(task)
    task = stream[2]
    learner.enter(task)
    own = learner.own_examples(task)
    examples = own if "data" not in method.acts else method.data(learner.state, own, learner.past)
    chunk = next(examples.all(32))
    learner.net.train()
    chunk_of_steps(learner, chunk, 16, 9)  # what is found out once is known
    return learner, chunk


def _moved(learner: Learner, training: Training, there: Any) -> None:
    """Puts a learner where `there` puts tensors."""
    for module in learner.net.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(there(p), p.requires_grad)
        for name, b in module._buffers.items():
            module._buffers[name] = there(b)
    active = active_classes(learner.stepper.objective)
    learner.device = torch.device("meta")
    learner.state = state_io.mapped(_single(learner.state), there)
    learner.bind(training.build(learner.net))
    learner.stepper.at(Classification(None if active is None else there(active)))


def _single(state: Any) -> Any:
    """As it would be off the CPU, in single precision."""
    return state_io.mapped(state, lambda t: t.float() if isinstance(t, Tensor) and t.dtype == torch.float64 else t)


class _MixedError(Exception):
    """What no device could do."""


class _Watched(TorchDispatchMode):
    """Notes what leaves the device "meta", and refuses double precision on it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left: list[str] = []  # the lines where something did

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.add_.Tensor and len({t.device for t in _tensors(args) if t.dim()}) > 1:
            raise _MixedError(_MIXED)  # which fake tensors let pass
        found = func(*args, **(kwargs or {}))
        there = [t for t in _tensors((args, kwargs)) if t.device.type == "meta"]
        for t in _tensors(found):
            if t.device.type == "meta" and t.dtype == torch.float64:
                raise _MixedError("it makes float64, which not every device has; make it float32")
            if there and t.device.type == "cpu":
                self.left.append(line_of(_within_the_law()))
        return found


def _within_the_law() -> list[traceback.FrameSummary]:
    """The frames from where a law looks at a step down to here."""
    frames = traceback.extract_stack()
    first = max((i for i, f in enumerate(frames) if f.name == "_one" and f.filename == __file__), default=0)
    return frames[first:]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []
