"""A stream of a frozen network's features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lifelong import DataError, NearestMean, featured, fit, permuted, split
from lifelong.nets import MLP
from lifelong.streams.features import efficientnet_lite0


class Counted(nn.Module):
    """Features that tell whether they were computed anew, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.Dropout(0.9))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x)


def backbone() -> Counted:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Counted()


def test_features_are_the_networks_and_are_computed_once(tmp_path) -> None:
    stream, net = split(tasks=5, examples=40, test_examples=20), backbone()
    told: list[tuple[int, int]] = []
    made = featured(stream, net, tmp_path, rows=16, watch=lambda done, total: told.append((done, total)))
    assert made.shape == (6,)
    assert told[-1] == (300, 300)
    assert net.training
    for before, after in zip(stream, made):
        chunk = next(before.train.all(100))
        with torch.no_grad():
            torch.testing.assert_close(next(after.train.all(100)).x, net.layer[1](chunk.x.flatten(1)))
        assert torch.equal(before.train.labels, after.train.labels)
    calls = net.calls
    again = featured(stream, net, tmp_path)
    assert net.calls == calls
    assert torch.equal(again[2].test.x, made[2].test.x)


def test_other_inputs_or_weights_have_other_features(tmp_path) -> None:
    stream, net = split(tasks=5, examples=10, test_examples=10), backbone()
    featured(stream, net, tmp_path)
    featured(permuted(tasks=2, examples=10, test_examples=10), net, tmp_path)
    with torch.no_grad():
        net.layer[1].bias += 1
    featured(stream, net, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_a_damaged_file_says_so(tmp_path) -> None:
    stream, net = split(tasks=5, examples=10, test_examples=10), backbone()
    featured(stream, net, tmp_path)
    [file] = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="remove it"):
        featured(stream, net, tmp_path)


def test_a_method_learns_from_features() -> None:
    stream = featured(split(tasks=5), backbone())
    assert fit(NearestMean(), MLP((8,)), stream).matrix().acc > 0.4


def test_efficientnet_sees_colour_images() -> None:
    net = efficientnet_lite0(32).eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        phi = net(x)
        assert phi.shape == (3, 1280)
        torch.testing.assert_close(net(x[1:2]), phi[1:2], atol=1e-4, rtol=1e-3)  # row by row
    assert phi.std() > 0
    with pytest.raises(DataError, match="colour"):
        net(torch.rand(2, 28, 28))
    with pytest.raises(DataError, match="at least 32"):
        efficientnet_lite0(16)
