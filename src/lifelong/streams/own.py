"""Streams made of your own tensors, arrays or data sets.

Labels are whole numbers or strings, and the same label in two tasks is the same class: tasks that each number their own
classes from 0 need strings, or other numbers. A class's output is its place in the order in which the classes first
appear, task by task; within a task numbers are sorted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from ..core.errors import DataError
from ..core.stream import Scenario, Stream
from .labelled import Labelled, fraction_of, labels_of, make_stream

__all__ = ["stream_of"]

IN_MEMORY = 2**30  # bytes: a larger data set is read as it is needed
X_KEYS = ("image", "img", "pixel_values", "x", "input", "inputs", "features", "data")
Y_KEYS = ("label", "labels", "fine_label", "target", "targets", "class", "y")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")  # Pillow's modes of more than 8 bits


def stream_of(
    data: Sequence[Any],
    scenario: Scenario = "class",
    *,
    test: float | Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    x: str | int | None = None,
    y: str | int | None = None,
    seed: int = 0,
    in_memory: bool | None = None,
    workers: int = 0,
    announced: bool = True,
    classes: Sequence[str] | None = None,
) -> Stream:
    """A stream of your own data, one entry of `data` a task.

    An entry is a pair of inputs ``[N, ...]`` and labels ``[N]`` (tensors or arrays; labels may be a list), or a
    map-style data set whose items are pairs or, as from Hugging Face, dictionaries. Images of Pillow become bytes
    ``[H, W]`` or ``[3, H, W]``; bytes reach the network divided by 255.

    Labels are whole numbers of any type, or strings; floats are refused, whole or not, since they may be targets of a regression.
    Where a data set names its classes (``classes`` as in torchvision, a ``ClassLabel`` of Hugging Face), the numbers stand for these
    names: number 1 of two data sets is one class only where both give it the same name.

    >>> import torch
    >>> odd = torch.rand(20, 4), ["1", "3"] * 10
    >>> even = torch.rand(20, 4), ["2", "4"] * 10
    >>> stream = stream_of([odd, even], test=0.25)
    >>> stream.class_names, stream[1].classes, len(stream[1].train), len(stream[1].test)
    (('1', '3', '2', '4'), (2, 3), 15, 5)

    Args:
        data: the tasks' training data.
        scenario: class, task or domain; in the last every task must have the same labels.
        test: the tasks' test data, in the same order; or the fraction of each task's examples that is held out for it,
            drawn at random (0.2 if nothing is said). A class keeps at least one example to train on.
        names: the tasks' names.
        x: where a data set's items hold the input (a key or a place). It must be said, as `y` must, where items have more than two
            parts, or several keys that are usual for an input.
        y: where they hold the label; of items in places, the label is then read from each item, and not from ``dataset.targets``.
        seed: of the examples held out.
        in_memory: whether data sets are read once and kept; if nothing is said, up to 1 GiB each. Say False for items
            that change whenever they are read (random augmentation).
        workers: processes that read a data set that is not kept.
        announced: whether the network has an output for every class from the start; otherwise (scenario class) it begins with
            those of the first task and gets more as they come.
        classes: what the first outputs stand for already: a learner's ``class_names``, where its network has learnt before. A label with such a
            name is that output's; others follow.

    Raises:
        DataError: an entry is none of these; labels that are no labels, or that only the test data hold; another
            number of names or tests than of tasks. Labels that items and ``dataset.targets`` do not agree on.
    """
    entries = _listed(data, "data")
    read = _Reader(x, y, in_memory, workers)
    named = [f"task {i + 1}" for i in range(len(entries))] if names is None else list(names)
    if len(named) != len(entries) or len(set(named)) != len(named):
        raise DataError(f"names {named}: expected {len(entries)} different ones, one for each task")
    train = [read(entry, named[i]) for i, entry in enumerate(entries)]
    if test is None or isinstance(test, float | int):
        return make_stream(named, train, fraction_of(test), scenario, seed, announced, classes)
    given = _listed(test, "test")
    if len(given) != len(entries):
        raise DataError(
            f"{len(given)} test sets for {len(entries)} tasks: give one for each, in their order, or a fraction to "
            "hold out"
        )
    tested = [read(entry, f"{named[i]} (test)") for i, entry in enumerate(given)]
    return make_stream(named, train, tested, scenario, seed, announced, classes)


def _listed(data: Any, what: str) -> list[Any]:
    if hasattr(data, "columns"):
        raise DataError(
            f"{what}: expected a list with one entry a task, got a frame: use from_frame(frame, task=..., label=...)"
        )
    single = isinstance(data, str | Mapping | Dataset) or _is_array(data)
    entries = [] if single else list(data)
    if not entries or any(_is_array(entry) for entry in entries):
        got = type(data).__name__ if single else "bare arrays" if entries else "an empty one"
        raise DataError(
            f"{what}: expected a list with one entry a task, each a pair (x, y) of arrays or a data set; got {got}: a "
            "single task is [(x, y)] or [dataset]"
        )
    return entries


@final
@dataclass(frozen=True)
class _Reader:
    """Reads one entry."""

    x: str | int | None
    y: str | int | None
    in_memory: bool | None
    workers: int

    def __call__(self, entry: Any, name: str) -> Labelled:
        if isinstance(entry, TensorDataset):
            places = [0 if self.x is None else self.x, 1 if self.y is None else self.y]
            if len(entry.tensors) == 2 or None not in (self.x, self.y):
                entry = tuple(_part(entry.tensors, place, name) for place in places)
        if isinstance(entry, tuple | list) and len(entry) == 2 and _is_array(entry[0]):
            x, labels = _tensor(entry[0], name), labels_of(entry[1], name)
            if len(x) != len(labels):
                raise DataError(f"{name}: {len(x)} inputs and {len(labels)} labels; expected as many of each")
            return Labelled(x, labels)
        readable = isinstance(entry, Sized) and hasattr(entry, "__getitem__")
        if isinstance(entry, IterableDataset | tuple | Mapping | str) or not readable:
            raise DataError(
                f"{name}: expected a pair (x, y) of arrays or a map-style data set (len(d), d[i]), got "
                f"{type(entry).__name__}: read it into one of these"
            )
        if len(entry) == 0:
            raise DataError(f"{name}: the data set is empty; leave the task out or give it data")
        return self._dataset(entry, name)

    def _dataset(self, entry: Any, name: str) -> Labelled:
        items = _Items(entry, self.x, self.y, name)
        first = items[0][0]
        size = first.numel() * first.element_size() * len(items)
        if self.in_memory is False or (self.in_memory is None and size > IN_MEMORY):
            held = _column(entry, items.y, self.y is not None)
            labels = labels_of([items[i][1] for i in range(len(items))] if held is None else held, name)
            if held is not None:
                _agree(items, labels)
            return self._labelled(entry, items.y, items, labels, name)
        x = torch.empty((len(items), *first.shape), dtype=first.dtype)
        read = []
        for i in range(len(items)):
            value, label = items[i]
            if value.shape != first.shape:
                raise DataError(
                    f"{name}: item {i} has shape {list(value.shape)}, item 0 {list(first.shape)}: one network needs "
                    "one input shape; resize or pad them alike"
                )
            x[i] = value
            read.append(label)
        return self._labelled(entry, items.y, x, labels_of(read, name), name)

    def _labelled(self, entry: Any, y: Any, inputs: Any, labels: Any, name: str) -> Labelled:
        """With the names of the classes, where the data set has them."""
        names = _class_names(entry, y, name)
        if names and labels and isinstance(labels[0], int):
            odd = next((i for i, label in enumerate(labels) if not 0 <= label < len(names)), None)
            if odd is not None:
                raise DataError(
                    f"{name}: label {labels[odd]} (example {odd}) is none of the {len(names)} classes that the data set names "
                    f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}): correct the label or the names, or leave the example out"
                )
            return Labelled(inputs, [names[label] for label in labels], self.workers, names)
        return Labelled(inputs, labels, self.workers)


@final
class _Items(Dataset[Any]):
    """A data set's items as ``(tensor, label)``, whatever they come as."""

    def __init__(self, dataset: Any, x: str | int | None, y: str | int | None, name: str) -> None:
        self.dataset = dataset
        self.name = name
        item = dataset[0]
        if isinstance(item, Mapping):
            self.x: Any = _key(item, x, X_KEYS, "x", name)
            self.y: Any = _key(item, y, Y_KEYS, "y", name)
        elif isinstance(item, tuple | list) and len(item) >= 2:
            if len(item) > 2 and (x is None or y is None):
                parts = ", ".join(f"{i}: {_described(part)}" for i, part in enumerate(item))
                raise DataError(
                    f"{name}: items have {len(item)} parts ({parts}), expected pairs (x, y): say which part is the input and which the "
                    f"label, for instance x=0, y={len(item) - 1}"
                )
            self.x, self.y = 0 if x is None else x, 1 if y is None else y
            _part(item, self.x, name), _part(item, self.y, name)
        else:
            raise DataError(f"{name}: items are of type {type(item).__name__}, expected pairs (x, y) or dictionaries")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        item = self.dataset[index]
        return _tensor(item[self.x], self.name), item[self.y]


