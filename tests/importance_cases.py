"""Networks of every kind of layer, with inputs, on which importances are held to their definitions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lifelong.core.contexts import Costs, TaskContext
from lifelong.core.examples import Tensors
from lifelong.core.objective import Classification
from lifelong.core.vector import Vector


def context_of(net: nn.Module, x: Tensor, y: Tensor, active: Tensor | None = None, seed: int = 0) -> TaskContext:
    draws = torch.Generator().manual_seed(seed)
    objective = Classification(active)
    return TaskContext(net, Vector.of(net), Tensors(x, y), objective, 0, None, draws, lambda: None, Costs())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.a(torch.tanh(self.a(x)))))


class Own(nn.Module):
    """A weight that belongs to no layer of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.rand(6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x * self.scale)


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.norm = nn.Embedding(9, 5, padding_idx=0), nn.Linear(5, 5), nn.LayerNorm(5)
        self.out = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(torch.relu(self.mix(self.words(x)))).mean(1))


class Shared(nn.Module):
    """Only part of it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 4)
        self.a.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.reader, self.out = nn.Embedding(9, 5), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.reader(self.words(x))[0][:, -1])


def images() -> Tensor:
    return torch.randn(11, 2, 6, 6)


CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(inplace=True), nn.Linear(7, 4)), lambda: torch.randn(11, 6)),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(6, 7, bias=False), nn.Tanh(), nn.Linear(7, 4)),
        lambda: torch.randn(11, 6),
    ),
    "dropout": (lambda: nn.Sequential(nn.Linear(6, 7), nn.Dropout(0.5), nn.Linear(7, 4)), lambda: torch.randn(11, 6)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)
        ),
        images,
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2, dilation=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)
        ),
        images,
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(18, 4)),
        lambda: torch.randn(11, 2, 6),
    ),
    "sequence": (Sequence, lambda: torch.randint(0, 9, (11, 6))),
    "tied": (Tied, lambda: torch.randn(11, 6)),
    "used twice": (Twice, lambda: torch.randn(11, 6)),
    "recurrent": (Recurrent, lambda: torch.randint(0, 9, (11, 6))),
    "own weight": (Own, lambda: torch.randn(11, 6)),
    "partly frozen": (Shared, lambda: torch.randn(11, 6)),
}


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    make, draw = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net, x, y = make().double(), draw(), torch.randint(4, (11,))
        for m in net.modules():
            if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
                m.running_mean.normal_()
                m.running_var.uniform_(0.5, 2)
    return net, x.double() if x.is_floating_point() else x, y
