"""A small network, examples for it, and the steps of a loop of one's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(64, 4, generator=draws), torch.randint(0, 2, (64,), generator=draws)


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def steps(model: nn.Module, optimizers: list[torch.optim.Optimizer], x: Tensor, y: Tensor, n: int = 3) -> None:
    for _ in range(n):
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
