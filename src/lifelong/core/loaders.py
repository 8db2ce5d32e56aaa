"""The examples that somebody's own loop brings: tensors, a loader's batches, the parts of several ranks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from .errors import DataError
from .examples import Chunk, Examples, Tensors
from .ranks import Ranks

__all__ = ["Batches", "Finite", "Nothing", "Ragged", "Spread", "examples_of", "finite", "outside"]

WANTED = "consolidate: expected a task's examples, a pair of tensors (x, y) or an iterable of batches (x, y) as a DataLoader is"


def examples_of(data: Any) -> Examples:
    if isinstance(data, Iterator):  # can be read once only, and is needed more often
        data = list(data)
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        x, y = (torch.as_tensor(part) for part in data)
        if y.dim() == 0 or len(x) != len(y):
            raise DataError(f"consolidate: inputs {list(x.shape)} and labels {list(y.shape)}; expected as many of each")
        return Tensors(x, y, raw=True)
    if not isinstance(data, Iterable):
        raise DataError(f"{WANTED}; got {type(data).__name__}")
    return Batches(data)


@final
class Batches(Examples):
    """A loader's batches, in the order and the sizes in which it gives them. Where single examples are asked for they are all read once more, and
    kept: a loader that shuffles gives another order each time. Batches may be padded to different lengths."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader
        self._kept: list[Tensors] = []
        self._length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(len(y) for _, y in self._pairs())
        return self._length

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.loader:
            pair = batch if isinstance(batch, tuple | list) else ()
            if len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair) or not pair[1].dim():
                got = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
                raise DataError(f"{WANTED}; got a {got}: make a generator of pairs of it")
            if len(pair[0]) != len(pair[1]):
                raise DataError(f"a batch of {len(pair[0])} inputs and {len(pair[1])} labels: expected as many of each")
            yield pair[0], pair[1]

    def all(self, rows: int = 512) -> Iterator[Chunk]:
        for x, y in self._pairs():
            yield from Tensors(x, y, raw=True).all(rows)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        return self._read.chunks(order, rows)

    def subset(self, index: Tensor) -> Examples:
        return self._read.subset(index)

    @property
    def _read(self) -> Examples:
        """All batches, kept; those of one shape as one."""
        if not self._kept:
            found = list(self._pairs())
            if len({x.shape[1:] for x, _ in found}) == 1:
                found = [(torch.cat([x for x, _ in found]), torch.cat([y for _, y in found]))]
            self._kept = [Tensors(x, y, raw=True) for x, y in found]
        return self._kept[0] if len(self._kept) == 1 else Ragged(self._kept)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(next(self._pairs())[0].shape[1:])

    @property
    def labels(self) -> Tensor:
        return self._read.labels


@final
class Ragged(Examples):
    """Examples of several shapes, those of one shape together; `rows` picks some. A chunk has one shape."""

    def __init__(self, parts: Sequence[Tensors], rows: Tensor | None = None) -> None:
        self.parts = tuple(parts)
        self.rows = torch.arange(sum(len(p) for p in parts)) if rows is None else rows
        self._owner = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(p) for p in parts]))
        self._first = torch.tensor([0, *(len(p) for p in parts)]).cumsum(0)

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        own = self.rows[order.cpu()]
        owner, lengths = self._owner[own].unique_consecutive(return_counts=True)
        for k, index in zip(owner.tolist(), own.split(lengths.tolist())):
            yield from self.parts[k].chunks(index - self._first[k], rows)

    def subset(self, index: Tensor) -> Ragged:
        return Ragged(self.parts, self.rows[index.cpu()])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    @property
    def labels(self) -> Tensor:
        return torch.cat([p.labels for p in self.parts])[self.rows]