def _part(parts: Sequence[Any], place: Any, name: str) -> Any:
    if not isinstance(place, int) or not -len(parts) <= place < len(parts):
        raise DataError(f"{name}: items have no part {place!r}: expected a place, 0 to {len(parts) - 1}")
    return parts[place]


def _described(part: Any) -> str:
    shape = getattr(part, "shape", None)
    return type(part).__name__ if shape is None else f"{type(part).__name__} {list(shape)}"


def _key(item: Mapping[str, Any], said: Any, usual: tuple[str, ...], what: str, name: str) -> Any:
    found = [key for key in (usual if said is None else (said,)) if key in item]
    if not found:
        looked = f"none of {', '.join(usual)}" if said is None else f"no {said!r}"
        raise DataError(f"{name}: {looked} among {', '.join(map(str, item))}: say which it is with {what}=")
    if len(found) > 1:
        raise DataError(
            f"{name}: items have {' and '.join(map(repr, found))}: say which is meant with {what}={found[0]!r} or another"
        )
    return found[0]


def _column(dataset: Any, y: Any, said: bool) -> Any:
    """All labels of a data set that holds them apart from its items; otherwise None. `said`: whether the user said which part `y` is."""
    if isinstance(dataset, Subset):
        whole = _column(dataset.dataset, y, said)
        return None if whole is None else np.asarray(whole)[np.asarray(dataset.indices)]
    if y in (getattr(dataset, "column_names", None) or ()):  # Hugging Face
        return list(dataset[y])
    if y != 1 or said or getattr(dataset, "target_transform", None) is not None:
        return None  # the items' labels are others than these attributes
    for attribute in ("targets", "labels"):
        values = getattr(dataset, attribute, None)
        if isinstance(values, Sized) and len(values) == len(dataset):
            return values
    return None


