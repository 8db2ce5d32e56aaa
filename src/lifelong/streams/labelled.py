"""What your own data come to, wherever they come from: tasks of inputs with labels that are not yet numbered."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.errors import DataError, warn
from ..core.examples import Examples, Lazy, Tensors
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task

__all__ = ["HELD_OUT", "Labelled", "fraction_of", "labels_of", "make_stream"]

HELD_OUT = 0.2  # of each task, where no test data are given


@final
@dataclass(frozen=True, eq=False)
class Labelled:
    """One task's inputs, ``[N, ...]`` or a data set of ``(x, y)``, and its N labels; `order`: of the labels, where the data have one."""

    inputs: Tensor | Dataset[Any]
    labels: list[int] | list[str]
    workers: int = 0
    order: tuple[str, ...] = ()

    @property
    def classes(self) -> list[int | str]:
        """The labels that occur, each once: numbers sorted, names in their order or in that in which they come."""
        found: list[Any] = list(dict.fromkeys(self.labels))
        if self.order:
            return sorted(found, key={name: i for i, name in enumerate(self.order)}.__getitem__)
        return sorted(found) if found and isinstance(found[0], int) else found

    def examples(self, outputs: Mapping[int | str, int]) -> Examples:
        y = torch.tensor([outputs[label] for label in self.labels], dtype=torch.int64)
        if isinstance(self.inputs, Tensor):
            return Tensors(self.inputs, y)
        return Lazy(self.inputs, y, workers=self.workers)


def make_stream(
    names: Sequence[str],
    train: Sequence[Labelled],
    test: float | Sequence[Labelled],
    scenario: Scenario,
    seed: int,
    announced: bool = True,
    classes: Sequence[str] | None = None,
) -> Stream:
    """The stream of these tasks, with the test data given or a fraction held out. The first outputs stand for `classes`.

    Raises:
        DataError: labels of two kinds, of the test data only, or (scenario "domain") not in every task; a class twice.
    """
    alone = isinstance(classes, str) or not isinstance(classes, Iterable | None)
    known = [] if classes is None or alone else [str(c) for c in labels_of(classes, "classes")]
    if alone or len(set(known)) < len(known):
        raise DataError(f"classes {classes!r}: expected the names of the first outputs, each once")
    own = [part.classes for part in train]  # in the order of their outputs
    every = list(dict.fromkeys(label for labels in own for label in labels))
    tested = [] if isinstance(test, float) else [label for part in test for label in part.classes]
    if len({type(label) for label in (*every, *tested)}) > 1:
        raise DataError("some tasks' labels are numbers and others' strings: make them all one or the other")
    number = {name: c for c, name in enumerate(dict.fromkeys([*known, *map(str, every)]))}
    remarks = _alike(list(number))
    for remark in remarks:
        warn(remark)
    outputs = {label: number[str(label)] for label in every}
    tasks = []
    for t, (name, part) in enumerate(zip(names, train)):
        missing = number.keys() - set(map(str, own[t])) if scenario == "domain" else set()
        if missing:
            raise DataError(
                f"task {name!r} has no example of {min(missing, key=number.__getitem__)!r}, and in the scenario 'domain' every task has the same "
                "classes: give it some, or use 'task' or 'class'"
            )
        whole = part.examples(outputs)
        if isinstance(test, float):
            kept, held = _hold_out(whole, test, generator(seed, f"test/{t}"))
        else:
            unknown = [label for label in dict.fromkeys(test[t].labels) if label not in own[t]]
            if unknown:
                raise DataError(
                    f"task {name!r} is tested on {unknown[0]!r}, which none of its training examples is: leave that "
                    "out of the test data, or give it training examples"
                )
            kept, held = whole, test[t].examples(outputs)
        tasks.append(Task(name, kept, held, tuple(sorted(outputs[label] for label in own[t]))))
    notes: dict[str, Any] = {"seed": seed, "held_out_for_test": test} if isinstance(test, float) else {}
    if remarks:
        notes["remarks"] = remarks
    return Stream(tuple(tasks), scenario, tuple(number), notes=notes, announced=announced, known=len(known))


