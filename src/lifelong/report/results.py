"""What ``results.csv`` of a run directory says, as numbers.

The file is in long form, one number a row, for all methods and seeds of a run::

    stream,scenario,method,seed,after,on,metric,value,n,seconds

With `on` it is a cell of R: the accuracy on task `on` (1..T) after `after` tasks (0..T). Without,
it is a measure or a cost of the method: of one task, or (``after`` = T) of the whole run.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MethodError, RunError, nearest
from ..core.yaml_io import read_yaml
from ..measures.matrix import Interval, RMatrix, interval, paired
from .words import UNKNOWN, varies

__all__ = [
    "COSTS",
    "HEADER",
    "MEASURES",
    "PEEKING",
    "REFERENCES",
    "Results",
    "configuration",
    "load",
    "merge",
    "own_name",
    "parse",
    "read",
]

HEADER = "stream,scenario,method,seed,after,on,metric,value,n,seconds"
MEASURES = {
    "acc": "ACC",
    "bwt": "BWT",
    "fwt": "FWT",
    "forgetting": "forgetting",
    "intransigence": "intransigence",
    "learning_accuracy": "learning accuracy",
    "worst_case": "worst case",
}
COSTS = {
    "train_seconds": "training",
    "eval_seconds": "evaluation",
    "memory_bytes": "memory",
    "parameters": "parameters",
    "parameter_ratio": "of one network's",
    "examples_forward": "examples forward",
    "examples_backward": "examples backward",
}
_SUMS = ("train_seconds", "examples_forward", "examples_backward")  # they stand task by task
# They train on all data at once, or keep a network for each task: others are held to them.
REFERENCES = {
    "joint": "joint training",
    "joint_once": "joint training, once at the end",
    "independent": "a network for each task",
}

PEEKING = " (peeking)"  # behind the name of a method whose constants were chosen on the test data


def own_name(method: str) -> str:
    """A method's name without that of its run (`merge`) and without what is said behind it: ``joint`` of ``a/joint (peeking)``."""
    return method.rsplit("/", 1)[-1].removesuffix(PEEKING)


_AGAIN = "the file is written by a run: restore it, or run again"


@final
@dataclass(frozen=True, eq=False)
class Results:
    """The numbers of a run, of one or several methods and seeds.

    Args:
        name: the run directory's name.
        stream, scenario: what was learnt, and how it was read.
        tasks: the T tasks' names, in order.
        seeds: each method's finished seeds (where none is finished, all); methods and seeds in the order of the file.
        cells: R of each (method, seed); what is missing or undefined is NaN.
        values: of each (method, seed, metric) the values by `after`.
        unfinished: each (method, seed) that has not reached the last task.
        varies: what varies between the seeds (`words.varies`).
    """

    name: str
    stream: str
    scenario: str
    tasks: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    cells: Mapping[tuple[str, int], RMatrix]
    values: Mapping[tuple[str, int, str], Mapping[int, float]]
    unfinished: tuple[tuple[str, int], ...] = ()
    varies: str = UNKNOWN
    T: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "T", len(self.tasks))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.seeds)

    @property
    def counts(self) -> list[int]:
        """The number of seeds of each method."""
        return [len(seeds) for seeds in self.seeds.values()]

    def matrix(self, method: str, seed: int) -> RMatrix:
        """R of one seed."""
        if seed not in self._seeds(method):
            raise RunError(f"{method!r} was not run with seed {seed}; its seeds: {self.seeds[method]}")
        return self.cells[method, seed]

    def stack(self, method: str) -> NDArray[np.float64]:
        """R of all seeds, ``[seeds, T+1, T]``."""
        return np.stack([self.matrix(method, seed).R for seed in self._seeds(method)])

    def mean(self, method: str) -> RMatrix:
        """The mean of R over seeds."""
        return RMatrix(self.stack(method).mean(axis=0))

    def summary(self, method: str, metric: str) -> list[float]:
        """One number a seed: a measure or a cost of the whole run; NaN where it is not defined."""
        return [self._of(method, seed, metric) for seed in self._seeds(method)]

    def interval(self, method: str, metric: str) -> Interval:
        """Mean and 95% interval of `summary`."""
        return interval(self.summary(method, metric))

    @property
    def sizes(self) -> dict[str, float]:
        """Each method's parameters at the end over those of the network that it began with; empty where no network grew."""
        found = {m: self.interval(m, "parameter_ratio").mean for m in self.methods}
        return found if any(v == v and v != 1 for v in found.values()) else {}

    @property
    def shares(self) -> dict[str, float]:
        """The part of its steps that each method took within a budget of compute, mean over tasks and seeds; empty without one."""
        found = {}
        for method in self.methods:
            each = [v for s in self.seeds[method] for v in self.values.get((method, s, "steps_share"), {}).values()]
            if known := [v for v in each if not math.isnan(v)]:
                found[method] = math.fsum(known) / len(known)
        return found

    def spent(self, method: str, what: str) -> NDArray[np.float64]:
        """What a method has cost after each task, ``[seeds, T+1]``: compute (passes so far, forward and back), memory (bytes) or parameters
        (of those at the beginning). NaN where it is not known."""
        rows = []
        for seed in self._seeds(method):

            def by_task(metric: str, seed: int = seed) -> NDArray[np.float64]:
                found = self.values.get((method, seed, metric), {})
                return np.array([found.get(t, np.nan) for t in range(self.T + 1)])

            if what == "compute":
                passes = by_task("examples_forward") + by_task("examples_backward")
                passes[0] = np.nan_to_num(passes[0])  # written only where a probe chose the order
                rows.append(np.cumsum(passes))
            elif what == "memory":
                rows.append(by_task("memory_bytes"))
            else:
                rows.append(by_task("parameters") / by_task("parameters")[0])
        return np.stack(rows)

    def without(self, methods: Sequence[str]) -> Results:
        """The same without some methods."""
        kept = {m: s for m, s in self.seeds.items() if m not in methods}
        return replace(self, seeds=kept, unfinished=tuple(u for u in self.unfinished if u[0] in kept))

    def difference(self, method: str, other: str, metric: str) -> Interval:
        """`method` − `other`, paired on the seeds both were run with (n = 0: there are none)."""
        common = [s for s in self._seeds(method) if s in self._seeds(other)]
        return paired(
            [self._of(method, s, metric) for s in common],
            [self._of(other, s, metric) for s in common],
        )

    def _seeds(self, method: str) -> tuple[int, ...]:
        if method not in self.seeds:
            known = ", ".join(self.methods)
            raise RunError(f"no method {method!r} in this run{nearest(method, self.methods)}: {known}")
        return self.seeds[method]

    def _of(self, method: str, seed: int, metric: str) -> float:
        found = self.values.get((method, seed, metric), {})
        value = found.get(self.T, float("nan"))
        if metric in _SUMS:
            return math.fsum(found.values()) if self.T in found else float("nan")
        if metric == "parameter_ratio" and math.isnan(value):
            counts = self.values.get((method, seed, "parameters"), {})
            return counts.get(self.T, float("nan")) / counts.get(0, float("nan"))
        if not math.isnan(value) or metric not in MEASURES:
            return value
        R = self.cells[method, seed]
        if metric == "intransigence":  # the reference may have come from another directory
            joint = self.cells.get(("joint", seed))
            return float("nan") if joint is None else R.intransigence(joint)
        return float(getattr(R, metric))


