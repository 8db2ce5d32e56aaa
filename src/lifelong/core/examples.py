"""Examples: inputs with their labels, in memory, read by a data set, or several as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .random import generator
from .ranks import Ranks

__all__ = ["Cache", "Chunk", "Examples", "Joined", "Lazy", "Tensors", "Transform", "in_memory"]

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


def in_memory(examples: Examples) -> Iterator[Tensors]:
    """The parts of it that lie in memory."""
    if isinstance(examples, Joined):
        for part in examples.parts:
            yield from in_memory(part)
    elif isinstance(examples, Tensors):
        yield examples


def _nbytes(examples: Tensors) -> int:
    return sum(t.numel() * t.element_size() for t in (examples.x, examples.y))
