"""What a learner is made of: a network, its optimiser, a method and what the method holds; and what learning has made of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import state_io
from ..core.contexts import Costs, Spec, TaskContext
from ..core.errors import MethodError, TrainingError
from ..core.errors import warn as issue
from ..core.examples import Cache, Examples
from ..core.growth import Growth, carry_moments
from ..core.method import Method, is_method
from ..core.objective import Classification, Objective, active_classes
from ..core.random import derive, generator
from ..core.ranks import ALONE, Ranks
from ..core.stream import Scenario, Task
from ..core.vector import Vector
from ..nets.growing import grow
from .first_batch import Modes
from .outputs import Outputs, width
from .plan import Allowed, Position, steps_within
from .protected import Learnt, note
from .settings import Training
from .stepper import Held, Stepper

__all__ = ["Learning"]


class Learning:
    """What `lifelong.Learner` is made of, for the modules that do its work; its arguments are explained there. It is not used by itself."""

    def __init__(
        self,
        net: nn.Module,
        method: Method | None = None,
        training: Training | None = None,
        *,
        scenario: Scenario = "class",
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        cache: int = 512 * 2**20,
        grows: bool = False,
        ranks: Ranks = ALONE,
        known: int | None = None,
    ) -> None:
        self.method = is_method(method) if method is not None else Method()
        self.training = training if training is not None else Training()
        _go_together(net, self.method, self.training, scenario, grows, ranks)
        self.scenario: Scenario = scenario
        self.grows = grows
        self.seed = seed
        self.ranks = ranks
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "network"))
            self.net = self.method.network(net).to(device=self.device, dtype=dtype)
        ranks.agree_(list(self.net.state_dict().values()))
        self.make_optimizer = optimizer or self.training.build
        self.initial = copy.deepcopy(self.net.state_dict()) if self.method.traits.restarts else None
        self.prepared = Cache(cache, self.device)
        self.outputs = Outputs(scenario, known)
        self._costs = Costs()
        self.held = Held(self.method, scenario, seed, generator(seed, "method/0", self.device))
        self.bind(self.make_optimizer(self.net))
        self.at: Position | None = None  # within a task
        self.met: list[str] = []  # the tasks learnt, by name and size
        self.saved_as: str | None = None  # which of the learners in folders it is
        self.past: list[Examples] = []  # kept only for a method that trains on them
        self.growth: list[Growth] = []
        self.ungrown: nn.Module | None = None  # as it was before it grew
        self.limit: int | None = None  # passes that the costs may come to when the next task is learnt; None: no limit
        self.share = float("nan")  # of its steps, that the latest task took within its limit
        self.every: int | None = None  # steps between two pauses; None: a thousand examples or so
        self.allowed: Allowed | None = None  # to the present task
        self.ending = 0  # passes that the end of the latest task took
        self.modes = Modes()
        self.random = (
            torch.Generator().manual_seed(derive(seed, "torch")).get_state()
        )  # torch's own, as this learner has it
        self.noted = Learnt(self.method, scenario)
        self._warned: set[str] = set()
        self.buffers: dict[str, tuple[int, int]] = {}  # as they were when the task began
        self.moved: list[str] = []  # the buffers that the last task wrote to

    def bind(self, optimizer: torch.optim.Optimizer) -> None:
        """From now on this optimiser steps the network's present weights."""
        self.optimizer = optimizer
        self.theta = Vector.of(self.net)
        self.stepper = Stepper(self.net, self.theta, optimizer, self.held, Classification(), self.costs, self.ranks)

    # --- what it is -------------------------------------------------------------------------------------------------
    @property
    def state(self) -> Any:
        """The method's state; None before the first task."""
        return self.held.state

    @state.setter
    def state(self, value: Any) -> None:
        self.held.state = value

    @property
    def costs(self) -> Costs:
        """What learning has cost so far. Its steps add to it."""
        return self._costs

    @costs.setter
    def costs(self, value: Costs) -> None:
        self._costs = self.stepper.costs = value
        self.stepper.at(self.stepper.objective)

    @property
    def spec(self) -> Spec | None:
        """What the method was told of the network; None before the first task."""
        return self.held.spec

    @property
    def learnt(self) -> int:
        """How many tasks have been learnt."""
        return self.held.learnt

    @property
    def seen(self) -> tuple[int, ...]:
        """The classes met so far, sorted."""
        return self.outputs.seen

    @property
    def known(self) -> int | None:
        """How many outputs stood for something before the first task; None: the first task will say it."""
        return self.outputs.known

    @property
    def class_names(self) -> tuple[str, ...]:
        """What outputs stand for, as far as the last that a task named or used; one without a name is called by its number."""
        return self.outputs.names

    @property
    def parameters(self) -> int:
        """Weights needed to predict for all tasks learnt so far."""
        return self.method.parameters(self.state, self.net)

    @property
    def memory_bytes(self) -> int:
        """Bytes kept because of past tasks: the method's state, and past examples where it trains on them."""
        examples = sum(
            len(e) * (int(torch.tensor(e.shape).prod()) * _itemsize(e) + e.labels.element_size()) for e in self.past
        )
        return state_io.nbytes(self.state) + examples

    def objective(self, task: Task | None, training: bool = True) -> Objective:
        """What outputs are held to in `task`; in the scenario "task" None is no task."""
        every = training and self.training.outputs == "all"
        needed = (self.scenario == "task" and task is not None) or (self.scenario == "class" and not every)
        if not needed:
            return Classification()
        outputs = self.width(task) if self.spec is None else self.spec.outputs
        return Classification(self.outputs.active(task, outputs, every, self.device))

    def width(self, task: Task | None) -> int:
        """How many outputs the network gives to the inputs of a task."""
        if task is None:
            raise MethodError("the network's outputs are not known before its first task")
        return width(self.net, self.placed(next(task.test.all(2)).x), f"of task {task.name!r}")

    def placed(self, x: Tensor) -> Tensor:
        """Inputs where the network is, in its precision."""
        return x.to(self.device, self.dtype if x.is_floating_point() else None)

    def own_examples(self, task: Task) -> Examples:
        """The task's training examples; where the task is known they know the outputs that are active for them."""
        if self.scenario != "task" or "data" not in self.method.acts:
            return task.train
        return replace(task.train, mask=active_classes(self.objective(task, training=False)))  # type: ignore[type-var]

    def context(self, examples: Examples, task: Task | None) -> TaskContext:
        return TaskContext(
            self.net,
            self.theta,
            examples,
            self.stepper.objective,
            self.learnt + bool(self.known),
            task,
            generator(self.seed, f"edge/{self.learnt}", self.device),
            self.reset,
            self.costs,
            self.seen if self.scenario != "domain" else (),
            steps_within(self.allowed, self.training, examples, examples),
            -(-len(examples) // self.training.batch_size),
            self.ranks,
            known=self.known or 0,
            warn=self.warn,
        )

    # --- what happens to it -----------------------------------------------------------------------------------------
    def reset(self) -> None:
        """Back to the initial network and a new optimiser (for methods that declare `restarts`)."""
        if self.initial is None:
            raise MethodError(f"{self.method.name} resets the network but does not declare `restarts`")
        self.net.load_state_dict(self.initial)
        objective = self.stepper.objective
        self.bind(self.make_optimizer(self.net))
        self.stepper.at(objective)

    def grow(self, operations: Iterable[Growth]) -> None:
        """Enlarges the network: its `grow(operation)` changes it and gives an `IndexMap`, which the optimiser's moments
        and the method's state follow.

        Raises:
            MethodError: the method's state cannot follow.
        """
        operations = list(operations)
        if operations:
            self.stepper.may_grow()
        for operation in operations:
            if self.ungrown is None:
                self.ungrown = copy.deepcopy(self.net)
            old, moments, objective = self.theta, self.optimizer.state_dict(), self.stepper.objective
            mapping = grow(self.net, operation)
            self.net.to(device=self.device, dtype=self.dtype)
            self.bind(self.make_optimizer(self.net))
            self.optimizer.load_state_dict(carry_moments(moments, old, self.theta, mapping))
            if self.initial is not None:
                self.initial = mapping.tensors(self.initial, self.net.state_dict())
            if self.spec is not None and mapping.outputs is not None:
                self.held.spec = replace(self.spec, outputs=mapping.outputs)
            self.stepper.at(objective)
            self.stepper.resize(mapping)
            self.growth.append(operation)

    def note(self) -> None:
        """Notes of the weights that a task has ended."""
        if self.method.acts:
            self.noted.tasks, self.noted.grown = self.learnt, bool(self.growth)
            note(Vector.of(self.net), self.noted)

    def warn(self, text: str) -> None:
        """Warns, once a learner."""
        if text not in self._warned:
            self._warned.add(text)
            issue(text)

    def verify(self) -> None:
        """Raises `TrainingError` where the weights are not finite: such a network is not worth saving."""
        if not all(bool(t.isfinite().all()) for t in self.theta.tensors):
            step = "" if self.at is None else f" after step {self.at.step}"
            raise self.broken(f"the weights are no finite numbers any more{step}")

    def broken(self, what: str) -> TrainingError:
        """The error of a training that came to `what`."""
        return TrainingError(
            f"{what} (task {self.learnt + 1}): lower the learning rate (now {self.training.lr}) or the method's strength "
            f"({self.method}), or look for inputs that are NaN or far too large"
        )

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """torch's own generator (dropout) as this learner has it; the caller's is put back."""
        outer = torch.get_rng_state()
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        torch.set_rng_state(self.random)
        if cuda is not None:
            torch.cuda.manual_seed(derive(self.seed, f"cuda/{self.learnt}/{self.at}"))
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(outer)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda, self.device)


def _go_together(
    net: nn.Module, method: Method, training: Training, scenario: Scenario, grows: bool, ranks: Ranks
) -> None:
    """Raises `MethodError` where these do not go together."""
    method.check(scenario)
    if not isinstance(net, nn.Module):
        raise MethodError(f"net {net!r}: expected a torch.nn.Module, such as MLP((100,))(stream.shape, stream.outputs)")
    if not isinstance(training, Training):
        raise MethodError(f"training {training!r}: expected Training(lr=..., epochs=...)")
    Vector.of(net)  # refuses lazy layers
    method.check_net(net)
    method.check_ranks(ranks)
    if grows and scenario != "class":
        raise MethodError(
            f"outputs grow where classes come unannounced, in the scenario 'class'; this one is {scenario!r}: say grows=False"
        )


def _itemsize(examples: Examples) -> int:
    x = getattr(examples, "x", None)
    return 4 if x is None else int(x.element_size())