def read(directory: Path | str) -> Results:
    """The results of a run directory. `RunError` where they are missing or malformed."""
    directory = Path(directory)
    path = directory / "results.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        if (directory / "config.yaml").exists():
            raise RunError(f"{directory} has no results yet; go on with it: lifelong resume {directory}") from None
        there = "is no run directory" if directory.is_dir() else "is not there"
        raise RunError(
            f"{directory} {there}: expected results.csv in it; give the directory that a run wrote"
        ) from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}): {_AGAIN}") from error
    config, summary = configuration(directory), load(directory, "summary.json")
    known = varies(summary.get("notes") or {}, config, made_by_fit=(directory / "manifest.json").exists())
    found = replace(parse(path, rows, summary.get("tasks", ())), varies=known)
    if (config or {}).get("tuned") == "oracle":
        return _renamed(found, {m: m + PEEKING for m in found.methods})
    return found


def configuration(directory: Path | str) -> dict[str, Any] | None:
    """The configuration of a run directory by dotted keys; None where there is none (it was made in Python)."""
    path = Path(directory) / "config.yaml"
    try:
        return read_yaml(path) if path.exists() else None
    except MethodError as error:
        raise RunError(f"{error}: restore it, or remove it") from error


def load(directory: Path, name: str) -> dict[str, Any]:
    """A JSON object of a run directory; empty where the file is not there."""
    path = directory / name
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read as JSON ({error}): restore it, or remove it") from error
    if not isinstance(found, dict):
        raise RunError(f"{path}: expected a JSON object, got a {type(found).__name__}: restore it")
    return found


def merge(results: Sequence[Results]) -> Results:
    """Several runs of one stream and scenario as one. Methods of the same name are told apart as
    ``NAME/method``, NAME being the directory's."""
    first = results[0]
    alike = {"stream": "stream", "scenario": "scenario", "T": "number of tasks", "tasks": "tasks"}
    for other in results[1:]:
        for name, what in alike.items():
            a, b = getattr(first, name), getattr(other, name)
            if a != b:
                raise RunError(
                    f"{first.name} and {other.name} cannot be compared: expected the same {what}, "
                    f"got {a!r} and {b!r}; compare runs of one stream and scenario"
                )
    count = Counter(m for r in results for m in r.methods)
    renamed = [{m: f"{r.name}/{m}" if count[m] > 1 else m for m in r.methods} for r in _told_apart(results)]
    name = ", ".join(r.name for r in results)
    every = [_renamed(r, names) for r, names in zip(results, renamed)]
    alone = {r.varies for r in results}
    return replace(
        first,
        name=name,
        varies=first.varies if len(alone) == 1 else "; ".join(f"in {r.name}: {r.varies}" for r in _told_apart(results)),
        seeds={m: s for r in every for m, s in r.seeds.items()},
        cells={key: R for r in every for key, R in r.cells.items()},
        unfinished=tuple(u for r in every for u in r.unfinished),
        values={key: v for r in every for key, v in r.values.items()},
    )


