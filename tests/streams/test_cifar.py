"""Colour images, and the network for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong import GEM, Replay, ResNet18, Training, fit, permuted, rotated, split
from lifelong.core.errors import DataError, MethodError
from lifelong.streams import load


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the archive unpacks, with a few images: the red byte of each is its fine label."""
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name, each in (("train.bin", 4), ("test.bin", 2)):
        fine = np.tile(np.arange(100, dtype=np.uint8), each)
        pixels = np.zeros((len(fine), 3, 1024), np.uint8)
        pixels[:, 0] = fine[:, None]
        pixels[:, 2] = 7
        (folder / name).write_bytes(
            np.concatenate([fine[:, None] // 5, fine[:, None], pixels.reshape(len(fine), -1)], 1).tobytes()
        )
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing_{c}" for c in range(100)) + "\n")
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    return folder


def test_records_are_read_as_they_are_written(cifar: Path) -> None:
    source = load("cifar100")
    assert source.train_x.shape == (400, 3, 32, 32)
    assert source.test_x.shape == (200, 3, 32, 32)
    assert source.train_x.dtype == torch.uint8
    assert torch.equal(source.train_x[:, 0, 5, 5].long(), source.train_y)
    assert (source.train_x[:, 1] == 0).all()
    assert (source.test_x[:, 2] == 7).all()
    assert source.class_names[42] == "thing_42"
    assert source.origin == str(cifar)


def test_a_file_that_is_cut(cifar: Path) -> None:
    (cifar / "train.bin").write_bytes((cifar / "train.bin").read_bytes()[:-100])
    with pytest.raises(DataError, match="expected records of 3,074"):
        load("cifar100")


def test_no_file_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(DataError) as caught:
        load("cifar100")
    said = str(caught.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz" in said
    assert str(tmp_path / "cifar-100-binary") in said


def test_streams_of_colour_images(cifar: Path) -> None:
    stream = split("cifar100", tasks=20, scenario="task")
    assert (len(stream), stream.shape, stream.outputs) == (20, (3, 32, 32), 100)
    assert stream[3].classes == (15, 16, 17, 18, 19)
    assert permuted("cifar100", tasks=2).shape == (3, 32, 32)
    assert rotated("cifar100", tasks=2).shape == (3, 32, 32)


def test_the_network_of_the_gem_paper(cifar: Path) -> None:
    net = ResNet18(20)((3, 32, 32), 100)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 17  # and a linear layer: eighteen
    assert [convolutions[i].out_channels for i in (0, 5, 9, 13)] == [20, 40, 80, 160]
    assert sum(p.numel() for p in net.parameters()) == 1_109_240
    assert ResNet18(2)((28, 28), 10)(torch.zeros(3, 28, 28)).shape == (3, 10)
    with pytest.raises(MethodError, match="learns from images"):
        ResNet18()((784,), 10)


@pytest.mark.parametrize("method", [Replay(20), GEM(5)])
def test_it_learns_with_a_memory(cifar: Path, method) -> None:
    stream = split("cifar100", tasks=20, scenario="task").subset(range(3))
    run = fit(method, ResNet18(2), stream, training=Training(lr=0.05, batch_size=5, epochs=1))
    assert run.matrix().R.shape == (4, 3)
    assert np.isfinite(run.matrix().R).all()
