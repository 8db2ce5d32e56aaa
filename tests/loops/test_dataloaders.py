"""A data loader's examples read again for a method, in their own order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lifelong.core.errors import DataError
from lifelong.loops.dataloaders import Loaded


def test_a_data_set_is_read_again_in_its_own_order() -> None:
    x, y = torch.randn(10, 3), torch.arange(10)
    loaded = Loaded(DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, drop_last=True), tuple)
    chunks = list(loaded.all(6))
    assert [len(c.y) for c in chunks] == [6, 4]
    assert torch.equal(torch.cat([c.x for c in chunks]), x)
    assert loaded.subset(torch.tensor([7, 2])).labels.tolist() == [7, 2]
    assert loaded.subset(torch.tensor([7, 2])).subset(torch.tensor([1])).labels.tolist() == [2]

    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([])

    with pytest.raises(DataError, match="can be read once only"):
        Loaded(DataLoader(Endless()), tuple)
