"""Several processes that learn one network together, each a part of every step (`torch.distributed`).

The promise is that N ranks give what one gives with the same global batch. Every leaf of a method's state says, by where it comes from, how
it crosses ranks. What is made of weights and of reduced gradients is *replicated* as it is. What is a sum over examples (an importance, a
past gradient) is *summed*. What is remembered of a batch is gathered first, so that memories are replicated too; what is drawn from them
is drawn alike by all and *shared out*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import DataError, MethodError, RunError

__all__ = ["ALONE", "Ranks", "bare", "whole"]


@final
@dataclass(frozen=True)
class Ranks:
    """The processes that learn together, and which of them this is. One alone has nothing to say: all of this is then an identity."""

    rank: int = 0
    world: int = 1
    group: Any = None  # of torch.distributed; None: all

    @staticmethod
    def here(group: Any = None) -> Ranks:
        """Those that ``torch.distributed.init_process_group`` joined (of them, those of `group`); without it, this one alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return ALONE
        return Ranks(dist.get_rank(group), dist.get_world_size(group), group)

    @staticmethod
    def of(model: nn.Module) -> Ranks:
        """Those that learn `model`."""
        return Ranks.here(model.process_group if isinstance(model, nn.parallel.DistributedDataParallel) else None)

    # --- what they say to one another: each of these is called by all of them -----------------------------------------
    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Adds up each of these tensors over the ranks, in place, in one message."""
        if self.world == 1 or not tensors:
            return
        row = self._sent(torch.cat([t.reshape(-1) for t in tensors]))
        with _together():
            dist.all_reduce(row, group=self.group)
        for t, part in zip(tensors, row.split([t.numel() for t in tensors])):
            t.copy_(part.view_as(t))

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """The mean over the ranks, in place."""
        if self.world > 1:
            self.sum_(tensors)
            torch._foreach_div_(list(tensors), self.world)

    def total(self, n: int) -> int:
        """Σ n over the ranks."""
        if self.world == 1:
            return n
        count = torch.tensor([n])
        self.sum_([count])
        return int(count)

    def gather(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The rows ``[n, ...]`` of all ranks, rank 0's first; n may differ. The tensors go as bytes, side by side in one message.

        Raises:
            DataError: the rows of two ranks differ in shape.
        """
        if self.world == 1:
            return tensors
        n = len(tensors[0])
        rows = [t.detach().reshape(n, prod(t.shape[1:])).contiguous().view(torch.uint8) for t in tensors]
        widths = [row.shape[1] for row in rows]
        own = self._sent(torch.cat(rows, 1))
        sizes = [torch.zeros_like(self._sent(torch.tensor([n, sum(widths)]))) for _ in range(self.world)]
        with _together():
            dist.all_gather(sizes, self._sent(torch.tensor([n, sum(widths)])), group=self.group)
        said = torch.stack(sizes).tolist()
        if any(width != sum(widths) for _, width in said):
            raise DataError(
                f"what rank {self.rank} brings in one step differs in shape from what other ranks bring: pad all to one shape"
            )
        padded = own.new_zeros(max(count for count, _ in said), sum(widths))
        padded[:n] = own
        parts = [torch.empty_like(padded) for _ in said]
        with _together():
            dist.all_gather(parts, padded, group=self.group)
        found = torch.cat([part[:count] for part, (count, _) in zip(parts, said)])
        return tuple(
            column.clone(memory_format=torch.contiguous_format).view(t.dtype).view(-1, *t.shape[1:]).to(t.device)
            for t, column in zip(tensors, found.split(widths, 1))
        )

    def agree_(self, tensors: Sequence[Tensor]) -> None:
        """Rank 0's values for all, in place."""
        if self.world > 1:
            for t in tensors:
                sent = self._sent(t.detach())
                with _together():
                    dist.broadcast(sent, group=self.group, group_src=0)
                t.detach().copy_(sent)

    def _sent(self, t: Tensor) -> Tensor:
        """Where the group's messages go."""
        return t.cuda() if dist.get_backend(self.group) == "nccl" else t


ALONE = Ranks()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"another rank is gone, or does not do what this one does ({str(error).splitlines()[0]}): end all of them and start again from the "
            "last checkpoint"
        ) from error


def bare(model: nn.Module) -> nn.Module:
    """The network within what `DistributedDataParallel`, `DataParallel` and `torch.compile` make of it."""
    wrapped = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while isinstance(model, wrapped) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, wrapped) else model._orig_mod  # type: ignore[assignment]
    return model


def whole(model: nn.Module, who: str) -> None:
    """Raises `MethodError` where a process holds only a part of some weight."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    kinds = {"FSDP" for m in model.modules() if isinstance(m, FullyShardedDataParallel)}
    kinds |= {"DTensor (fully_shard, tensor parallelism)" for p in model.parameters() if isinstance(p, DTensor)}
    if kinds:
        raise MethodError(
            f"{who} needs each weight whole, and this model's are sharded over processes: {', '.join(sorted(kinds))}. An importance or a "
            "past gradient would be that of a shard: use DistributedDataParallel"
        )
