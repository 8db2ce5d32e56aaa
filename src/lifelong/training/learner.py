"""The loop: a network learns task after task with a method.

`Learner.steps` is the training loop of the whole library. It knows `Method`, never a particular method.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core import state_io
from ..core.contexts import Costs, Spec, TaskContext
from ..core.errors import MethodError
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
from . import evaluation, learner_state, unbounded
from .entering import go_together, known_outputs, learnable, make_room, others_hold, try_on_few, unheld
from .first_batch import Modes, written
from .outputs import Outputs
from .plan import Allowed, Pause, Position, planned, steps_within
from .protected import Learnt, note
from .settings import Training
from .stepper import Held, Stepper
from .task_loop import broken, done, expansion, train

__all__ = ["Learner"]


@final
class Learner:
    """A network, its optimiser, a method, and that method's state.

    Args:
        net: inputs ``[B, ...]`` to logits ``[B, C]``.
        method: the idea against forgetting; default none.
        training: optimiser, epochs, batch size.
        scenario: which outputs compete (see `lifelong.core.stream`).
        seed: of the order of examples and of every draw.
        device, dtype: where and in which precision the network runs.
        optimizer: makes an optimiser of a network, in place of `training`'s.
        cache: bytes that transformed examples may hold.
        grows: give the network more outputs when a task brings classes beyond those it has (scenario "class"); otherwise
            such labels are an error.
        ranks: the processes that learn together, each with a learner like this one and the same tasks: `Ranks.here()`. A step's examples are
            shared out among them.
        known: how many of the network's first outputs stood for something before the first task (a classifier that was trained elsewhere):
            they count as seen, and LwF holds them. Default: as the tasks say (``stream_of(..., classes=[...])``).

    Layers that are in evaluation mode while the network is in training mode stay so, and so do batch norms whose weights are all frozen;
    a network that is in evaluation mode as a whole is taken as one that was just loaded.

    Raises:
        MethodError: the method does not fit the scenario, or does not work on several ranks.
    """

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
        go_together(net, self.method, self.training, scenario, grows, ranks)
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
        self._buffers: dict[str, tuple[int, int]] = {}  # as they were when the task began
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
        outputs = evaluation.width(self, task) if self.spec is None else self.spec.outputs
        return Classification(self.outputs.active(task, outputs, every, self.device))

    # --- learning ---------------------------------------------------------------------------------------------------
    def learn(self, task: Task) -> None:
        """Learns one task."""
        for _ in self.steps(task):
            pass

    def steps(self, task: Task) -> Iterator[Pause]:
        """Learns one task, pausing every thousand examples or so: at a pause the learner may be saved, and a learner
        that was loaded in the middle of a task goes on from there. A task that was left in the middle is gone on with, or ended (`finish`),
        before another begins.

        Raises:
            DataError: labels outside the outputs, inputs that are not finite.
            MethodError: another task was left in the middle; what the method does at the end of a task fails with this network.
            TrainingError: the loss is no number any more.
        """
        began = time.perf_counter()
        self.modes = self.modes.look(self.net)
        if self.at is None:
            with self.own_random():  # a data set may draw
                self.enter(task)
        elif self.at.task != _called(task):
            raise MethodError(
                f"task {self.at.task} was left after step {self.at.step}, and {_called(task)} would be learnt as a part of it: learn the first to "
                "its end, or end it here with learner.finish(task.train)"
            )
        else:
            self.outputs.check(task)
        own = self.own_examples(task)
        examples = own if "data" not in self.method.acts else self.method.data(self.state, own, self.past)
        self.stepper.at(self.objective(task))
        steps = steps_within(self.allowed, self.training, examples, own)
        # what is read once or twice is transformed as it is read; the whole set at once would cost more
        again = steps * self.training.batch_size > 2 * len(examples)
        ready = self.prepared(examples) if again else examples
        assert self.at is not None
        if not self.learnt and not self.at.step and not self.at.round:
            try_on_few(self, own, task)
        unheld(self)
        while True:
            for loss in train(self, ready, steps):
                self.costs.train_seconds += time.perf_counter() - began
                yield Pause(self.at.step, steps, self.at.epoch, loss, "end" if done(self, steps) else "train")
                began = time.perf_counter()
            if self.allowed is not None:
                self.share = self.at.step / max(1, planned(self.training, examples, own))
            context = self.context(ready, task)
            grown = expansion(self, context) if steps and "expand" in self.method.acts else []
            if not grown:
                break
            self.grow(grown)
            self.at = Position(_called(task), round=self.at.round + 1)
        self._leave(task, own, context)
        self.costs.train_seconds += time.perf_counter() - began

    def enter(self, task: Task) -> None:
        now = Vector.of(self.net)
        if [id(t) for t in now.tensors] != [id(t) for t in self.theta.tensors]:
            changed = sorted({*now.names} ^ {*self.theta.names}) or ["replaced"]
            raise MethodError(
                f"the network has other trainable weights than this learner was made with ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}), "
                "and its optimizer and method know nothing of them: freeze or unfreeze before Learner(...) is made"
            )
        self.modes = self.modes.look(self.net)
        learnable(task)
        self.outputs.check(task)
        if self.spec is None:
            others_hold(self)
            self.stepper.init(Spec(task.train.shape, evaluation.width(self, task), self.scenario, self.seed))
            self.outputs.adopt(task, not self.learnt)
            known_outputs(self)
        make_room(self, task)
        assert self.spec is not None
        self.allowed = None
        if self.limit is not None:  # what the end of a task costs is set aside
            until = self.limit - self.ending
            self.allowed = Allowed(until - self.costs.passes, until)
        if self.training.reset_optimizer and self.learnt:
            self.bind(self.make_optimizer(self.net))
        self.outputs.meet(task, self.spec.outputs)
        self.held.generator = generator(self.seed, f"method/{self.learnt}", self.device)
        if "grow" in self.method.acts:
            self.grow(self.method.grow(self.state, self.net, task))
        self.stepper.at(self.objective(task))
        self.stepper.begin(self.context(task.train, task))
        self._buffers = written(self.net)
        self.at = Position(_called(task))

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
            raise broken(self, f"the weights are no finite numbers any more{step}")

    def _leave(self, task: Task, own: Examples, context: TaskContext) -> None:
        self.verify()
        self.moved = [name for name, now in written(self.net).items() if self._buffers.get(name, now) != now]
        before = self.costs.passes
        with self.own_random():
            self.stepper.end(context)
        self.ending = self.costs.passes - before
        self.remember(task)
        self.at = None

    def remember(self, task: Task) -> None:
        """Counts `task` as met: its classes as seen, its examples as past where the method trains on the past."""
        self.outputs.see(task.classes)
        if self.method.traits.rereads:
            self.past.append(self.own_examples(task))
        self.held.learnt += 1
        self.note()

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

    # --- without boundaries -----------------------------------------------------------------------------------------
    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on a batch as it comes, for streams that nobody cuts into tasks; gives its loss. A task begins with the first step,
        with a class that was not met before, and after `finish`.

        Args:
            x: inputs ``[B, ...]`` as a stream has them.
            y: output indices ``[B]``.

        Raises:
            MethodError: the method needs whole tasks; a new class ends a task whose end the method must see (`finish` it).
            DataError, TrainingError: as in `steps`.
        """
        return unbounded.step(self, x, y)

    def finish(self, examples: Examples | None = None) -> None:
        """Ends the task that `step` began or that `steps` left in the middle, if one has begun. `examples` are its own, for a method that looks
        at them once more.

        Raises:
            MethodError: there are none, and the method needs them.
        """
        unbounded.finish(self, examples)

    # --- reading out ------------------------------------------------------------------------------------------------
    def scores(self, x: Tensor, task: Task | None = None) -> Tensor:
        """Scores ``[B, C]`` of raw inputs ``x [B, ...]`` (a tensor or an array); outputs that do not compete have −∞.

        Raises:
            MethodError: no task given where the scenario needs it; no class seen where classes compete.
            DataError: one example alone, without a row for it.
        """
        return evaluation.scores(self, x, task)

    def predict(self, x: Tensor, task: Task | None = None) -> Tensor:
        """The most likely output of each input, ``[B]``."""
        return self.scores(x, task).argmax(1)

    def evaluate(self, tasks: Iterable[Task]) -> list[tuple[float, int, float]]:
        """Accuracy on each task's test examples, how many there are, and the seconds it took. NaN in the scenario
        "class" as long as no class has been seen."""
        return [evaluation.evaluate(self, task) for task in tasks]

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """All that learning has changed: ``tensors`` by name, and ``meta`` that is plain JSON."""
        return learner_state.saved(self)

    def load_state_dict(self, saved: dict[str, Any], past: Iterable[Task] = ()) -> None:
        """Goes back to what `state_dict` gave; where this learner has grown, to a network of its own as it was before. `past` are the tasks met before, for a method that trains on them."""
        learner_state.load(self, saved, past)

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


def _called(task: Task) -> str:
    return f"{task.name!r} of {len(task.train)} examples"


def _itemsize(examples: Examples) -> int:
    x = getattr(examples, "x", None)
    return 4 if x is None else int(x.element_size())
