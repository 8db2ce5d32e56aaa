"""Streams made of a folder of images: folders for tasks, in them folders for classes."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch.utils.data import Dataset

from ..core.errors import DataError, warn
from ..core.stream import Scenario, Stream, remembered
from .labelled import HELD_OUT
from .own import DEEP, stream_of

__all__ = ["below", "endings", "first_frame", "from_folder", "left_out", "pillow", "unreadable"]

LAYOUT = "task/class/image"
PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")  # folders that are no tasks


@remembered
def from_folder(
    path: str | Path,
    size: tuple[int, ...] | None = None,
    scenario: Scenario = "class",
    test: float = HELD_OUT,
    seed: int = 0,
    announced: bool = True,
    classes: tuple[str, ...] | None = None,
    tasks: int | None = None,
) -> Stream:
    """A stream of image files: ``path/task/class/*.png``, or, with test images of their own, ``path/train/task/class/*.png`` and
    ``path/test/task/class/*.png``. Without folders for tasks: ``path/class/*.png`` and `tasks`.

    A file is an image if Pillow can open files of its ending. Folders within a class's folder are read too. Other files are left out,
    and a `LifelongWarning` and ``stream.notes["remarks"]`` say how many; hidden files are left out without a word. Tasks and classes
    are named after their folders and come in the order of these names (2 before 10). Images are grey ``[H, W]`` if all of them are, and
    otherwise ``[3, H, W]``; of an image with several frames the first is read, transparency is dropped, and an orientation in EXIF is
    not applied.

    Args:
        path: the folder.
        size: height and width that images are resized to, or one number for both; none leaves them as they are.
        scenario: class, task or domain.
        test: the fraction of each task's images that is held out for testing, where there is no folder of test images.
        seed: of the images held out.
        announced: whether the network has an output for every class from the start; otherwise (scenario class) it gets more as
            they come.
        classes: see `stream_of`.
        tasks: into how many tasks the classes are divided, in the order of their names, where path holds folders for classes and
            none for tasks; 1: a single task.

    Raises:
        DataError: Pillow is not installed; no images where they are expected, or images where none are; files that are no
            images; a folder of a class without an image; images of different sizes and no `size`.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: expected one with {LAYOUT} in it")
    if size is not None:
        size = (size,) if isinstance(size, int) else tuple(size)
        if len(size) not in (1, 2) or min(size) < 1:
            raise DataError(f"size {size}: expected height and width of at least 1, or one number for both")
    both = None if size is None else (size[0], size[-1])
    if tasks is not None and tasks < 1:
        raise DataError(f"tasks {tasks}: expected at least 1")
    places, beside = _places(root)
    found = [_Found.of(place, flat=tasks is not None) for place in places]
    if tasks is not None:
        found = _divided(root, found, tasks)
    names = list(found[0].images)
    alone = [name for f in found for name in f.images if any(name not in other.images for other in found)]
    if alone:
        raise DataError(f"{root}: task {alone[0]!r} is in only one of train/ and test/: give it images in both")
    kinds = list(dict.fromkeys(kind for f in found for part in f.images.values() for _, kind in part))
    if len(kinds) == 1 and not classes:
        raise DataError(
            f"{root}: all images are of one class, {kinds[0]!r}, so there is nothing to tell apart: expected {LAYOUT} in it; "
            "class/image is read with tasks=1 or more"
        )
    mode, several = _mode([image for f in found for part in f.images.values() for image, _ in part], both)
    sets = [[_Files(f.images[name], mode, both) for name in names] for f in found]
    held_out = sets[1] if len(sets) > 1 else test
    remarks = [*beside, *_remarks(root, found), *first_frame(several, root)]
    for remark in remarks:
        warn(remark)
    stream = stream_of(sets[0], scenario, test=held_out, names=names, seed=seed, announced=announced, classes=classes)
    remarks += [*stream.notes.get("remarks", ()), *_lacking(found[0])]
    notes = {**stream.notes, "size": list(stream.shape[-2:])} | ({"remarks": remarks} if remarks else {})
    return replace(stream, name="folder", source=str(root), notes=notes)


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


# --- what lies where -----------------------------------------------------------------------------------------------------
def _places(root: Path) -> tuple[list[Path], list[str]]:
    """Where the images are, training and test apart if they are; and what is beside that."""
    folders = _inside(root, folders=True)
    parts = {f.name: f for f in folders if f.name.casefold() in PARTS}
    if not parts:
        return [root], []
    if not {"train", "test"} <= set(parts):
        raise DataError(
            f"{root} holds {', '.join(f'{name}/' for name in parts)}: expected train/ and test/, with {LAYOUT} in both, or neither; rename the "
            "folders, or give the one that holds the tasks"
        )
    others = [f.name for f in folders if f.name not in ("train", "test")]
    said = (
        [f"{_named(root)}: {', '.join(f'{n}/' for n in others)} beside train/ and test/ is left out"] if others else []
    )
    stray = _split(root, _inside(root, folders=False))[0]
    if stray:
        raise _misplaced(stray[0], "train/ and test/")
    return [root / "train", root / "test"], said


@final
@dataclass
class _Found:
    """The images of a folder with their classes, by task, and what else there is."""

    images: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)  # no images
    deep: list[Path] = field(default_factory=list)  # in a folder within a class's folder

    @staticmethod
    def of(root: Path, flat: bool) -> _Found:
        """What lies in ``root/task/class``; `flat`: in ``root/class``, as a task without a name."""
        found = _Found()
        for task in [root] if flat else found._folders(root, f"expected {LAYOUT}"):
            fix = (
                "expected class/image, as tasks says"
                if flat
                else f"expected {LAYOUT}; class/image, without folders for tasks, is read with tasks=1 or more (--stream.tasks)"
            )
            found.images["" if flat else task.name] = [
                (image, kind.name) for kind in found._folders(task, fix) for image in found._class(kind)
            ]
        return found

    def _folders(self, place: Path, fix: str) -> list[Path]:
        images, others = _split(place, _inside(place, folders=False))
        folders = _inside(place, folders=True)
        self.others += others
        if images and not folders:
            raise DataError(f"{place} holds images ({images[0].name}) and no folders for classes: {fix}")
        if not folders:
            raise DataError(f"no images in {place}, and no folders: {fix}")
        if images:
            raise _misplaced(images[0], "the folders of the classes")
        return folders

    def _class(self, kind: Path) -> list[Path]:
        images, others = below(kind)
        self.others += others
        self.deep += [image for image in images if image.parent != kind]
        if not images:
            said = f", only {_kinds(others)}" if others else ""
            raise DataError(
                f"no images in {kind}{said}: give the class some that Pillow can open, or remove its folder"
            )
        return images


def below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder and in all folders in it, and the other files. Links are followed, hidden files passed over."""
    return _split(folder, list(_walk(folder, ())))


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:  # a link to a folder that it lies in
        return
    yield from _inside(folder, folders=False)
    for inner in _inside(folder, folders=True):
        yield from _walk(inner, (*above, real))


def _split(folder: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    known = endings()
    images = [f for f in files if f.suffix.lower() in known]
    return images, [f for f in files if f.suffix.lower() not in known]


def _inside(path: Path, folders: bool) -> list[Path]:
    """What is in a folder, "task 2" before "task 10"; what is hidden is left out."""

    def natural(entry: Path) -> tuple[list[tuple[int, str]], str]:
        pieces = re.findall(r"\d+|\D+", entry.name)
        return [(int(p), "") if p.isdecimal() else (-1, p.casefold()) for p in pieces], entry.name

    try:
        return sorted((p for p in path.iterdir() if p.is_dir() == folders and not p.name.startswith(".")), key=natural)
    except OSError as error:
        raise DataError(f"cannot read the folder {path} ({error.strerror or error}): allow it, or move it") from error


def _misplaced(image: Path, where: str) -> DataError:
    return DataError(f"{image} lies outside {where}, so its class is not known: move it into one of them, or away")


def _divided(root: Path, found: Sequence[_Found], tasks: int) -> list[_Found]:
    """The classes of folders without tasks, divided into so many."""
    kinds = list(dict.fromkeys(kind for _, kind in found[0].images[""]))
    if tasks > len(kinds):
        raise DataError(
            f"{root}: {tasks} tasks of {len(kinds)} classes: each task needs a class; ask for at most {len(kinds)}"
        )
    beyond = [kind for f in found for _, kind in f.images[""] if kind not in kinds]
    if beyond:
        raise DataError(f"{root}: test/ has the class {beyond[0]!r}, and train/ has not: give it images in both")
    few, more = divmod(len(kinds), tasks)  # the first `more` tasks have one class more, as in `split`
    ends = [few * t + min(t, more) for t in range(tasks + 1)]
    groups = {"/".join(kinds[a:b]): set(kinds[a:b]) for a, b in itertools.pairwise(ends)}
    return [
        replace(f, images={name: [i for i in f.images[""] if i[1] in group] for name, group in groups.items()})
        for f in found
    ]


# --- what is to be said ----------------------------------------------------------------------------------------------------
def _remarks(root: Path, found: Sequence[_Found]) -> list[str]:
    """What may not be as it was meant."""
    said = left_out([path for f in found for path in f.others], root)
    deep = [path for f in found for path in f.deep]
    if deep:
        said.append(
            f"{_named(root)}: {len(deep)} images lie in folders within a class's folder and are read as that class (the first: "
            f"{deep[0].relative_to(root)})"
        )
    untested = []
    for name, part in found[0].images.items():
        kinds = {kind for _, kind in found[-1].images[name]}
        untested += [f"{kind!r} of task {name!r}" for kind in dict.fromkeys(k for _, k in part) if kind not in kinds]
    if untested:
        said.append(f"{_named(root)}: no test images of {_listed(untested)}: how well these are told is not measured")
    return said


def _lacking(found: _Found) -> list[str]:
    """What is said of classes that a task lacks and others have with which it shares some: they may have been forgotten."""
    own = {name: {kind for _, kind in part} for name, part in found.images.items()}
    absent = []
    for name, kinds in own.items():
        beside = set().union(*(o for o in own.values() if o & kinds)) - kinds
        absent += [f"{kind!r} in task {name!r}" for kind in sorted(beside)]
    return [f"tasks share classes, and there are no images of {_listed(absent)}"] if absent else []


def left_out(others: Sequence[Path], root: Path) -> list[str]:
    """What is said of files that are no images; nothing where there are none."""
    if not others:
        return []
    many = f"{len(others)} files are" if len(others) > 1 else "1 file is"
    first = others[0].relative_to(root)
    return [f"{_named(root)}: {many} left out, as Pillow opens no such files: {_kinds(others)} (the first: {first})"]


def first_frame(several: Sequence[Path], root: Path) -> list[str]:
    """What is said of images with several frames."""
    if not several:
        return []
    many = f"{len(several)} images have" if len(several) > 1 else "1 image has"
    return [
        f"{_named(root)}: {many} several frames, of which the first is read (the first: {several[0].relative_to(root)})"
    ]


def _named(root: Path) -> str:
    return root.resolve().name  # what is written into a run's directory holds no path of this machine


def _kinds(files: Sequence[Path]) -> str:
    count = Counter(f.suffix.lower() or "without an ending" for f in files)
    return _listed([f"{n} {ending}" for ending, n in count.most_common()])


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# --- Pillow ----------------------------------------------------------------------------------------------------------------
def _mode(images: Sequence[Path], size: tuple[int, int] | None) -> tuple[str, list[Path]]:
    """Pillow's mode for them all, grey if every one is, and those with several frames. Reads headers only."""
    grey, sizes, several = True, dict[tuple[int, int], Path](), []
    for path in images:
        try:
            with pillow().open(path) as image:
                mode, at = image.mode, (image.height, image.width)
                if getattr(image, "is_animated", False):
                    several.append(path)
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
    return "L" if grey else "RGB", several


def endings() -> frozenset[str]:
    """Of the files that Pillow can open, plugins of others included; not of those that it only recognises."""
    image = pillow()
    image.init()
    from PIL.ImageFile import StubImageFile

    known: dict[str, Any] = {name: opener for name, (opener, _) in image.OPEN.items()}
    stubs = {n for n, opener in known.items() if isinstance(opener, type) and issubclass(opener, StubImageFile)}
    return frozenset(e for e, name in image.registered_extensions().items() if name in known and name not in stubs)


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
