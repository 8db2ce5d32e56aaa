"""Streams made of a folder of images: folders for tasks, in them folders for classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from torch.utils.data import Dataset

from ..errors import DataError
from ..stream import Scenario, Stream
from .labelled import HELD_OUT
from .own import DEEP, stream_of

__all__ = ["ENDINGS", "from_folder", "pillow", "unreadable"]

ENDINGS = (".png", ".jpg", ".jpeg")


def from_folder(
    path: str | Path,
    size: tuple[int, ...] | None = None,
    scenario: Scenario = "class",
    test: float = HELD_OUT,
    seed: int = 0,
    announced: bool = True,
    classes: tuple[str, ...] | None = None,
) -> Stream:
    """A stream of image files: ``path/task/class/*.png`` (or jpg), or, with test images of their own,
    ``path/train/task/class/*.png`` and ``path/test/task/class/*.png``.

    Tasks and classes are named after their folders and come in the order of these names (2 before 10). Images are grey
    ``[H, W]`` if all of them are, and otherwise ``[3, H, W]``.

    Args:
        path: the folder.
        size: height and width that images are resized to, or one number for both; none leaves them as they are.
        scenario: class, task or domain.
        test: the fraction of each task's images that is held out for testing, where there is no folder of test images.
        seed: of the images held out.
        announced: whether the network has an output for every class from the start; otherwise (scenario class) it gets more as
            they come.
        classes: see `stream_of`.

    Raises:
        DataError: Pillow is not installed; no images where they are expected; files that are no images; images of
            different sizes and no `size`.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: expected one with task/class/*.png (or jpg) in it")
    if size is not None:
        size = (size,) if isinstance(size, int) else tuple(size)
        if len(size) not in (1, 2) or min(size) < 1:
            raise DataError(f"size {size}: expected height and width of at least 1, or one number for both")
    both = None if size is None else (size[0], size[-1])
    apart = (root / "train").is_dir() and (root / "test").is_dir()
    found = [_images(root / "train"), _images(root / "test")] if apart else [_images(root)]
    names = list(found[0])
    alone = [name for name in (*found[0], *found[-1]) if name not in found[0] or name not in found[-1]]
    if alone:
        raise DataError(f"{root}: task {alone[0]!r} is in only one of train/ and test/: give it images in both")
    mode = _mode([image for part in found for images in part.values() for image, _ in images], both)
    sets = [[_Files(part[name], mode, both) for name in names] for part in found]
    held_out = sets[1] if apart else test
    stream = stream_of(sets[0], scenario, test=held_out, names=names, seed=seed, announced=announced, classes=classes)
    return replace(stream, name="folder", source=str(root), notes={**stream.notes, "size": list(stream.shape[-2:])})


@final
class _Files(Dataset[Any]):
    """Image files with the names of their classes."""

    def __init__(self, images: list[tuple[Path, str]], mode: str, size: tuple[int, int] | None) -> None:
        self.images = images
        self.labels = [label for _, label in images]
        self.mode = mode
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        path, label = self.images[index]
        try:
            with pillow().open(path) as opened:
                image = opened.convert(self.mode)
        except _broken() as error:
            raise unreadable(path, error) from error
        if self.size is not None:
            image = image.resize((self.size[1], self.size[0]), pillow().Resampling.BILINEAR)
        return image, label


def _images(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """The files of ``root/task/class`` with their classes, by task."""
    found = {}
    for task in _inside(root, folders=True):
        found[task.name] = [
            (file, kind.name)
            for kind in _inside(task, folders=True)
            for file in _inside(kind, folders=False)
            if file.suffix.lower() in ENDINGS
        ]
        if not found[task.name]:
            raise DataError(f"no images in {task}: expected {task.name}/class/*.png (or jpg)")
    if not found:
        raise DataError(f"{root} has no folders in it: expected task/class/*.png (or jpg)")
    return found


def _inside(path: Path, folders: bool) -> list[Path]:
    """What is in a folder, "task 2" before "task 10"; what is hidden is left out."""

    def natural(entry: Path) -> tuple[list[tuple[int, str]], str]:
        pieces = re.findall(r"\d+|\D+", entry.name)
        return [(int(p), "") if p.isdecimal() else (-1, p.casefold()) for p in pieces], entry.name

    return sorted((p for p in path.iterdir() if p.is_dir() == folders and not p.name.startswith(".")), key=natural)


def _mode(images: Sequence[Path], size: tuple[int, int] | None) -> str:
    """Pillow's mode for them all: grey if every one is. Reads headers only."""
    grey, sizes = True, dict[tuple[int, int], Path]()
    for path in images:
        try:
            with pillow().open(path) as image:
                mode, at = image.mode, (image.height, image.width)
        except _broken() as error:
            raise unreadable(path, error) from error
        if mode in DEEP:
            raise DataError(f"{path} has more than 8 bits a channel (Pillow's mode {mode}): convert it to 8")
        grey = grey and mode in ("1", "L", "LA")
        sizes.setdefault(at, path)
    if size is None and len(sizes) > 1:
        (one, a), (other, b) = list(sizes.items())[:2]
        raise DataError(
            f"images differ in size: {a} has {list(one)} (height, width), {b} has {list(other)}: say what they are to "
            "be resized to, size=(32, 32)"
        )
    return "L" if grey else "RGB"


def _broken() -> tuple[type[Exception], ...]:
    """What Pillow raises for a file that is no image, or one that would fill memory."""
    return OSError, SyntaxError, ValueError, pillow().DecompressionBombError


def unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not an image that Pillow can read ({error}): mend it or remove it")


def pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "image files are read by Pillow, which is not installed: pip install 'lifelong[images]'"
        ) from error
    return Image
