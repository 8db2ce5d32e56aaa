"""Gradients of groups in one pass against those of one group after another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.core.objective import Labels
from lifelong.core.segments import Segment
from lifelong.core.vector import Vector
from lifelong.methods import Finetune
from lifelong.parts.group_gradients import gradients
from rehearsal_cases import step_context
from toys import FEATURES, toy_learner, toy_net, toy_stream


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(torch.relu(self.a(x))))


class Outside(nn.Module):
    """A weight that is used outside its layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) + self.b.bias.sum() * x[:, :4]


class ByHand(nn.Module):
    """Examples that depend on one another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.b(h / h.abs().mean())


class Odd(nn.Module):
    """A layer by keyword, a layer whose output goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.idle, self.b = nn.Linear(FEATURES, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(input=x))
        self.idle(h)
        return self.b(h)


NETWORKS = {
    "perceptron": lambda: toy_net(4),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4)
    ),
    "in place": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)),
    "normalised": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)),
    "twice": Twice,
    "outside": Outside,
    "by hand": ByHand,
    "odd": Odd,
}


@pytest.mark.parametrize("sizes", [(7, 7, 7), (3, 9, 1), (5,)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_groups_are_those_of_one_after_another(name: str, masked: bool, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name]()
    if name == "normalised":
        sizes = tuple(max(n, 2) for n in sizes)  # batch statistics of one example are not defined
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    context = replace(step_context(learner), net=net, theta=Vector.of(net))
    n = sum(sizes)
    x, y = torch.randn(n, FEATURES), torch.randint(3, (n,))
    mask = F.one_hot(y, 4).bool() | (torch.rand(n, 4) < 0.5) if masked else None
    for _ in range(3):  # the first call finds out what holds, the others rely on it
        found = gradients(context, Segment(x, y if mask is None else Labels(y, mask)), sizes)
        for k, part in enumerate(torch.arange(n).split(list(sizes))):
            f = net(x[part])
            f = f if mask is None else f.masked_fill(~mask[part], -torch.inf)
            truth = torch.autograd.grad(F.cross_entropy(f, y[part]), context.theta.tensors, materialize_grads=True)
            for a, b in zip(found.tensors, truth):
                assert torch.allclose(a[k], b, atol=1e-5), name
