"""The loop: a network learns task after task with a method.

`Learner.steps` is the training loop of the whole library. It knows `Method`, never a particular method.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

from torch import Tensor

from ..core import code
from ..core.contexts import TaskContext
from ..core.errors import MethodError
from ..core.examples import Examples
from ..core.stream import Stream, Task
from . import entering, evaluation, learner_state, unbounded
from .entering import called, try_on_few, unheld
from .first_batch import written
from .learning import Learning
from .plan import Pause, Position, planned, steps_within
from .task_loop import done, expansion, train

__all__ = ["Learner"]


@final
class Learner(Learning):
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
        elif self.at.task != called(task):
            raise MethodError(
                f"task {self.at.task} was left after step {self.at.step}, and {called(task)} would be learnt as a part of it: learn the first to "
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
            self.at = Position(called(task), round=self.at.round + 1)
        self._leave(task, own, context)
        self.costs.train_seconds += time.perf_counter() - began

    def enter(self, task: Task) -> None:
        """Begins a task, before its first step."""
        entering.enter(self, task)

    def _leave(self, task: Task, own: Examples, context: TaskContext) -> None:
        self.verify()
        self.moved = [name for name, now in written(self.net).items() if self.buffers.get(name, now) != now]
        before = self.costs.passes
        with self.own_random():
            self.stepper.end(context)
        self.ending = self.costs.passes - before
        self.remember(task)
        self.at = None

    def remember(self, task: Task) -> None:
        """Counts `task` as met: its classes as seen, its examples as past where the method trains on the past."""
        self.outputs.see(task.classes)
        self.met.append(called(task))
        if self.method.traits.rereads:
            self.past.append(self.own_examples(task))
        self.held.learnt += 1
        self.note()

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
    def save(self, folder: str | Path, stream: Stream) -> None:
        """Writes the learner into a run's folder, as `lifelong.fit` does: ``lifelong export``, ``gate``, ``compare``, ``report`` and ``watch`` take
        it, and ``lifelong resume`` learns what is left of the stream. Saved after each task into the same folder, the rows of the matrix R add up;
        a row at which nobody saved stays empty. A network that was made in Python has no name, by which a command could build it; the command
        says how to name it.

        Args:
            folder: of one stream; other methods and seeds may stand in it.
            stream: the tasks that it learns, in order: those that it has learnt, and those to come.

        Raises:
            MethodError: an optimizer was given in Python; the stream's scenario is another.
            DataError: the stream's first tasks are not those that it has learnt, by names and sizes.
            RunError: the folder holds another run, or another learner of this method and seed; it cannot be written to.
        """
        save = code.load("lifelong.runs.saving:save")  # stands above: by name, as methods and streams are found
        save(self, folder, stream)

    def state_dict(self) -> dict[str, Any]:
        """All that learning has changed: ``tensors`` by name, and ``meta`` that is plain JSON."""
        return learner_state.saved(self)

    def load_state_dict(self, saved: dict[str, Any], past: Iterable[Task] = ()) -> None:
        """Goes back to what `state_dict` gave; where this learner has grown, to a network of its own as it was before. `past` are the tasks met before, for a method that trains on them."""
        learner_state.load(self, saved, past)