def _renamed(results: Results, names: Mapping[str, str]) -> Results:
    """With other names of its methods."""
    return replace(
        results,
        seeds={names[m]: s for m, s in results.seeds.items()},
        cells={(names[m], s): R for (m, s), R in results.cells.items()},
        unfinished=tuple((names[m], s) for m, s in results.unfinished),
        values={(names[m], s, k): v for (m, s, k), v in results.values.items()},
    )


def _told_apart(results: Sequence[Results]) -> list[Results]:
    count, seen = Counter(r.name for r in results), Counter[str]()
    named = []
    for r in results:
        seen[r.name] += 1
        named.append(replace(r, name=f"{r.name}#{seen[r.name]}") if count[r.name] > 1 else r)
    return named


_FIELDS = HEADER.split(",")


class _Number(NamedTuple):
    """A row of ``results.csv``; `on` 0: of no one task."""

    method: str
    seed: int
    after: int
    on: int
    metric: str
    value: float

    @staticmethod
    def of(row: Sequence[str], stream: str, scenario: str, wrong: Callable[[str], RunError]) -> _Number:
        """What a row says; raises what `wrong` makes of a reason."""
        if len(row) != len(_FIELDS):
            raise wrong(f"expected {len(_FIELDS)} fields, got {len(row)}")
        cell = dict(zip(_FIELDS, row))
        if (cell["stream"], cell["scenario"]) != (stream, scenario):
            raise wrong(
                f"expected stream {stream!r} and scenario {scenario!r} throughout, got "
                f"{cell['stream']!r} and {cell['scenario']!r}"
            )
        try:
            seed, after, on = int(cell["seed"]), int(cell["after"]), int(cell["on"] or 0)
            value = float(cell["value"])
        except ValueError as error:
            raise wrong(f"expected numbers for seed, after, on and value ({error})") from None
        if after < 0 or on < 0:
            raise wrong(f"expected after 0..T and on 1..T, got {after} and {on}")
        if on and cell["metric"] == "accuracy" and not (math.isnan(value) or 0 <= value <= 1):
            raise wrong(f"expected an accuracy of 0..1 or nan, got {value:g}")
        return _Number(cell["method"], seed, after, on, cell["metric"], value)


def parse(path: Path, table: list[list[str]], names: Any = ()) -> Results:
    """The results that the rows of `table` say, its header first; `names` are the tasks', where they are known. `path` is
    named in errors."""
    if not table or ",".join(table[0]) != HEADER:
        came = ",".join(table[0]) if table else "an empty file"
        raise RunError(f"{path}: expected the header {HEADER}, got {came}: {_AGAIN}")
    if len(table) == 1:
        raise RunError(f"{path} has a header and no rows: the run stopped before its first result")
    rows = table[1:]
    accuracy: dict[tuple[str, int], dict[tuple[int, int], float]] = {}
    values: dict[tuple[str, int, str], dict[int, float]] = {}
    stream, scenario = rows[0][:2]
    T = 0
    for line, row in enumerate(rows, start=2):

        def wrong(what: str, line: int = line) -> RunError:
            return RunError(f"{path}, line {line}: {what}: {_AGAIN}")

        method, seed, after, on, metric, value = _Number.of(row, stream, scenario, wrong)
        T = max(T, after, on)
        one = accuracy.setdefault((method, seed), {})
        if on == 0:
            old = values.setdefault((method, seed, metric), {}).setdefault(after, value)
        elif metric == "accuracy":
            old = one.setdefault((after, on), value)
        else:
            continue
        if old != value and not (math.isnan(old) and math.isnan(value)):
            raise wrong(f"{metric} of {method}, seed {seed}, stands twice ({old:g} and {value:g})")
    tasks = tuple(str(name) for name in names) or tuple(f"task {i + 1}" for i in range(T))
    if len(tasks) < T:
        raise RunError(f"{path} holds {T} tasks, and summary.json beside it names {len(tasks)}: {_AGAIN}")
    cells = {}
    for key, found in accuracy.items():
        R = np.full((len(tasks) + 1, len(tasks)), np.nan)
        for (after, on), value in found.items():
            R[after, on - 1] = value
        cells[key] = RMatrix(R)
    seeds: dict[str, tuple[int, ...]] = {}
    for method, seed in accuracy:
        seeds[method] = (*seeds.get(method, ()), seed)
    ended = {key for key, found in accuracy.items() if any(after == len(tasks) for after, _ in found)}
    for method, all_seeds in seeds.items():
        seeds[method] = tuple(s for s in all_seeds if (method, s) in ended) or all_seeds
    unfinished = tuple(key for key in accuracy if key not in ended)
    name = path.resolve().parent.name
    return Results(name, stream, scenario, tasks, seeds, cells, values, unfinished)
