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

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .errors import DataError
from .random import generator
from .ranks import Ranks

__all__ = ["Cache", "Chunk", "Examples", "Joined", "Lazy", "Scenario", "Stream", "Task", "Tensors", "Transform"]

Scenario = Literal["task", "domain", "class"]
Transform = Callable[[Tensor], Tensor]  # [N, ...] -> [N, ...], row by row the same whatever N is


class Chunk(NamedTuple):
    """Some examples at once."""

    x: Tensor  # [n, ...]
    y: Tensor  # [n] output indices
    mask: Tensor | None = None  # [C] or [n, C] the outputs that compete for these examples, where they know it


class Examples(ABC):
    """Inputs with their labels. Labels are indices of the network's outputs, `int64`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        """The examples at the indices `order` ``[M]``, up to `rows` at a time."""

    @abstractmethod
    def subset(self, index: Tensor) -> Examples:
        """The examples at the indices `index`, as examples of their own; nothing is copied."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """All labels, ``[N]``."""

    def all(self, rows: int = 512) -> Iterator[Chunk]:
        """Every example once, in order, up to `rows` at a time."""
        return self.chunks(torch.arange(len(self)), rows)

    def part(self, ranks: Ranks) -> Examples:
        """Those that this rank looks at where each looks at some; together they are all."""
        return self if ranks.world == 1 else self.subset(torch.arange(ranks.rank, len(self), ranks.world))

    def wild(self, most: int) -> list[int]:
        """The indices of up to `most` examples whose inputs are NaN or infinite, where that is known without reading
        them from elsewhere."""
        return []


@final
@dataclass(frozen=True, eq=False)
class Tensors(Examples):
    """Examples that lie in memory.

    `x` ``[N, ...]`` and `y` ``[N]`` may be shared by many tasks; `rows` picks a task's own; `transform` is what the
    task does to its inputs. Unsigned bytes are images: they reach the network as ``float / 255``. `mask` ``[C]`` says
    which outputs compete for these examples, where that is a property of theirs (the scenario "task"). `raw`: unsigned bytes stay what they are.
    """

    x: Tensor
    y: Tensor
    rows: Tensor | None = None
    transform: Transform | None = None
    mask: Tensor | None = None
    raw: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "y", _indices(self.y))

    def __len__(self) -> int:
        return len(self.y if self.rows is None else self.rows)

    def take(self, index: Tensor) -> Chunk:
        own = index if self.rows is None else self.rows[index.to(self.rows.device)]
        own = own.to(self.x.device)
        x, y = self.x.index_select(0, own), self.y.index_select(0, own)
        if self.transform is not None:
            x = self.transform(x)
        return Chunk(self._as_input(x), y, self.mask)

    def _as_input(self, x: Tensor) -> Tensor:
        return x if self.raw else _as_input(x)

    def all(self, rows: int = 512) -> Iterator[Chunk]:
        if self.rows is not None:
            yield from super().all(rows)
            return
        for x, y in zip(self.x.split(rows), self.y.split(rows)):  # nothing to gather
            yield Chunk(self._as_input(x if self.transform is None else self.transform(x)), y, self.mask)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        return (self.take(index) for index in order.split(rows))

    def wild(self, most: int) -> list[int]:
        found: list[int] = []
        if not self.x.is_floating_point():
            return found
        at, own = 0, self.x.split(4096) if self.rows is None else (self.x[r] for r in self.rows.split(4096))
        for x in own:  # a little at a time: the data may be larger than memory
            if not bool(x.sum().isfinite()):  # one pass; a sum may also be too large
                found += [at + i for i in (~x.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()]
            at += len(x)
            if len(found) >= most:
                break
        return found[:most]

    def subset(self, index: Tensor) -> Tensors:
        return replace(self, rows=index if self.rows is None else self.rows[index.to(self.rows.device)])

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.x[:1] if self.transform is None else self.transform(self.x[:1])
        return tuple(first.shape[1:])

    @property
    def labels(self) -> Tensor:
        return self.y if self.rows is None else self.y[self.rows]

    @property
    def prepared(self) -> Tensors:
        """The same examples with rows picked and transform done, in a tensor of their own."""
        if self.rows is None and self.transform is None:
            return self
        x = self.x if self.rows is None else self.x[self.rows]
        return Tensors(x if self.transform is None else self.transform(x), self.labels, mask=self.mask, raw=self.raw)

    def to(self, device: torch.device) -> Tensors:
        rows, mask = (None if t is None else t.to(device) for t in (self.rows, self.mask))
        return replace(self, x=self.x.to(device), y=self.y.to(device), rows=rows, mask=mask)


@final
@dataclass(frozen=True, eq=False)
class Lazy(Examples):
    """Examples of a map-style data set that does not fit into memory, read by a `DataLoader`.

    `dataset[i]` gives ``(x, y)``; `y` ``[N]`` holds all output indices (they are needed to know the classes).
    """

    dataset: Dataset[Any]
    y: Tensor
    rows: Tensor | None = None
    workers: int = 0
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "y", _indices(self.y))

    def __len__(self) -> int:
        return len(self.y if self.rows is None else self.rows)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        own = order if self.rows is None else self.rows[order]
        loader = DataLoader(
            _Inputs(self.dataset),
            batch_size=rows,
            sampler=own.tolist(),
            num_workers=self.workers,
            # its own, so that iterating draws nothing from torch's; another one for another order, so that what the
            # workers draw (augmentation) is not the same in every epoch
            generator=generator(0, f"workers/{own[:16].tolist()}"),
        )
        start = 0
        for x in loader:
            yield Chunk(_as_input(x), self.y[own[start : start + len(x)]], self.mask)
            start += len(x)

    def subset(self, index: Tensor) -> Lazy:
        return replace(self, rows=index if self.rows is None else self.rows[index])

    @property
    def shape(self) -> tuple[int, ...]:
        first = 0 if self.rows is None else int(self.rows[0])
        return tuple(torch.as_tensor(self.dataset[first][0]).shape)

    @property
    def labels(self) -> Tensor:
        return self.y if self.rows is None else self.y[self.rows]


@final
class Joined(Examples):
    """The examples of several sets as one; `rows` picks some of them."""

    def __init__(self, parts: Sequence[Examples], rows: Tensor | None = None) -> None:
        self.parts = tuple(parts)
        self.rows = rows
        self._ends = torch.tensor([len(p) for p in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.rows is None else len(self.rows)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        own = order.cpu() if self.rows is None else self.rows[order.cpu()]
        for index in own.split(rows):
            owner = torch.searchsorted(self._ends, index, right=True)
            found: list[tuple[Tensor, Chunk]] = []
            for p in owner.unique().tolist():
                where = (owner == p).nonzero().squeeze(1)
                local = index[where] - (int(self._ends[p - 1]) if p else 0)
                found += [(where, chunk) for chunk in self.parts[p].chunks(local, rows)]
            back = torch.cat([where for where, _ in found]).argsort()
            x, y = torch.cat([c.x for _, c in found]), torch.cat([c.y for _, c in found])
            mask = None
            if not all(c.mask is None for _, c in found):
                outputs = max(c.mask.shape[-1] for _, c in found if c.mask is not None)
                every = torch.ones(outputs, dtype=torch.bool)  # no mask: all compete
                masks = [(every if c.mask is None else c.mask).to(x.device) for _, c in found]
                mask = torch.cat([m.expand(len(c.y), -1) for m, (_, c) in zip(masks, found)])[back.to(x.device)]
            yield Chunk(x[back.to(x.device)], y[back.to(x.device)], mask)

    def subset(self, index: Tensor) -> Joined:
        return Joined(self.parts, index if self.rows is None else self.rows[index])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    @property
    def labels(self) -> Tensor:
        labels = torch.cat([p.labels for p in self.parts])
        return labels if self.rows is None else labels[self.rows]


class _Inputs(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Tensor:
        return torch.as_tensor(self.dataset[index][0])


def _indices(y: Tensor) -> Tensor:
    """Labels of any integer type as indices. What is no integer is left, for who learns from it to refuse."""
    return y if y.is_floating_point() or y.is_complex() else y.long()


def _as_input(x: Tensor) -> Tensor:
    return x.float().div_(255) if x.dtype == torch.uint8 else x


@final
class Cache:
    """Prepared examples, the least recently used dropped first, in at most `budget` bytes.

    A permutation costs as much as a small network's evaluation; a set that is read again is prepared once. What is
    larger than the budget is transformed as it is read: a long stream never holds more than this.
    """

    def __init__(self, budget: int = 512 * 2**20, device: torch.device | str = "cpu") -> None:
        self.budget = budget
        self.device = torch.device(device)
        self._held: OrderedDict[int, tuple[Tensors, Tensors]] = OrderedDict()  # by id; the original is kept alive
        self._bytes = 0

    def __call__(self, examples: Examples) -> Examples:
        if isinstance(examples, Joined):
            return Joined([self(part) for part in examples.parts], examples.rows)
        if not isinstance(examples, Tensors):
            return examples
        here = examples.x.device.type == self.device.type
        if here and examples.rows is None and examples.transform is None:
            return examples
        key = id(examples)
        if key not in self._held:
            # known before the work is done: transforms keep the number of elements
            size = len(examples) * (examples.x[:1].numel() * examples.x.element_size() + examples.y.element_size())
            if size > self.budget:
                return examples
            self._make_room(size)
            prepared = examples.prepared.to(self.device)
            size = _nbytes(prepared)
            if size > self.budget:  # a transform that enlarges
                return prepared
            self._make_room(size)
            self._held[key] = (examples, prepared)
            self._bytes += size
        self._held.move_to_end(key)
        return self._held[key][1]

    def _make_room(self, size: int) -> None:
        while self._bytes + size > self.budget:
            self._bytes -= _nbytes(self._held.popitem(last=False)[1][1])


def _in_memory(examples: Examples) -> Iterator[Tensors]:
    if isinstance(examples, Joined):
        for part in examples.parts:
            yield from _in_memory(part)
    elif isinstance(examples, Tensors):
        yield examples


def _nbytes(examples: Tensors) -> int:
    return sum(t.numel() * t.element_size() for t in (examples.x, examples.y))


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
            for part in (*_in_memory(task.train), *_in_memory(task.test)):
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
        return self.subset(order)

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
