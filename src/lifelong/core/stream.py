"""Tasks in order: what a network learns from, one after another.

A task's inputs stay where they are (one tensor for all tasks that share images); what differs from task to task is a
subset of rows and a vectorised transform. A `Stream` says under which scenario its tasks are read
(van de Ven & Tolias 2019, arXiv 1904.07734):

========  ==========================  =======================================
scenario  at test time                the outputs that compete
========  ==========================  =======================================
task      the task is known           the task's own classes
domain    the task is not known       all; every task has the same classes
class     the task is not known       the classes of all tasks seen so far
========  ==========================  =======================================
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast, final

import torch

from .errors import DataError
from .examples import Examples, in_memory
from .random import generator

__all__ = ["Origin", "Scenario", "Stream", "Task", "remembered"]

Scenario = Literal["task", "domain", "class"]


@final
@dataclass(frozen=True, eq=False)
class Task:
    """One unit of experience: what to train on, what to be tested on, and the outputs its labels use.

    `outputs`: how many outputs a network needs for it, where that is more than its largest class says (its inputs are of a vocabulary that
    the outputs share). `class_names[c]` is what output `c` stands for, where it has a name: its stream's. `known`: the first so many
    outputs stood for something before the stream began.
    """

    name: str
    train: Examples
    test: Examples
    classes: tuple[int, ...]
    index: int = 0
    outputs: int = 0
    class_names: tuple[str, ...] = ()
    known: int = 0


class Origin(NamedTuple):
    """What made a stream: one of the package's own functions, and what it was given."""

    maker: Callable[..., Stream]
    options: Mapping[str, Any]
    order: tuple[int, ...] | None = None  # its tasks in another order


