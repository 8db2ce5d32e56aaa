"""Sources of images: what ships, what is read from a folder, what is downloaded, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from drawn_images import images
from lifelong.core.errors import DataError
from lifelong.streams import load, permuted
from lifelong.streams.sources import _PUBLISHED

SHIPPED = {"mnist-mini": (28, 300, 100), "fashion-mnist-mini": (28, 150, 50), "digits": (8, None, None)}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", "nowhere")
    source = load(name)
    size, train, test = SHIPPED[name]
    assert source.name == name
    assert source.origin == "shipped with the package"
    assert len(source.class_names) == 10
    for x, y, each in ((source.train_x, source.train_y, train), (source.test_x, source.test_y, test)):
        assert x.dtype == torch.uint8
        assert y.dtype == torch.int64
        assert x.shape == (len(y), size, size)
        assert int(x.max()) == 255
        counts = torch.bincount(y, minlength=10)
        assert int(counts.min()) > 0
        assert each is None or counts.tolist() == [each] * 10


def test_digits_are_scaled_and_divided() -> None:
    source = load("digits")
    assert (len(source.train_x), len(source.test_x)) == (1497, 300)
    assert set(source.train_x.unique().tolist()) <= {round(v * 255 / 16) for v in range(17)}
    # the first digit of the original: 0 0 5 13 9 1 0 0 in its first row
    assert source.train_x[0, 0].tolist() == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    assert source.train_y[:10].tolist() == list(range(10))


def test_an_unknown_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no source called 'minst'.*did you mean 'mnist.*there are: mnist-mini"):
        load("minst")
    with pytest.raises(DataError, match="no source called"):
        permuted("cifar")


def test_a_source_that_does_not_fit_together_is_refused() -> None:
    good = images()
    with pytest.raises(DataError, match="40 training images and 39 labels"):
        replace(good, train_y=good.train_y[:39])
    with pytest.raises(DataError, match=r"test labels 0\.\.3 and names for 2 classes"):
        replace(good, train_y=good.train_y % 2, class_names=("a", "b"))
    with pytest.raises(DataError, match="0 test images"):
        replace(good, test_x=good.test_x[:0], test_y=good.test_y[:0])


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `LIFELONG_DATA` and an empty place for downloads."""
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path


def failing(error: Exception) -> Callable[..., str]:
    def retrieve(*_: Any, **__: Any) -> str:
        raise error

    return retrieve


def test_no_file_and_no_network_names_file_address_and_folders(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.retrieve", failing(ConnectionError("down")))
    with pytest.raises(DataError) as caught:
        load("fashion-mnist")
    said = str(caught.value)
    assert "train-images-idx3-ubyte.gz" in said
    assert "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz" in said
    assert f"not in {apart / 'data' / 'fashion-mnist'} (LIFELONG_DATA)" in said
    assert f"not in {apart / 'cache' / 'lifelong' / 'fashion-mnist'}" in said
    assert f"put it into {apart / 'data' / 'fashion-mnist'}" in said

    monkeypatch.delenv("LIFELONG_DATA")
    with pytest.raises(DataError, match="set LIFELONG_DATA to a folder that has it in mnist/") as caught:
        load("mnist")
    assert f"put it into {apart / 'cache' / 'lifelong' / 'mnist'}" in str(caught.value)

    monkeypatch.setattr("pooch.retrieve", failing(ValueError("md5 differs")))
    with pytest.raises(DataError, match="another checksum"):
        load("mnist")


def test_an_altered_file_is_refused_by_name(apart: Path) -> None:
    folder = apart / "data" / "mnist"
    folder.mkdir(parents=True)
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(bytes(16)))
    came = hashlib.md5(file.read_bytes()).hexdigest()
    with pytest.raises(DataError) as caught:
        load("mnist")
    for part in (str(file), came, "f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        assert part in str(caught.value)


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Puts files as published, but small, into `folder` and has them known as MNIST."""
    x = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([3, 1, 4, 1, 5], dtype=torch.uint8)
    folder.mkdir(parents=True)
    for name in _PUBLISHED["mnist"].sums:
        data = bytes(16) + x.numpy().tobytes() if "images" in name else bytes(8) + y.numpy().tobytes()
        (folder / name).write_bytes(gzip.compress(data))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in _PUBLISHED["mnist"].sums}
    monkeypatch.setitem(_PUBLISHED, "mnist", replace(_PUBLISHED["mnist"], sums=sums))
    return x, y


@pytest.mark.parametrize("where", ["data/mnist", "cache/lifelong/mnist"])
def test_published_files_are_read_from_the_folder_or_an_earlier_download(
    where: str, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = publish(apart / where, monkeypatch)
    source = load("mnist")
    for part in (source.train_x, source.test_x):
        assert torch.equal(part, x)
    for part in (source.train_y, source.test_y):
        assert torch.equal(part, y.long())
    assert str(apart / where) in source.origin


def test_what_is_missing_is_downloaded_once(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = publish(apart / "server", monkeypatch)
    asked = []

    def download(url: str, output_file: str, pooch: Any) -> None:
        asked.append(url)
        shutil.copy(apart / "server" / url.rsplit("/", 1)[1], output_file)

    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: download)
    assert torch.equal(load("mnist").train_x, x)
    assert load("mnist").origin.startswith("https://ossci-datasets.s3.amazonaws.com/mnist/ (kept in ")
    assert asked == [f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}" for name in _PUBLISHED["mnist"].sums]


def test_all_of_mnist(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    source, mini = load("mnist"), load("mnist-mini")
    assert source.origin == str(real_data / "mnist")
    assert source.train_x.shape == (60000, 28, 28)
    assert source.test_x.shape == (10000, 28, 28)
    assert source.train_y[:6].tolist() == [5, 0, 4, 1, 9, 2]
    for whole_x, whole_y, x, y, each in (
        (source.train_x, source.train_y, mini.train_x, mini.train_y, 300),
        (source.test_x, source.test_y, mini.test_x, mini.test_y, 100),
    ):
        first = torch.cat([(whole_y == c).nonzero()[:each, 0] for c in range(10)]).sort().values
        assert torch.equal(whole_x[first], x)
        assert torch.equal(whole_y[first], y)


def test_all_of_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    given = os.environ.get("LIFELONG_DATA")
    if not given or not (Path(given) / "fashion-mnist").exists():
        pytest.skip("needs fashion-mnist in the folder LIFELONG_DATA")
    source, mini = load("fashion-mnist"), load("fashion-mnist-mini")
    assert (len(source.train_x), len(source.test_x)) == (60000, 10000)
    first = torch.cat([(source.train_y == c).nonzero()[:150, 0] for c in range(10)]).sort().values
    assert torch.equal(source.train_x[first], mini.train_x)