@final
class Finite(Examples):
    """The same examples; raises `DataError` when one is read whose inputs are NaN or infinite, or whose label is none of the outputs that
    compete, ``among [C]``."""

    def __init__(self, examples: Examples, among: Tensor | None = None) -> None:
        self.examples, self.among = examples, among

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def count(self) -> int:
        """How many there are; 0: they would have to be read to be counted."""
        return 0 if isinstance(self.examples, Batches) else len(self.examples)

    def all(self, rows: int = 512) -> Iterator[Chunk]:
        at = 0
        for chunk in self.examples.all(rows):
            finite(chunk.x, "the task's examples", at)
            self._labelled(chunk.y)
            at += len(chunk.y)
            yield chunk

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        for chunk in self.examples.chunks(order, rows):
            finite(chunk.x, "some of the task's examples")
            self._labelled(chunk.y)
            yield chunk

    def _labelled(self, y: Tensor) -> None:
        if self.among is not None and y.dim() == 1 and not y.is_floating_point():
            wrong = outside(y, self.among)
            if wrong:
                raise DataError(
                    f"labels {wrong} are not among the task's classes: name all of them, guard.begin(classes=[...])"
                )

    def subset(self, index: Tensor) -> Examples:
        return Finite(self.examples.subset(index), self.among)

    def part(self, ranks: Ranks) -> Examples:
        return Finite(self.examples.part(ranks), self.among)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.examples.shape

    @property
    def labels(self) -> Tensor:
        return self.examples.labels


def outside(y: Tensor, among: Tensor) -> list[int]:
    """The labels ``[n]`` that are none of the outputs ``among [C]``."""
    y, C = y.long().to(among.device), len(among)
    found: list[int] = y[(y < 0) | (y >= C) | ~among[y.clamp(0, C - 1)]].unique().tolist()
    return found


def finite(x: Tensor, what: str, first: int = 0) -> None:
    """Raises `DataError` where inputs ``[n, ...]`` are NaN or infinite; the first of them is example `first` of `what`."""
    if x.is_floating_point() and not bool(x.isfinite().all()):
        rows = (~x.isfinite().reshape(len(x), -1).all(1)).nonzero().flatten().tolist()
        shown = ", ".join(str(first + row) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
        raise DataError(
            f"inputs are NaN or infinite (in {what}, row {shown}): fill in what is missing, or leave these examples out"
        )


@final
class Spread(Examples):
    """The examples of all ranks, rank 0's first. To read them, or their labels, is an act of all ranks, each of which asks for the same and
    brings what it has; `part` reads one's own."""

    def __init__(self, own: Examples, ranks: Ranks) -> None:
        self.own, self.ranks = own, ranks
        [self.owner] = ranks.gather(torch.full((len(own),), ranks.rank))
        without = set(range(ranks.world)) - set(self.owner.tolist())
        if without and len(self.owner):
            raise DataError(
                f"rank(s) {sorted(without)} bring no examples to the end of a task: each must bring one or more"
            )
        self.rows = torch.arange(len(self.owner))

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        for index in order.split(rows):
            mine = (self.owner[self.rows[index]] == self.ranks.rank).nonzero().flatten()
            wanted = (
                self._local(self.rows[index[mine]]) if len(mine) else torch.zeros(1, dtype=torch.int64)
            )  # for its shape
            chunk = next(self.own.chunks(wanted, len(wanted)))
            x, y = chunk.x[: len(mine)], chunk.y[: len(mine)]
            x, y, place = self.ranks.gather(x, y, mine.to(y.device))
            back = place.argsort()
            yield Chunk(x[back.to(x.device)], y[back])

    def subset(self, index: Tensor) -> Examples:
        found = copy.copy(self)
        found.rows = self.rows[index]
        return found

    def part(self, ranks: Ranks) -> Examples:
        if len(self.rows) == len(self.owner):
            return self.own
        return self.own.subset(self._local(self.rows[self.owner[self.rows] == ranks.rank]))

    def _local(self, rows: Tensor) -> Tensor:
        return rows - int((self.owner < self.ranks.rank).sum())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.own.shape

    @property
    def labels(self) -> Tensor:
        [every] = self.ranks.gather(self.own.labels.cpu())
        return every[self.rows]


@final
class Nothing(Examples):
    """What a task trains on where the loop is somebody else's: not known before it has run."""

    def __len__(self) -> int:
        return 0

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        return iter(())

    def subset(self, index: Tensor) -> Examples:
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def labels(self) -> Tensor:
        return torch.zeros(0, dtype=torch.int64)
