"""The loop: a network learns task after task with a method, and is measured after each.

`Learner.steps` is the training loop of the whole library. It knows `Method`, never a particular method.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from . import tree
from .around import Around
from .beforehand import ended, not_held, try_end
from .digest import constants, differing
from .errors import DataError, MethodError, TrainingError, warn
from .growth import Growth, carry_moments, grow
from .loaders import finite
from .method import Batch, Costs, Edge, Method, Spec, cross_entropy, is_method
from .parts.fisher import evaluating
from .protected import Learnt, by_a_guard, by_a_learner, note
from .random import derive, generator, untouched
from .ranks import ALONE, Ranks
from .sighted import Modes, written
from .stream import Cache, Chunk, Examples, Scenario, Task, Tensors
from .training import Training
from .vector import Vector

__all__ = ["Learner", "Pause"]

CHUNK = (
    1024  # examples fetched at once, and between two pauses: large enough to cost nothing, small enough to stop soon
)
ROWS = 512  # examples evaluated at once
FEW = 8  # examples on which the end of a task is tried
BYTES = 2**26  # of inputs fetched at once, where so many examples would be more


class Pause(NamedTuple):
    """Where training pauses so that others may look, save, or stop."""

    step: int
    steps: int
    epoch: int
    loss: Tensor  # of the last step, on the device
    phase: str  # "train", or "end": all steps are done, the method's `end` is next


@dataclass
class Position:
    """How far the present task has been learnt."""

    task: str = ""  # which
    epoch: int = 0
    chunk: int = 0  # within the epoch
    step: int = 0  # within the task
    round: int = 0  # how often the network was expanded for this task
    cost: int = 0  # passes of its dearest step


class Allowed(NamedTuple):
    """What a task may spend of a budget of compute, in passes of examples forward and backward."""

    passes: int  # by its steps
    until: int  # what the costs may then come to


@final
class Learner:
    """A network, its optimiser, a method, and that method's state.

    Args:
        net: inputs ``[B, ...]`` to logits ``[B, C]``.
        method: the idea against forgetting; default none.
        training: optimiser, epochs, batch size.
        scenario: which outputs compete (see `lifelong.stream`).
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
        self.method.check(scenario)
        if not isinstance(net, nn.Module):
            raise MethodError(
                f"net {net!r}: expected a torch.nn.Module, such as MLP((100,))(stream.shape, stream.outputs)"
            )
        if not isinstance(training, Training | None):
            raise MethodError(f"training {training!r}: expected Training(lr=..., epochs=...)")
        ranks.check(self.method)
        self.training = training if training is not None else Training()
        if grows and scenario != "class":
            raise MethodError(
                f"outputs grow where classes come unannounced, in the scenario 'class'; this one is {scenario!r}: say "
                "grows=False"
            )
        self.scenario: Scenario = scenario
        self.grows = grows
        self.seed = seed
        self.ranks = ranks
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "network"))
            self.net = self.method.network(net).to(device=self.device, dtype=dtype)
        ranks.agree_(list(self.net.state_dict().values()))
        self._make_optimizer = optimizer or self.training.build
        self.optimizer = self._make_optimizer(self.net)
        self._initial = copy.deepcopy(self.net.state_dict()) if self.method.restarts else None
        self.prepared = Cache(cache, self.device)
        self.known = known  # outputs; None: the tasks say it
        self._modes = Modes()
        self._said: set[str] = set()
        self._buffers: dict[str, tuple[int, int]] = {}  # as they were when the task began
        self._moved: list[str] = []  # the buffers that the last task wrote to
        self.spec: Spec | None = None  # known when the first task comes
        self.theta = Vector.of(self.net)
        self.state: Any = None
        self.learnt = 0  # tasks
        self._held = Learnt(self.method, scenario)
        self.seen: tuple[int, ...] = tuple(range(known or 0)) if scenario != "domain" else ()  # classes, sorted
        self._names: dict[int, str] = {}  # what outputs stand for, as the tasks say
        self.at: Position | None = None  # within a task
        self.past: list[Examples] = []  # kept only for a method that trains on them
        self.growth: list[Growth] = []
        self.limit: int | None = None  # passes that the costs may come to when the next task is learnt; None: no limit
        self.share = float("nan")  # of its steps, that the latest task took within its limit
        self._allowed: Allowed | None = None  # to the present task
        self._ending = 0  # passes that the end of the latest task took
        self.every: int | None = None  # steps between two pauses; None: a thousand examples or so
        self._ungrown: nn.Module | None = None  # as it was before it grew
        self.costs = Costs()
        self._random = _torch_state_of(derive(seed, "torch"))  # torch's own generator, as this learner has it
        self._draws = generator(seed, "method/0", self.device)

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
        self._modes = self._modes.look(self.net)
        if self.at is None:
            with self._own_random():  # a data set may draw
                self._enter(task)
        elif self.at.task != _called(task):
            raise MethodError(
                f"task {self.at.task} was left after step {self.at.step}, and {_called(task)} would be learnt as a part of it: learn the first to "
                "its end, or end it here with learner.finish(task.train)"
            )
        else:
            self._same_classes(task)
        own = self._own(task)
        examples = own if "data" not in self.method.acts else self.method.data(self.state, own, self.past)
        mask = self._mask(task)
        steps = self._steps(examples, own)
        # what is read once or twice is transformed as it is read; the whole set at once would cost more
        again = steps * self.training.batch_size > 2 * len(examples)
        ready = self.prepared(examples) if again else examples
        assert self.at is not None
        if not self.learnt and not self.at.step and not self.at.round:
            self._try(own, mask, task)
        self._heed()
        while True:
            for loss in self._train(ready, mask, steps):
                self.costs.train_seconds += time.perf_counter() - began
                yield Pause(self.at.step, steps, self.at.epoch, loss, "end" if self._done(steps) else "train")
                began = time.perf_counter()
            if self._allowed is not None:
                self.share = self.at.step / max(1, self._planned(examples, own))
            edge = self._edge(ready, mask, task)
            grown = self._expand(edge) if steps and "expand" in self.method.acts else []
            if not grown:
                break
            self._grow(grown)
            self.at = Position(_called(task), round=self.at.round + 1)
        self._leave(task, own, edge)
        self.costs.train_seconds += time.perf_counter() - began

    def _enter(self, task: Task) -> None:
        now = Vector.of(self.net)
        if [id(t) for t in now.tensors] != [id(t) for t in self.theta.tensors]:
            changed = sorted({*now.names} ^ {*self.theta.names}) or ["replaced"]
            raise MethodError(
                f"the network has other trainable weights than this learner was made with ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}), "
                "and its optimizer and method know nothing of them: freeze or unfreeze before Learner(...) is made"
            )
        self._modes = self._modes.look(self.net)
        self._check(task)
        self._same_classes(task)
        if self.spec is None:
            self._alone()
            self.spec = Spec(task.train.shape, self._width(task), self.scenario, self.seed)
            self.state = self.method.init(self.theta, self.spec)
            self._knows(task)
            self._holds_known()
        labels = task.train.labels
        low, high = int(labels.min()), max(int(labels.max()), task.outputs - 1)
        if self.grows and high >= self.spec.outputs and low >= 0:
            seed = derive(self.seed, f"outputs/{high + 1}")
            self._grow([Growth("outputs", size=high + 1, seed=seed)])
            if self._width(task) != high + 1:
                raise MethodError(
                    f"the network's last linear layer got {high + 1} outputs, and the network gives {self._width(task)}: name the layer that decides "
                    "(net.head), or give the network its own grow(operation)"
                )
        if low < 0 or high >= self.spec.outputs:
            raise DataError(
                f"task {task.name!r} has labels {low}..{high}, the network has outputs 0..{self.spec.outputs - 1}: "
                "give the network more outputs, let it grow them (grows=True), or number the classes from 0"
            )
        self._allowed = None
        if self.limit is not None:  # what the end of a task costs is set aside
            until = self.limit - self._ending
            self._allowed = Allowed(until - self.costs.passes, until)
        if self.training.reset_optimizer and self.learnt:
            self.optimizer = self._make_optimizer(self.net)
        learnt = {c: name for c, name in self._names.items() if c in self.seen}
        self._names |= dict(enumerate(task.class_names[: self.spec.outputs])) | learnt
        self.seen = tuple(sorted({*self.seen, *task.classes}))
        self._draws = generator(self.seed, f"method/{self.learnt}", self.device)
        if "grow" in self.method.acts:
            self._grow(self.method.grow(self.state, self.net, task))
        if "begin" in self.method.acts:
            with torch.no_grad():
                self.state = self.method.begin(self.state, self._edge(task.train, self._mask(task), task))
        self._buffers = written(self.net)
        self.at = Position(_called(task))

    def _alone(self) -> None:
        """Reports what a learner or a guard before holds of these weights, and this one does not."""
        if not self.method.acts:
            return
        guarded, learnt = by_a_guard(self.theta), by_a_learner(self.theta, self._held)
        if guarded is not None:
            self._say(
                f"a guard of this network holds {guarded.learnt} task(s) with {guarded.method.name}, and this learner holds none of them: go on in the "
                "loop that is guarded, or guard.remove() first"
            )
        elif learnt is not None:
            alike = (learnt.method, learnt.scenario) == (self.method, self.scenario) and not learnt.grown
            self._say(
                f"an earlier learner of this network holds {learnt.tasks} task(s) with {learnt.method.name}, and this learner holds none of them: let "
                "the earlier one learn the next task too"
                + (", or learner.load_state_dict(earlier.state_dict()) carries on" if alike else "")
            )

    def _note(self) -> None:
        """A task has ended."""
        if self.method.acts:
            self._held.tasks, self._held.grown = self.learnt, bool(self.growth)
            note(Vector.of(self.net), self._held)

    def _knows(self, task: Task) -> None:
        """Counts outputs that stood for something before the first task as seen."""
        if self.known is None:
            self.known = task.known
            if self.scenario != "domain" and not self.learnt:
                self.seen = tuple(range(self.known))

    def _holds_known(self) -> None:
        """What a method cannot hold of them is refused or reported."""
        assert self.spec is not None
        if not self.known:
            return
        if self.known > self.spec.outputs:
            raise DataError(
                f"{self.known} outputs are said to be known from before, and the network has {self.spec.outputs}: give it the network that knows them"
            )
        if self.method.adopts:
            return
        if "predict" in self.method.acts or self.method.restarts or self.method.rests:
            raise MethodError(
                f"{self.method.name} answers from the tasks that it has met itself, and {self.known} outputs of this network were learnt elsewhere: "
                "learn their examples as a first task, or use lwf, which holds them without examples"
            )
        self._say(
            f"{self.method.name} holds nothing of the {self.known} outputs that the network knew before, as it has met no examples of them: learn "
            "some as a first task, or use lwf, which holds them without examples"
        )

    def _say(self, text: str) -> None:
        """Warns, once a learner."""
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def _try(self, own: Examples, mask: Tensor | None, task: Task | None) -> None:
        """The end of a task on a few examples and a copy of the network, before the first is learnt: what cannot be is said now. A method with
        a loop of its own may need more examples than a few, and is not tried."""
        if "end" not in self.method.acts or not self.method.portable:
            return
        try:
            net = copy.deepcopy(self.net)
        except (RuntimeError, TypeError):  # some networks have no copy
            return
        with untouched():
            chunk = next(own.subset(torch.arange(min(FEW, len(own)))).all())
        few = Tensors(chunk.x, chunk.y, mask=chunk.mask)
        edge = self._edge(few, mask, None if task is None else replace(task, train=few))
        try_end(
            self.method,
            self.state,
            replace(edge, net=net, theta=Vector.of(net), count=len(own), ranks=ALONE),
            self._say,
        )

    def _heed(self) -> None:
        """Reports what a penalty does not hold."""
        if self.learnt and self.method.penalises:
            with self._modes.training(self.net):
                missed = not_held(self.method, self.net, self._moved)
            for text in missed:
                self._say(text)

    def _train(self, examples: Examples, mask: Tensor | None, steps: int) -> Iterator[Tensor]:
        """Runs the present task's steps from where it stands, a chunk at a time."""
        assert self.at is not None
        size = self.training.batch_size
        rows = size * (self.every or max(1, self._rows(CHUNK) // size))
        loss = torch.zeros((), device=self.device)
        while not self._done(steps):
            name = f"order/{self.learnt}/{self.at.round}/{self.at.epoch}"
            order = torch.randperm(len(examples), generator=generator(self.seed, name))
            self._halve()
            bad = torch.full((2,), -1, device=self.device)  # the steps of the first chunk whose loss is no number
            chunks = examples.chunks(order[self.at.chunk * rows :], rows)
            while True:
                with self._own_random():  # around the reading as well: a data set may draw
                    chunk = next(chunks, None)
                    if chunk is None:
                        break
                    self._modes = self._modes.look(self.net)
                    with self._modes.training(self.net), _enough(f"{len(examples)} examples in batches of {size}"):
                        loss, done = self._chunk(chunk, mask, size, steps - self.at.step)
                steps_there = torch.tensor([self.at.step + 1, self.at.step + done], device=self.device)
                bad = torch.where(loss.isfinite() | (bad[0] >= 0), bad, steps_there)
                self.at.step += done
                self.at.chunk += 1
                if self._done(steps) or self.at.chunk * rows >= len(order):
                    break
                yield loss
            self.at.epoch, self.at.chunk = self.at.epoch + 1, 0
            first, last = bad.tolist()
            if self.ranks.total(int(first >= 0)):
                where = f"in steps {first} to {last} of {steps}" if first >= 0 else "on another rank"
                raise self._broken(f"the loss is no finite number {where}")
            yield loss

    def _broken(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} (task {self.learnt + 1}): lower the learning rate (now {self.training.lr}) or the method's strength "
            f"({self.method}), or look for inputs that are NaN or far too large"
        )

    def verify(self) -> None:
        """Raises `TrainingError` where the weights are not finite: such a network is not worth saving."""
        if not all(bool(t.isfinite().all()) for t in self.theta.tensors):
            step = "" if self.at is None else f" after step {self.at.step}"
            raise self._broken(f"the weights are no finite numbers any more{step}")

    def _done(self, steps: int) -> bool:
        assert self.at is not None
        return self.at.step >= steps or (self.at.step > 0 and self._spent())

    def _spent(self) -> bool:
        """Whether one more step would cost more than the task is allowed."""
        assert self.at is not None
        return self._allowed is not None and self.costs.passes + self.at.cost > self._allowed.until

    def _halve(self) -> None:
        """The learning rate of the present epoch."""
        if self.training.halve_every is not None:
            assert self.at is not None
            for group in self.optimizer.param_groups:
                first = group.setdefault("initial_lr", group["lr"])  # the name that torch's schedulers use
                group["lr"] = first * 0.5 ** (self.at.epoch // self.training.halve_every)

    def _chunk(self, chunk: Chunk, mask: Tensor | None, size: int, most: int) -> tuple[Tensor, int]:
        """One step for each batch of `chunk`, at most `most`; gives the last loss and how many steps were taken."""
        assert self.at is not None
        net, method, slots, optimizer = self.net, self.method, self.method.acts, self.optimizer
        around = Around(method, net, self.theta, optimizer, self.costs, self.ranks)
        together = self.ranks.world > 1
        mixes, observes = "examples" in slots, "observe" in slots
        claims, adds = "criterion" in slots, "loss" in slots
        clip, params = self.training.clip, self.theta.tensors
        x = self._input(chunk.x)
        y = chunk.y.to(self.device)
        masks: Sequence[Tensor | None]
        if chunk.mask is None or chunk.mask.dim() == 1:
            masks = [mask if chunk.mask is None else chunk.mask] * -(-len(y) // size)
        else:
            masks = chunk.mask.to(self.device).split(size)
        done = 0
        loss = torch.zeros(())
        for bx, by, bm in zip(x.split(size), y.split(size), masks):
            own = batch = Batch(bx, by, bm)
            before = self.costs.passes
            if mixes:
                batch = method.examples(self.state, net, batch, self._draws)
            if together:
                mixed, batch = batch, batch.cut(len(by), self.ranks)
            output = net(batch.x)
            loss = method.criterion(self.state, net, batch, output) if claims else cross_entropy(output, batch)
            if adds:
                loss = loss + method.loss(self.state, net, batch, output)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if together and batch is not mixed:
                self.ranks.mean_([p.grad for p in params if p.grad is not None])
            around.before(self.state)
            if clip is not None:
                nn.utils.clip_grad_norm_(params, clip)
            optimizer.step()
            self.state = around.after(self.state)
            if observes:
                answered = output.detach()[: len(own.y)]
                if together and batch is not mixed:
                    [answered] = self.ranks.gather(answered[: len(own.y) // self.ranks.world])
                with torch.no_grad():
                    self.state = method.observe(self.state, own, answered, self._draws)
            forward, backward = method.aside(self.state, len(own.y), len(batch.y)) if "aside" in slots else (0, 0)
            self.costs.forward += len(batch.y) + forward
            self.costs.backward += len(batch.y) + backward
            done += 1
            self.at.cost = max(self.at.cost, self.costs.passes - before)
            if done == most or self._spent():
                break
        return loss.detach(), done

    def _expand(self, edge: Edge) -> list[Growth]:
        correct, n = 0, 0
        with self._own_random():  # a data set may draw
            for chunk in edge.examples.all(self._rows(ROWS)):
                # of the network that learns, whatever answers when it is done
                mask = edge.mask if chunk.mask is None else chunk.mask
                scores = self._scores(chunk.x, mask, None, answers=False)
                correct, n = correct + int((scores.argmax(1) == chunk.y.to(self.device)).sum()), n + len(chunk.y)
        self.costs.forward += n
        with torch.no_grad():
            return self.method.expand(self.state, edge, correct / n)

    def _leave(self, task: Task, own: Examples, edge: Edge) -> None:
        self.verify()
        self._moved = [name for name, now in written(self.net).items() if self._buffers.get(name, now) != now]
        before = self.costs.passes
        if "end" in self.method.acts:
            with torch.no_grad(), self._own_random():
                self.state = ended(self.method, self.state, edge)
        self._ending = self.costs.passes - before
        self.remember(task)
        self.at = None

    def remember(self, task: Task) -> None:
        """Counts `task` as met: its classes as seen, its examples as past where the method trains on the past."""
        self.seen = tuple(sorted({*self.seen, *task.classes}))
        if self.method.rereads:
            self.past.append(self._own(task))
        self.learnt += 1
        self._note()

    def _own(self, task: Task) -> Examples:
        """The task's training examples; where the task is known they know the outputs that compete for them."""
        if self.scenario != "task" or "data" not in self.method.acts:
            return task.train
        return replace(task.train, mask=self._mask(task))  # type: ignore[type-var]

    def _planned(self, examples: Examples, own: Examples) -> int:
        if not len(examples):
            return 0  # a method may keep a task's examples for later
        if self.training.iterations is None:
            return self.training.epochs * -(-len(examples) // self.training.batch_size)
        return round(self.training.iterations * max(1.0, len(examples) / len(own)))

    def _steps(self, examples: Examples, own: Examples) -> int:
        """Steps of the present task, as many as its share of a budget allows where each example passes once forward and once back; a method
        for which a step costs more ends sooner. One step is always taken."""
        steps, n, size = self._planned(examples, own), len(examples), self.training.batch_size
        if self._allowed is None or not steps:
            return steps
        epochs, rest = divmod(max(0, self._allowed.passes), 2 * n)
        return min(steps, max(1, epochs * -(-n // size) + rest // (2 * size)))

    def _edge(self, examples: Examples, mask: Tensor | None, task: Task | None) -> Edge:
        draws = generator(self.seed, f"edge/{self.learnt}", self.device)
        seen = self.seen if self.scenario != "domain" else ()
        steps, epoch = self._steps(examples, examples), -(-len(examples) // self.training.batch_size)
        return Edge(
            self.net,
            self.theta,
            examples,
            mask,
            self.learnt + bool(self.known),
            task,
            draws,
            self.reset,
            self.costs,
            seen,
            steps,
            epoch,
            self.ranks,
            known=self.known or 0,
            say=self._say,
        )

    def reset(self) -> None:
        """Back to the initial network and a new optimiser (for methods that declare `restarts`)."""
        if self._initial is None:
            raise MethodError(f"{self.method.name} resets the network but does not declare `restarts`")
        self.net.load_state_dict(self._initial)
        self.optimizer = self._make_optimizer(self.net)

    def _grow(self, operations: Iterable[Growth]) -> None:
        """Enlarges the network: its `grow(operation)` changes it and gives an `IndexMap`, which the optimiser's moments
        and the method's state follow."""
        for operation in operations:
            if self._ungrown is None:
                self._ungrown = copy.deepcopy(self.net)
            old, moments = self.theta, self.optimizer.state_dict()
            mapping = grow(self.net, operation)
            self.net.to(device=self.device, dtype=self.dtype)
            self.theta = Vector.of(self.net)
            self.optimizer = self._make_optimizer(self.net)
            self.optimizer.load_state_dict(carry_moments(moments, old, self.theta, mapping))
            if self._initial is not None:
                self._initial = mapping.tensors(self._initial, self.net.state_dict())
            if self.spec is not None and mapping.outputs is not None:
                self.spec = replace(self.spec, outputs=mapping.outputs)
            if self.state is not None and "resize" in self.method.acts:
                self.state = self.method.resize(self.state, mapping, self.theta)
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
        if not self.method.portable or self.scenario == "task":
            what = f"{self.method.name} needs" if not self.method.portable else "the scenario 'task' has"
            raise MethodError(
                f"{what} whole tasks, and a step knows of none: learn(task), or choose a method that learns from each batch as it comes"
            )
        began = time.perf_counter()
        x, y = torch.as_tensor(x), torch.as_tensor(y)
        if y.dim() != 1 or len(x) != len(y) or y.is_floating_point():
            raise DataError(
                f"inputs {list(x.shape)} and labels {y.dtype} {list(y.shape)}: expected one class index an example, [B]"
            )
        finite(x, "this batch")
        batch, classes = Tensors(x, y), tuple(sorted(set(y.tolist())))
        if self.at is not None and self.scenario == "class" and not set(classes) <= set(self.seen):
            self.finish()
        with self._own_random():
            if self.at is None:
                self._enter(Task(f"task {self.learnt + 1}", batch, batch, classes))
                if not self.learnt:
                    self._try(batch, self._mask(None), None)
            assert self.at is not None
            self._modes = self._modes.look(self.net)
            with self._modes.training(self.net), _enough("one step on one example"):
                loss, _ = self._chunk(next(batch.all(len(y))), self._mask(None), len(y), 1)
        self.at.step += 1
        if self.at.step % CHUNK == 0 and not bool(loss.isfinite()):
            raise TrainingError(
                f"the loss is {float(loss)}: lower the learning rate (now {self.training.lr}), or scale the inputs"
            )
        self.costs.train_seconds += time.perf_counter() - began
        return loss

    def finish(self, examples: Examples | None = None) -> None:
        """Ends the task that `step` began or that `steps` left in the middle, if one has begun. `examples` are its own, for a method that looks
        at them once more.

        Raises:
            MethodError: there are none, and the method needs them.
        """
        if self.at is None:
            return
        if "end" in self.method.acts:
            if examples is None:
                raise MethodError(
                    f"{self.method.name} looks at a task's examples when it ends: finish(examples), or choose a method that does not"
                )
            with torch.no_grad(), self._own_random():
                self.state = ended(self.method, self.state, self._edge(examples, self._mask(None), None))
        self.learnt += 1
        self.at = None
        self._note()

    # --- reading out ------------------------------------------------------------------------------------------------
    def scores(self, x: Tensor, task: Task | None = None) -> Tensor:
        """Scores ``[B, C]`` of raw inputs ``x [B, ...]`` (a tensor or an array); outputs that do not compete have −∞.

        Raises:
            MethodError: no task given where the scenario needs it; no class seen where classes compete.
            DataError: one example alone, without a row for it.
        """
        if self.scenario == "task" and task is None:
            raise MethodError("the scenario 'task' needs to know the task: predict(x, task)")
        if self.scenario == "class" and not self.seen:
            raise MethodError("no class has been seen yet: learn a task first")
        x = torch.as_tensor(x)
        if self.spec is None and task is None:  # what the network knew before its first task
            some = Tensors(x, torch.zeros(len(x), dtype=torch.int64))
            task = Task("", some, some, self.seen)
        mask = None if task is None and self.scenario == "domain" else self._mask(task, training=False)
        if self.spec is not None and x.shape == self.spec.shape:
            raise DataError(f"expected inputs [B, ...], got one of {list(x.shape)}: give it a row of its own, x[None]")
        x = x.float().div(255) if x.dtype == torch.uint8 else x
        return self._scores(x, mask, None if task is None else task.index)

    def predict(self, x: Tensor, task: Task | None = None) -> Tensor:
        """The most likely output of each input, ``[B]``."""
        return self.scores(x, task).argmax(1)

    def evaluate(self, tasks: Iterable[Task]) -> list[tuple[float, int, float]]:
        """Accuracy on each task's test examples, how many there are, and the seconds it took. NaN in the scenario
        "class" as long as no class has been seen."""
        return [self._evaluate(task) for task in tasks]

    def _evaluate(self, task: Task) -> tuple[float, int, float]:
        began = time.perf_counter()
        self._same_classes(task)
        self._knows(task)
        n = len(task.test)
        if self.scenario == "class" and not self.seen:
            return float("nan"), n, 0.0
        mask = self._mask(task, training=False)
        correct = torch.zeros(2, dtype=torch.int64, device=self.device)  # and how many have no answer
        for chunk in self.prepared(task.test).all(self._rows(ROWS, task)):
            scores = self._scores(chunk.x, mask, task.index)
            right, none = scores.argmax(1) == chunk.y.to(self.device), scores.isnan().any(1)
            correct += torch.stack([right.sum(), none.sum()])
        right, none = correct.tolist()
        if none:
            raise DataError(
                f"{none} of the {n} test examples of task {task.name!r} get scores that are NaN: look for NaN among their inputs"
            )
        accuracy = right / n
        seconds = time.perf_counter() - began
        self.costs.eval_seconds += seconds
        return accuracy, n, seconds

    @torch.no_grad()
    def _scores(self, x: Tensor, mask: Tensor | None, task: int | None, answers: bool = True) -> Tensor:
        with evaluating(self.net):
            if answers and "predict" in self.method.acts:
                told = task if self.scenario == "task" or self.method.oracle else None
                scores = self.method.predict(self.state, self.net, self._input(x), told)
            else:
                scores = _logits(self.net(self._input(x)))
        return scores if mask is None else scores.masked_fill(~mask, float("-inf"))

    # --- what is derived --------------------------------------------------------------------------------------------
    def _mask(self, task: Task | None, training: bool = True) -> Tensor | None:
        """The outputs that compete, ``[C]``; None: all."""
        if self.scenario == "task" and task is not None:
            classes: Sequence[int] = task.classes
        elif self.scenario == "class" and not (training and self.training.outputs == "all"):
            classes = self.seen
        else:
            return None
        outputs = self._width(task) if self.spec is None else self.spec.outputs
        if len(classes) == outputs:
            return None
        mask = torch.zeros(outputs, dtype=torch.bool, device=self.device)
        mask[list(classes)] = True
        return mask

    def _rows(self, most: int, task: Task | None = None) -> int:
        """How many examples are fetched at once: `most`, or fewer where they are large."""
        shape = self.spec.shape if self.spec is not None else () if task is None else task.test.shape
        return min(most, max(1, BYTES // (4 * max(1, math.prod(shape)))))

    def _input(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else None)

    def _width(self, task: Task | None) -> int:
        if task is None:
            raise MethodError("the network's outputs are not known before its first task")
        x = self._input(next(task.test.all(2)).x)
        try:
            with torch.no_grad(), evaluating(self.net):
                output = self.net(x)
        except (RuntimeError, IndexError, ValueError) as error:
            numbers = "" if x.is_floating_point() else "; layers of weights take x.float(), an embedding takes indices"
            raise MethodError(
                f"the network cannot take the inputs of task {task.name!r}, {x.dtype} {list(x.shape[1:])} each "
                f"({str(error).splitlines()[0]}){numbers}"
            ) from error
        return int(_logits(output).shape[1])

    @staticmethod
    def _check(task: Task) -> None:
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

    @property
    def class_names(self) -> tuple[str, ...]:
        """What outputs stand for, as far as the last that a task named or used; one without a name is called by its number."""
        return tuple(self._names.get(c, f"class {c}") for c in range(max([-1, *self._names, *self.seen]) + 1))

    def _same_classes(self, task: Task) -> None:
        """A stream made of new data alone would number its classes from 0 again. In the scenario "domain" an output may stand for other things
        in other tasks, but not two outputs for each other's."""
        names = task.class_names
        number = {name: c for c, name in self._names.items() if c in self.seen}
        for c in task.classes:
            if c >= len(names):
                continue
            k = number.get(names[c], c)
            if k != c and names[k : k + 1] != (names[c],):
                what = f"which this network learnt as class {k}"
            elif c in self.seen and self.scenario != "domain" and self._names.get(c, names[c]) != names[c]:
                what = f"which this network learnt as {self._names[c]!r}"
            else:
                continue
            raise DataError(
                f"task {task.name!r} calls class {c} {names[c]!r}, {what}: number the new data's classes after those it knows, with "
                "stream_of(..., classes=learner.class_names); where they are meant to be one, replace(task, class_names=())"
            )

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
        return tree.nbytes(self.state) + examples

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """All that learning has changed: ``tensors`` by name, and ``meta`` that is plain JSON."""
        parts = {
            "net": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
            "random": self._random,
            "draws": self._draws,
            "initial": self._initial,
        }
        tensors: dict[str, Tensor] = {}
        meta: dict[str, Any] = {}
        for key, value in parts.items():
            found, meta[key] = tree.split(value, key)
            tensors |= found
        meta |= {
            "method": self.method.name,
            "constants": constants(self.method),
            "scenario": self.scenario,
            "spec": None if self.spec is None else asdict(self.spec),
            "learnt": self.learnt,
            "seen": list(self.seen),
            "known": self.known,
            "resting": sorted(self._modes.kept),
            "names": list(self._names.items()),
            "at": None if self.at is None else asdict(self.at),
            "growth": [asdict(g) for g in self.growth],
            "costs": asdict(self.costs),
            "allowed": self._allowed,
            "ending": self._ending,
        }
        return {"tensors": {k: v.detach().clone() for k, v in tensors.items()}, "meta": meta}

    def load_state_dict(self, saved: dict[str, Any], past: Iterable[Task] = ()) -> None:
        """Goes back to what `state_dict` gave; where this learner has grown, to a network of its own as it was before. `past` are the tasks met before, for a method that trains on them."""
        meta = saved["meta"]
        tensors = {k: v.clone() for k, v in saved["tensors"].items()}  # learning writes into them
        if meta["method"] != self.method.name:
            raise MethodError(
                f"this was saved by the method {meta['method']!r}, not {self.method.name!r}: build the learner with that"
            )
        others = differing(meta.get("constants"), constants(self.method))
        others += differing({"scenario": meta.get("scenario", self.scenario)}, {"scenario": self.scenario})
        if others:
            raise MethodError(f"this was saved by a learner with {'; '.join(others)}: build the learner as it was")
        growth = tree.join(list[Growth], meta["growth"], {}, "growth")
        trained = tree.join(dict[str, Tensor], meta["net"], tensors, "net")
        self._fits(growth, trained)
        if self._ungrown is not None:
            self.net = copy.deepcopy(self._ungrown)
        if growth and self._ungrown is None:
            self._ungrown = copy.deepcopy(self.net)
        self.growth = growth
        for operation in self.growth:
            grow(self.net, operation)
        self.net.to(device=self.device, dtype=self.dtype)
        self.net.load_state_dict(trained)
        self.theta = Vector.of(self.net)
        self.optimizer = self._make_optimizer(self.net)
        optimizer = dict(meta["optimizer"]["items"])
        self.optimizer.load_state_dict(
            {
                "state": tree.join(dict[int, dict[str, Any]], optimizer["state"], tensors, "optimizer"),
                "param_groups": tree.join(list[dict[str, Any]], optimizer["param_groups"], tensors, "optimizer"),
            }
        )
        self.spec = None
        if meta["spec"] is not None:
            self.spec = tree.join(Spec, meta["spec"], {}, "spec")
        self.state = None
        if self.spec is not None:
            self.state = tree.join(self.method.state_type, meta["state"], tensors, "state")
            self.state = self.method.placed(self.state, self.theta.tensors[0])
        self._initial = None
        if meta["initial"] is not None:
            self._initial = tree.join(dict[str, Tensor], meta["initial"], tensors, "initial")
        self._random = tensors["random"]
        self._draws = torch.Generator(device=self.device)
        self._draws.set_state(tensors["draws"])
        self.learnt, self.seen = tree.join(tuple[int, tuple[int, ...]], [meta["learnt"], meta["seen"]], {}, "tasks")
        self.at = tree.join(Position | None, meta["at"], {}, "at")
        self.known = tree.join(int | None, meta.get("known"), {}, "known")
        if self.learnt:
            self._note()
        kept = set(tree.join(list[str], meta.get("resting", []), {}, "resting"))
        for name, module in self.net.named_modules():
            if name in kept:
                module.training = False
        self._modes = Modes(frozenset(kept))
        self.costs = tree.join(Costs, meta["costs"], {}, "costs")
        places = [] if self.at is None else [v for v in asdict(self.at).values() if isinstance(v, int)]
        counts = [self.learnt, *self.seen, *places]
        if min(counts) < 0 or (self.spec is not None and max((0, *self.seen)) >= self.spec.outputs):
            raise ValueError(f"tasks, classes and places {counts} are none of this network")
        self._names = {int(c): str(name) for c, name in meta.get("names", ())}
        self._allowed = None if meta.get("allowed") is None else Allowed(*meta["allowed"])
        self._ending = meta.get("ending", 0)
        self.past = []
        if self.method.rereads:
            self.past = [self._own(task) for task in past]
            if len(self.past) != self.learnt:
                raise MethodError(
                    f"{self.method.name} trains on past tasks: load_state_dict needs the {self.learnt} met so far, got "
                    f"{len(self.past)}"
                )

    def _fits(self, growth: Sequence[Growth], trained: dict[str, Tensor]) -> None:
        """Whether this learner's network, grown so, has weights like these; nothing is changed."""
        mend = "build the learner with the network as it was first built, with the outputs that it had then even if it has grown since"
        net = self.net if self._ungrown is None else self._ungrown
        if growth:
            net = copy.deepcopy(net)
            for operation in growth:
                try:
                    grow(net, operation)
                except MethodError as error:
                    raise MethodError(f"what was saved has grown as this network cannot ({error}): {mend}") from error
        own = {name: list(t.shape) for name, t in net.state_dict().items()}
        saved = {name: list(t.shape) for name, t in trained.items()}
        for name in (*saved, *own):
            if own.get(name) != saved.get(name):
                there, here = (shapes.get(name, "missing") for shapes in (saved, own))
                raise MethodError(f"this was saved by another network ({name}: {there} there, {here} here): {mend}")

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """torch's own generator (dropout) as this learner has it; the caller's is put back."""
        outer = torch.get_rng_state()
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        torch.set_rng_state(self._random)
        if cuda is not None:
            torch.cuda.manual_seed(derive(self.seed, f"cuda/{self.learnt}/{self.at}"))
        try:
            yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(outer)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda, self.device)


def _logits(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() != 2:
        got = f"shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise MethodError(f"the network must give logits [B, C]; got {got}: wrap it so that it does")
    return output


def _called(task: Task) -> str:
    return f"{task.name!r} of {len(task.train)} examples"


def _torch_state_of(seed: int) -> Tensor:
    return torch.Generator().manual_seed(seed).get_state()


def _itemsize(examples: Examples) -> int:
    x = getattr(examples, "x", None)
    return 4 if x is None else int(x.element_size())


@contextmanager
def _enough(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"batch norm cannot train on a batch of one ({what}): choose another batch_size, or leave an example out"
        ) from error