def _alike(names: Sequence[str]) -> list[str]:
    """What is said of names that nearly are one name."""
    same: dict[str, list[str]] = {}
    for name in names:
        same.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [
        f"{', '.join(map(repr, group))} differ in capitals, spaces or the like alone, and are {len(group)} classes: write them alike if they "
        "are one"
        for group in same.values()
        if len(group) > 1
    ]


def _hold_out(whole: Examples, fraction: float, draws: torch.Generator) -> tuple[Examples, Examples]:
    """Training and test examples, each class with at least one to train on."""
    y = whole.labels
    order = torch.randperm(len(y), generator=draws)
    last = torch.full((int(y.max()) + 1 if len(y) else 0,), -1)  # where in this order a class comes last
    last = last.scatter_reduce(0, y[order], torch.arange(len(y)), "amax")
    free = torch.ones(len(y), dtype=torch.bool)
    free[last[last >= 0]] = False
    test = order[free][: max(1, round(fraction * len(y)))]
    kept = torch.ones(len(y), dtype=torch.bool)
    kept[test] = False
    return whole.subset(kept.nonzero().squeeze(1)), whole.subset(test.sort().values)


def fraction_of(test: float | None) -> float:
    """The fraction to hold out.

    Raises:
        DataError: it is none.
    """
    fraction = HELD_OUT if test is None else float(test)
    if not 0 < fraction < 1:
        raise DataError(
            f"test {test}: expected a fraction between 0 and 1, both excluded, or the tasks' test data: without any, "
            "nothing can be measured"
        )
    return fraction


def labels_of(values: Any, name: str) -> list[int] | list[str]:
    """Labels, of any type of whole numbers or strings, as ``int`` or ``str``; `name` says whose they are.

    Raises:
        DataError: they are not one a row, or something else.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise DataError(
            f"{name}: labels are a {type(values).__name__}, expected a list, an array or a tensor of N labels"
        )
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    if not isinstance(values, np.ndarray) or (values.dtype == object and values.ndim == 1):
        values = _objects(list(values))
    if values.ndim != 1:
        raise DataError(
            f"{name}: labels have shape {list(values.shape)}, expected one label an example, [N]: {_mend(values)}"
        )
    found = values.tolist() if values.dtype.kind in "biufUO" else list(values)  # dates would become numbers
    if all(isinstance(label, int) for label in found):
        return [int(label) for label in found]
    if all(isinstance(label, str) for label in found):
        return [str(label) for label in found]
    odd = next((i for i, label in enumerate(found) if not isinstance(label, int | str)), None)
    if odd is None:
        raise DataError(f"{name}: some labels are numbers and others strings: make them all one or the other")
    label = found[odd]
    if all(isinstance(one, float) and one.is_integer() for one in found):
        mend = "turn them into whole numbers (.astype(int), .long()) if they are classes"
    elif isinstance(label, Tensor | np.ndarray | list | tuple):
        mend = f"each is of shape {list(np.shape(label))}: {_mend(np.asarray(label)[None])}"
    else:
        mend = "fill in what is missing or leave these examples out; turn others into int or str"
    raise DataError(f"{name}: label {label!r} (example {odd}) is neither a whole number nor a string: {mend}")


def _mend(values: np.ndarray) -> str:
    """How labels of two or more dimensions become one an example."""
    if values.ndim == 2 and values.shape[1] == 1:
        return "a column becomes [N] by reshape(-1)"
    if values.ndim == 2 and values.dtype.kind in "biuf" and bool(((values != 0).sum(1) == 1).all()):
        return "one-hot rows become labels by argmax(1)"
    return "several targets an example are no classes; choose one of them, or make a class of each combination"


def _objects(values: list[Any]) -> np.ndarray:
    """The values as they are; numpy would make them alike (a missing string the string "nan")."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value.item() if getattr(value, "ndim", None) == 0 else value
    return array
