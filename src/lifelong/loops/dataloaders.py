"""The examples of somebody's data loader, read again in their own order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ..core.errors import DataError
from ..core.examples import Chunk, Examples

__all__ = ["Loaded"]

Read = Callable[[Any], tuple[Tensor, Tensor]]  # what a loader gives -> x [B, ...], y [B]


@final
class Loaded(Examples):
    """A map-style data set through its loader's collation, neither shuffled nor cut by its batches; read when asked for.

    Args:
        loader: whose data set and collation are used; its sampler is not.
        read: takes a batch apart.

    Raises:
        DataError: the data set has no length, so that it cannot be read again by index.
    """

    def __init__(self, loader: DataLoader[Any], read: Read, rows: Tensor | None = None) -> None:
        if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
            raise DataError(
                f"{type(loader.dataset).__name__} can be read once only; the end of a task reads the examples again: "
                "give a data set with a length, whose examples have indices"
            )
        self.loader, self.read, self.rows = loader, read, rows
        self._labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.loader.dataset) if self.rows is None else len(self.rows)  # type: ignore[arg-type]

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        own = order.cpu() if self.rows is None else self.rows[order.cpu()]
        for index in own.split(rows) if len(own) else ():
            yield Chunk(*self.read(self.loader.collate_fn([self.loader.dataset[i] for i in index.tolist()])))

    def subset(self, index: Tensor) -> Loaded:
        return Loaded(self.loader, self.read, index.cpu() if self.rows is None else self.rows[index.cpu()])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(next(self.all(1)).x.shape[1:])

    @property
    def labels(self) -> Tensor:
        if self._labels is None:
            self._labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(chunk.y for chunk in self.all())])
        return self._labels