@final
@dataclass(frozen=True, eq=False)
class Stream:
    """Tasks in order, the scenario they are read under, and the outputs a network needs for them.

    `class_names[c]` is what output `c` stands for. `source` names the data that the tasks were made of. A stream that does
    not announce its classes (scenario "class") is met by a network with the first task's outputs, which gets more as they come.
    `known`: the first so many outputs stand for classes that a network has learnt elsewhere, before this stream.
    """

    tasks: tuple[Task, ...]
    scenario: Scenario
    class_names: tuple[str, ...]
    name: str = "own"
    source: str = "own data"
    notes: dict[str, Any] = field(default_factory=dict)  # what a report should know: noise level, angles, ...
    announced: bool = True
    known: int = 0
    origin: Origin | None = field(default=None, init=False, repr=False)  # lost where something is made of the stream

    def __post_init__(self) -> None:
        if self.scenario not in ("task", "domain", "class"):
            raise DataError(
                f"scenario {self.scenario!r}: expected one of 'task' (the task is known at test time), 'domain' (same "
                "classes, other inputs) or 'class' (all classes seen so far compete)"
            )
        if not self.announced and self.scenario != "class":
            raise DataError(
                f"classes come unannounced in the scenario 'class' only, not in {self.scenario!r}: announce them, or say "
                "scenario='class'"
            )
        if not self.tasks:
            raise DataError("a stream needs at least one task; got none")
        tasks = tuple(
            t
            if (t.index, t.class_names, t.known) == (i, self.class_names, self.known)
            else replace(t, index=i, class_names=self.class_names, known=self.known)
            for i, t in enumerate(self.tasks)
        )
        object.__setattr__(self, "tasks", tasks)
        first = self.tasks[0]
        for task in tasks:
            if len(task.train) == 0:
                raise DataError(f"task {task.name!r} has no training examples; remove it or give it data")
            if len(task.test) == 0:
                raise DataError(
                    f"task {task.name!r} has no test examples, so nothing can be measured on it; "
                    "give it some, or let stream_of(data, test=0.2) hold some back"
                )
            if task.train.shape != first.train.shape or task.test.shape != first.train.shape:
                raise DataError(
                    f"task {task.name!r} has inputs of shape {list(task.train.shape)} (train) and "
                    f"{list(task.test.shape)} (test), task {first.name!r} of {list(first.train.shape)}: "
                    "one network needs one input shape; resize or pad them alike"
                )

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, index: int) -> Task:
        return self.tasks[index]

    @property
    def outputs(self) -> int:
        """How many outputs a network for this stream begins with."""
        first = self.tasks[0]
        return len(self.class_names) if self.announced else max(*first.classes, first.outputs - 1) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.tasks[0].train.shape

    @property
    def nbytes(self) -> int:
        """Bytes of inputs and labels held in memory; what tasks share counts once."""
        seen: dict[int, int] = {}
        for task in self.tasks:
            for part in (*in_memory(task.train), *in_memory(task.test)):
                for tensor in (part.x, part.y, part.rows):
                    if tensor is not None:
                        storage = tensor.untyped_storage()
                        seen[storage.data_ptr()] = storage.nbytes()
        return sum(seen.values())

    def reorder(self, order: Sequence[int]) -> Stream:
        """The tasks in another order: a curriculum. `order` is a permutation of ``range(len(self))``."""
        if sorted(order) != list(range(len(self))):
            raise DataError(
                f"order {list(order)}: expected each of 0..{len(self) - 1} once; to leave tasks out: subset"
            )
        found = self.subset(order)
        if self.origin is not None:
            before = self.origin.order or range(len(self))
            _originates(found, self.origin._replace(order=tuple(before[i] for i in order)))
        return found

    def subset(self, indices: Iterable[int]) -> Stream:
        """Some of the tasks, in the order given; outputs stay as they are."""
        chosen = list(indices)
        wrong = [i for i in chosen if not 0 <= i < len(self)]
        if wrong:
            raise DataError(f"no task {wrong[0]}: this stream has tasks 0..{len(self) - 1}")
        return replace(self, tasks=tuple(self.tasks[i] for i in chosen))

    def hold_out(self, fraction: float = 0.1, seed: int = 0) -> Stream:
        """The stream on which constants are chosen: `fraction` of each task's *training* examples, drawn at random,
        is held out and takes the place of the test set, which this stream never touches. Tasks that share their
        examples hold out the same ones, so that none is learnt in another task's guise."""
        if not 0 < fraction < 1:
            raise DataError(f"fraction {fraction}: expected a number between 0 and 1, both excluded")
        tasks = []
        for task in self.tasks:
            order = torch.randperm(len(task.train), generator=generator(seed, "hold out"))
            held = max(1, round(fraction * len(order)))
            if held == len(order):
                raise DataError(f"task {task.name!r} has {len(order)} training examples: too few to hold any out")
            tasks.append(replace(task, train=task.train.subset(order[held:]), test=task.train.subset(order[:held])))
        return replace(self, tasks=tuple(tasks), notes={**self.notes, "held_out": fraction})

    def few(self, examples: int, seed: int = 0) -> Stream:
        """Each task with at most `examples` training examples, drawn at random."""
        if examples < 1:
            raise DataError(f"examples {examples}: expected at least 1 a task")
        tasks = []
        for task in self.tasks:
            order = torch.randperm(len(task.train), generator=generator(seed, f"few/{task.name}"))
            tasks.append(replace(task, train=task.train.subset(order[:examples])))
        return replace(self, tasks=tuple(tasks))


Maker = TypeVar("Maker", bound=Callable[..., Stream])


def remembered(make: Maker) -> Maker:
    """A function whose streams remember that they were made by it, and of what (`Stream.origin`), so that a run can name them."""

    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> Stream:
        stream = make(*args, **kwargs)
        given = dict(inspect.signature(make).bind(*args, **kwargs).arguments)
        if all(_is_plain(value) for value in given.values()):
            _originates(stream, Origin(cast(Any, made), given))
        return stream

    return cast(Maker, made)


def _originates(stream: Stream, origin: Origin) -> None:
    object.__setattr__(stream, "origin", origin)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Path)
