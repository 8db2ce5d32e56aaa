"""Labelled images by name: some come with the package, the others are read from a folder or downloaded once.

======================  ==============================================  ====================
name                    images                                          where from
======================  ==============================================  ====================
``mnist-mini``          first 300 + 100 a class of MNIST, 28×28         with the package
``fashion-mnist-mini``  first 150 + 50 a class of Fashion-MNIST, 28×28  with the package
``digits``              1,497 + 300 of UCI optdigits, 8×8               with the package
``mnist``               60,000 + 10,000, 28×28 (LeCun et al. 1998)      folder or download
``fashion-mnist``       60,000 + 10,000, 28×28 (arXiv 1708.07747)       folder or download
``cifar100``            50,000 + 10,000, 3×32×32 (Krizhevsky 2009)      folder or download
======================  ==============================================  ====================

A folder is ``$LIFELONG_DATA/mnist`` or ``$LIFELONG_DATA/fashion-mnist``, which holds the four ``.gz``
files as they are published (of Fashion-MNIST also Debian's, ``LIFELONG_DATA=/usr/share/datasets``
where the package dataset-fashion-mnist is installed), or ``$LIFELONG_DATA/cifar-100-binary``, which the published archive
unpacks to. What is not there is looked for among earlier downloads, and then downloaded. The MD5
sum of every ``.gz`` file and of the archive is compared before it is read; of the unpacked folder
the sizes and labels are.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError, nearest
from ..core.files import write_atomically

__all__ = ["SOURCES", "Source", "load"]


@final
@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images, to make tasks of.

    `train_x` and `test_x` are ``uint8 [N, H, W]`` or ``[N, C, H, W]``, `train_y` and `test_y` ``[N]``, of any type of whole numbers
    (they become ``int64``), with labels 0..C-1, which `class_names` name. `origin` says where they were read from.

    Raises:
        DataError: numbers of images and labels differ, or a label has no name or is no whole number.
    """

    name: str
    origin: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    class_names: tuple[str, ...]
    superclass: tuple[int, ...] | None = None  # of each class, where classes are grouped

    def __post_init__(self) -> None:
        for name in ("train_y", "test_y"):
            y = getattr(self, name)
            if y.dim() != 1 or y.is_floating_point() or y.is_complex():
                raise DataError(
                    f"source {self.name!r}: {name} is {y.dtype} {list(y.shape)}, expected whole numbers [N]: y.long(), y.reshape(-1)"
                )
            object.__setattr__(self, name, y.long())  # bytes would be taken for a mask where they are an index
        for part, x, y in (
            ("training", self.train_x, self.train_y),
            ("test", self.test_x, self.test_y),
        ):
            if len(x) != len(y) or len(x) == 0:
                raise DataError(
                    f"source {self.name!r} has {len(x)} {part} images and {len(y)} labels: "
                    "expected as many of one as of the other, and at least one"
                )
            low, high = int(y.min()), int(y.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"source {self.name!r} has {part} labels {low}..{high} and names for "
                    f"{len(self.class_names)} classes: number the classes from 0 and name each"
                )


@final
@dataclass(frozen=True)
class _Published:
    """Four IDX files: images and labels, training and test, with their MD5 sums."""

    address: str
    sums: dict[str, str]
    class_names: tuple[str, ...]
    repacked: dict[str, str] = field(default_factory=dict)  # the same bytes, compressed anew by somebody else


_DIGITS = tuple(str(d) for d in range(10))
_CLOTHES = (
    *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_SHIPPED = {"mnist-mini": _DIGITS, "fashion-mnist-mini": _CLOTHES, "digits": _DIGITS}
_PUBLISHED = {
    "mnist": _Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        _DIGITS,
    ),
    "fashion-mnist": _Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        _CLOTHES,
        {  # Debian's dataset-fashion-mnist 0.0~git20200523.55506a9-1
            "train-images-idx3-ubyte.gz": "cf8536b0aa1a6ac5fa3f23001093305c",
            "train-labels-idx1-ubyte.gz": "10bea18fdb374794d4bb42e356e600c9",
            "t10k-images-idx3-ubyte.gz": "f78720b4224f21cce2f2ccf2d7a94c9a",
            "t10k-labels-idx1-ubyte.gz": "0d30e22e447f3c33dab9ed536400ac01",
        },
    ),
}
_CIFAR100 = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
_CIFAR100_SUM = "03b5dce01913d631647c71ecec9e9cb8"
SOURCES = (*_SHIPPED, *_PUBLISHED, "cifar100")  # the names that `load` knows