def _agree(items: _Items, labels: Sequence[Any]) -> None:
    """Raises `DataError` where a few items' labels are not those that the data set holds apart."""
    few = np.unique(np.linspace(0, len(items) - 1, 8).round().astype(int)).tolist()
    read = labels_of([items[i][1] for i in few], items.name)
    odd = next((k for k, i in enumerate(few) if read[k] != labels[i]), None)
    if odd is not None:
        raise DataError(
            f"{items.name}: item {few[odd]} has the label {read[odd]!r}, and the labels that the data set holds apart (targets, labels or a "
            f"column) say {labels[few[odd]]!r}: make them agree, or say y={items.y!r} to have every item read"
        )


def _class_names(dataset: Any, y: Any, name: str) -> tuple[str, ...]:
    """What the numbers of a data set's classes stand for; empty where it does not say so."""
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset, y, name)
    if isinstance(dataset, ConcatDataset):
        every = list(dict.fromkeys(_class_names(part, y, name) for part in dataset.datasets))
        if len(every) > 1:
            raise DataError(
                f"{name}: data sets that are joined name their classes differently ({every[0][:3]}, {every[1][:3]}), so that a number is not one "
                "class: number them alike, or give each as a task"
            )
        return every[0]
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):  # Hugging Face
        found = getattr(features.get(y), "names", None)
    else:
        own = y == 1 and getattr(dataset, "target_transform", None) is None
        found = getattr(dataset, "classes", None) if own else None
    named = isinstance(found, list | tuple) and all(isinstance(name, str) for name in found)
    return tuple(found) if found and named and len(set(found)) == len(found) else ()


def _tensor(value: Any, name: str) -> Tensor:
    """Inputs as a tensor; an image of Pillow's as ``[H, W]`` or ``[3, H, W]``."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "getbands"):
        if value.mode not in ("L", "RGB", *DEEP):
            value = value.convert("L" if value.mode in ("1", "LA") else "RGB")
        pixels = np.array(value)
        value = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
        value = value if value.ndim == 2 else value.transpose(2, 0, 1)
    mapped = isinstance(value, np.memmap) and value.flags.c_contiguous
    array = value if mapped else np.require(value, requirements=["C", "W"])  # what a tensor can share
    try:
        with warnings.catch_warnings():  # a map that cannot be written to: inputs are only read
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(array)
    except TypeError as error:
        raise DataError(
            f"{name}: inputs are {type(value).__name__} of {array.dtype}, expected numbers (a tensor, an array or an "
            "image): turn them into numbers first"
        ) from error


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)
