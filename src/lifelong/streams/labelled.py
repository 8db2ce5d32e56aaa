"""What your own data come to, wherever they come from: tasks of inputs with labels that are not yet numbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DataError
from ..random import generator
from ..stream import Examples, Lazy, Scenario, Stream, Task, Tensors

__all__ = ["HELD_OUT", "Labelled", "fraction_of", "labels_of", "make_stream"]

HELD_OUT = 0.2  # of each task, where no test data are given


@final
@dataclass(frozen=True, eq=False)
class Labelled:
    """One task's inputs, ``[N, ...]`` or a data set of ``(x, y)``, and its N labels."""

    inputs: Tensor | Dataset[Any]
    labels: list[int] | list[str]
    workers: int = 0

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
    own: list[list[int | str]] = []  # each task's labels, in the order of their outputs
    for part in train:
        found: list[Any] = list(dict.fromkeys(part.labels))
        own.append(sorted(found) if found and isinstance(found[0], int) else found)
    every = list(dict.fromkeys(label for labels in own for label in labels))
    if len({type(label) for label in every}) > 1:
        raise DataError("some tasks' labels are numbers and others' strings: make them all one or the other")
    number = {name: c for c, name in enumerate(dict.fromkeys([*known, *map(str, every)]))}
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
    notes = {"seed": seed, "held_out_for_test": test} if isinstance(test, float) else {}
    return Stream(tuple(tasks), scenario, tuple(number), notes=notes, announced=announced)


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
    """Labels as whole numbers or strings; `name` says whose they are.

    Raises:
        DataError: they are not one a row, or something else.
    """
    if isinstance(values, Tensor):
        values = values.cpu().numpy()
    if not isinstance(values, np.ndarray) or (values.dtype == object and values.ndim == 1):
        values = _objects(list(values))
    if values.ndim != 1:
        raise DataError(
            f"{name}: labels have shape {list(values.shape)}, expected one label an example: [N]; one-hot rows become "
            "labels by argmax(1)"
        )
    found = values.tolist() if values.dtype.kind in "biufUO" else list(values)  # dates would become numbers
    if all(isinstance(label, int) for label in found):
        return [int(label) for label in found]
    if all(isinstance(label, str) for label in found):
        return [str(label) for label in found]
    odd = next((i for i, label in enumerate(found) if not isinstance(label, int | str)), None)
    if odd is None:
        raise DataError(f"{name}: some labels are numbers and others strings: make them all one or the other")
    raise DataError(
        f"{name}: label {found[odd]!r} (example {odd}) is neither a whole number nor a string: fill in what is missing "
        "or leave these examples out; turn others into int or str"
    )


def _objects(values: list[Any]) -> np.ndarray:
    """The values as they are; numpy would make them alike (a missing string the string "nan")."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value.item() if getattr(value, "ndim", None) == 0 else value
    return array