def load(name: str) -> Source:
    """The labelled images called `name` (one of `SOURCES`).

    Raises:
        DataError: there is no such name; a file is not there and cannot be downloaded; a file is
            not what was published.
    """
    if name in _SHIPPED:
        return _shipped(name)
    if name in _PUBLISHED:
        return _published(name, _PUBLISHED[name])
    if name == "cifar100":
        return _cifar100()
    known = ", ".join(SOURCES)
    raise DataError(f"no source called {name!r}{nearest(name, SOURCES)}; there are: {known}")


def _shipped(name: str) -> Source:
    asset = files("lifelong") / "assets" / f"{name.replace('-', '_')}.npz"
    with asset.open("rb") as file, np.load(file) as arrays:
        if name == "digits":
            x, y = np.round(arrays["x"] * (255 / 16)).astype(np.uint8), arrays["y"]
            # this part of optdigits has no division of its own; others wrote the last 300
            parts = x[:1497], y[:1497], x[1497:], y[1497:]
        else:
            parts = tuple(arrays[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    return _source(name, "shipped with the package", parts, _SHIPPED[name])


SIZES = {
    "train.bin": 50_000 * 3_074,
    "test.bin": 10_000 * 3_074,
    "fine_label_names.txt": 2**16,
}  # of CIFAR-100, at most


def _published(name: str, published: _Published) -> Source:
    found = [_find(name, file, published) for file in published.sums]
    parts = []
    for path, _ in found:
        header = 16 if "idx3" in path.name else 8
        with gzip.open(path) as content:
            values = np.frombuffer(bytearray(content.read()), np.uint8, offset=header)
        parts.append(values.reshape(-1, 28, 28) if "idx3" in path.name else values)
    origin = " and ".join(dict.fromkeys(where for _, where in found))
    return _source(name, origin, tuple(parts), published.class_names)


def _cifar100() -> Source:
    """Records of 3,074 bytes: the coarse label, the fine label, and 3×32×32 bytes."""
    wanted = tuple(SIZES)
    given = os.environ.get("LIFELONG_DATA")
    folder = Path(given).expanduser() / "cifar-100-binary" if given else None
    if folder is not None and all((folder / file).exists() for file in wanted):
        paths, origin = [folder / file for file in wanted], str(folder)
    else:
        import pooch

        cache = Path(pooch.os_cache("lifelong")) / "cifar100"
        try:
            archive = pooch.retrieve(
                _CIFAR100,
                f"md5:{_CIFAR100_SUM}",
                fname="cifar-100-binary.tar.gz",
                path=cache,
            )
        except (OSError, ValueError) as error:
            raise DataError(
                _missing(
                    "cifar100",
                    "cifar-100-binary.tar.gz",
                    _CIFAR100,
                    folder,
                    cache,
                    error,
                    "its files in cifar-100-binary/",
                )
            ) from error
        paths, origin = unpacked(Path(archive), SIZES), f"{_CIFAR100} (kept in {cache})"
    parts: list[np.ndarray] = []
    superclass: dict[int, int] = {}
    for path in paths[:2]:
        content = np.fromfile(path, np.uint8)
        if not len(content) or len(content) % 3074:
            raise DataError(
                f"{path} has {len(content)} bytes: expected records of 3,074 (two labels and 3×32×32 pixels); take the file "
                "from the published archive as it is"
            )
        records = content.reshape(-1, 3074)
        superclass |= dict(zip(records[:, 1].tolist(), records[:, 0].tolist()))
        parts += [records[:, 2:].reshape(-1, 3, 32, 32).copy(), records[:, 1].copy()]
    names = tuple(paths[2].read_text(encoding="utf-8").split())
    grouped = tuple(superclass.get(c, 0) for c in range(len(names)))
    return replace(_source("cifar100", origin, tuple(parts), names), superclass=grouped)


def unpacked(
    archive: Path, sizes: Mapping[str, int], sums: Mapping[str, str] | None = None, most: int | None = None
) -> list[Path]:
    """Some files of a tar archive, by the ends of their names, written beside it the first time. No path, link or mode in the archive is
    followed, and nothing is read that is larger than the most it may have.

    Args:
        archive: a tar archive, compressed or not.
        sizes: the most bytes that each file may have, by its name or the last parts of its path (of all as many).
        sums: SHA-256 of each file, or git's sum of it as a blob; default: none is compared.
        most: bytes of the whole, unpacked; default twice those of `sizes`.

    Raises:
        DataError: it is no such archive; a file is missing in it, or is a link, or larger, or another.
    """
    folder, depth = archive.with_name(f"{archive.name}.files"), 1 + next(iter(sizes)).count("/")
    places = {name: folder / name for name in sizes}
    if all(place.is_file() for place in places.values()):
        return list(places.values())
    left, end = dict(sizes), most or 2 * sum(sizes.values()) + 2**20
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                if info.offset > end:
                    raise DataError(f"{archive} is larger than it may be ({end} bytes): take the published one")
                name = "/".join(info.name.split("/")[-depth:])
                size = left.pop(name, None)
                if size is None:
                    continue
                if not info.isreg() or info.size > size:
                    kind = f"of {info.size} bytes" if info.isreg() else "no file"
                    raise DataError(f"{archive}: {info.name!r} is {kind}, expected a file of at most {size} bytes")
                reader = tar.extractfile(info)
                assert reader is not None
                content = reader.read()
                if sums is not None and _sum(content, sums[name]) != sums[name]:
                    raise DataError(
                        f"{archive}: {info.name!r} is not the file that was published: remove the archive, and take that one"
                    )
                places[name].parent.mkdir(parents=True, exist_ok=True)
                write_atomically(places[name], content)
                if not left:
                    return list(places.values())
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{archive} is no archive that can be read ({error}): remove it, and take the published one"
        ) from error
    raise DataError(f"{archive} lacks {', '.join(left)}: take the published one")


def _sum(content: bytes, like: str) -> str:
    """SHA-256, or git's sum of a blob where `like` is one."""
    if len(like) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def _source(name: str, origin: str, parts: tuple[np.ndarray, ...], class_names: tuple[str, ...]) -> Source:
    train_x, train_y, test_x, test_y = (torch.from_numpy(part) for part in parts)
    return Source(name, origin, train_x, train_y.long(), test_x, test_y.long(), class_names)


def _find(name: str, file: str, published: _Published) -> tuple[Path, str]:
    """One published file, and where it was found in words."""
    given = os.environ.get("LIFELONG_DATA")
    folder = Path(given).expanduser() / name if given else None
    if folder is not None and (folder / file).exists():
        _compare(folder / file, published.sums[file], published.repacked.get(file))
        return folder / file, str(folder)

    import pooch  # here, because it takes a while to import and the package's own data need none

    cache = Path(pooch.os_cache("lifelong")) / name
    address = published.address + file
    try:
        pooch.retrieve(address, f"md5:{published.sums[file]}", fname=file, path=cache)
    except (OSError, ValueError) as error:  # no connection, no such page; another checksum
        raise DataError(_missing(name, file, address, folder, cache, error)) from error
    return cache / file, f"{published.address} (kept in {cache})"


def _compare(path: Path, expected: str, repacked: str | None = None) -> None:
    came = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if came not in (expected, repacked):
        raise DataError(
            f"{path} is not the file that was published: its MD5 sum is {came}, expected "
            f"{expected}; remove it, or put the published .gz file there as it is"
        )


def _missing(
    name: str, file: str, address: str, folder: Path | None, cache: Path, error: Exception, within: str = ""
) -> str:
    looked = f"not in {cache}"
    mend = f"put it into {cache}, or set LIFELONG_DATA to a folder that has {within or f'it in {name}/'}"
    if folder is not None:
        looked = f"not in {folder} (LIFELONG_DATA) and {looked}"
        mend = "unpack it there" if within else f"put it into {folder}"
    what = "what came has another checksum" if isinstance(error, ValueError) else type(error).__name__
    return (
        f"{name} needs {file}, which is {looked}, and could not be downloaded from {address} ({what}): {mend}. "
        "'mnist-mini', 'fashion-mnist-mini' and 'digits' need no download"
    )
