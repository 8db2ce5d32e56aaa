"""The pictures of a page: each figure by its name, with its caption and with what it says to those who do not see it."""

from __future__ import annotations

import base64
import csv
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from ..core.errors import RunError, nearest
from . import table
from .results import Results
from .words import over

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = [
    "KINDS",
    "NAMES",
    "Picture",
    "data_of",
    "drawings",
    "file",
    "generated_inputs",
    "load_samples",
    "typeset",
    "within",
]

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
NAMES = ("kept", "compare", "compute", "costs", "curves", "memory", "efficiency", "heat", "heat:METHOD", "surfaces")
WITHIN = {"min_acc": "min-ACC", "wc_acc": "WC-ACC", "anytime_accuracy": "any-time"}
_AGAINST = {
    "efficiency": "parameters, in those of the network that the run began with",
    "compute": "examples passed forward and back in training",
    "memory": "bytes kept because of past tasks",
}


@final
@dataclass(frozen=True)
class Picture:
    """A figure of a page: where its data come from, what it says to those who do not see it."""

    src: str
    alt: str
    caption: str


def data_of(content: bytes, kind: str) -> str:
    """A file within a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file(path: Path) -> Picture:
    """A picture that lies in ``figures/``."""
    said = path.stem.replace("-", " ").replace("_", " ")
    return Picture(data_of(path.read_bytes(), KINDS[path.suffix.lower()]), said, said)


def typeset(text: str) -> str:
    """A number with a true minus, and with spaces about ± that do not break."""
    return re.sub(r"-(?=\d)", "−", text).replace("±", "\u202f±\u202f")


def _short(value: float) -> str:
    return table.UNDEFINED if math.isnan(value) else f"{value:.2f}"


def _said(results: Results, metric: str) -> str:
    return "; ".join(f"{m} {typeset(table.number(results.interval(m, metric)))}" for m in results.methods)


def _amounts(results: Results, metric: str) -> str:
    of = {m: results.interval(m, metric).mean for m in results.methods}
    return "; ".join(f"{m} {table.amount(v, metric)}" for m, v in of.items())


def drawings(results: Results) -> Callable[[str], Picture]:
    """Draws a picture by its name: one of `NAMES`.

    Raises:
        RunError: there is none of that name.
    """
    return functools.cache(_Drawings(results).draw)


@final
class _Drawings:
    """The figures of some results, each with its caption."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.means = over(results.counts, results.varies, "Means")

    def draw(self, name: str) -> Picture:
        kind, _, method = name.partition(":")
        if kind == "heat":
            return self.heat(method)
        if kind in _AGAINST:
            return self.spent(kind)
        made = {
            "curves": self.curves,
            "kept": self.kept,
            "costs": self.costs,
            "compare": self.compare,
            "surfaces": self.surfaces,
        }
        if kind in made:
            return made[kind]()
        raise RunError(
            f"story.json asks for the figure {name!r}{nearest(name, NAMES)}: expected the name of "
            f"a picture in figures/, or one of {', '.join(NAMES)}"
        )

    @functools.cached_property
    def limits(self) -> tuple[float, float]:
        """Of the colours of every heat map, so that they compare."""
        from .look import limits

        low, high = limits(*(self.results.mean(m).R for m in self.results.methods))
        return low, min(high, 1.0)

    def heat(self, method: str) -> Picture:
        from . import figures

        R = self.results.mean(method)
        end = "; ".join(f"{t} {_short(v)}" for t, v in zip(self.results.tasks, R.R[-1]))
        figure = figures.heat(R, self.results.tasks, self.limits)
        return _picture(figure, f"Heat map of R for {method}. At the end: {end}.", method)

    def curves(self) -> Picture:
        from . import figures

        caption = f"Accuracy on each task as the stream goes by; the task's own training is shaded. {self.means}"
        alt = f"Accuracy over the stream. At the end: {_said(self.results, 'acc')}."
        return _picture(figures.curves(self.results), alt, caption)

    def kept(self) -> Picture:
        from . import figures

        caption = f"The line between ring and dot is what was forgotten. {self.means}"
        alt = (
            f"Each task and method before and after. Mean when just learnt: {_said(self.results, 'learning_accuracy')}; at the end: "
            f"{_said(self.results, 'acc')}."
        )
        return _picture(figures.kept(self.results), alt, caption)

    def costs(self) -> Picture:
        from . import figures

        alt = (
            f"Costs. Training time: {_amounts(self.results, 'train_seconds')}. Memory: "
            f"{_amounts(self.results, 'memory_bytes')}. Parameters: {_amounts(self.results, 'parameters')}."
        )
        return _picture(figures.costs(self.results), alt, self.means)

    def spent(self, name: str) -> Picture:
        """ACC against a cost: one of `_AGAINST`."""
        from . import figures

        results = self.results
        if name == "efficiency":
            ends = "; ".join(f"{m} {v:.2f}" for m, v in results.sizes.items())
        else:
            unit = "memory_bytes" if name == "memory" else ""
            last = {m: float(results.spent(m, name)[:, -1].mean()) for m in results.methods}
            ends = "; ".join(f"{m} {table.amount(v, unit)}" for m, v in last.items())
        caption = f"Mean accuracy over the tasks learnt against {_AGAINST[name]}: from the first task to the last (point). {self.means}"
        figure = figures.efficiency(results, "parameters" if name == "efficiency" else name)
        return _picture(figure, f"At the end, {_AGAINST[name]}: {ends}. ACC: {_said(results, 'acc')}.", caption)

    def compare(self) -> Picture:
        from . import figures

        acc, bwt, fwt = (_said(self.results, metric) for metric in ("acc", "bwt", "fwt"))
        return _picture(figures.compare(self.results), f"ACC: {acc}. BWT: {bwt}. FWT: {fwt}.", self.means)

    def surfaces(self) -> Picture:
        from . import surfaces as two_weights

        figure, numbers = two_weights.surfaces()
        text = two_weights.caption(numbers)
        return _picture(figure, f"Error surfaces. {text}", text)


def _picture(figure: Figure, alt: str, caption: str) -> Picture:
    from . import figures

    return Picture(data_of(figures.svg(figure).encode(), "image/svg+xml"), alt, caption)


def within(path: Path, results: Results) -> tuple[str, Picture]:
    """What was measured within tasks, from ``within.csv``: a text and a picture.

    Raises:
        RunError: the file is malformed.
    """
    from . import figures

    moments: dict[tuple[str, int], dict[tuple[int, int, int], float]] = {}
    order: dict[tuple[int, int], int] = {}
    try:
        with open(path, newline="", encoding="utf-8") as source:
            for i, row in enumerate(csv.DictReader(source)):
                task, step, on = int(row["task"]) - 1, int(row["step"]), int(row["on"]) - 1
                moments.setdefault((row["method"], int(row["seed"])), {})[task, step, on] = float(row["value"])
                order.setdefault((task, step), i)
    except (KeyError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path} is malformed ({error}): the file is written by a run: restore it, or run again"
        ) from error
    # methods may take other steps (a network that grew): those are drawn that share the first one's moments
    keys = sorted(order)
    known = {job: {(t, s) for t, s, _ in cells} for job, cells in moments.items()}
    keys = [k for k in keys if k in next(iter(known.values()))]
    found: dict[str, Any] = {}
    for method in results.methods:
        each = [moments[method, s] for s in results.seeds[method] if set(keys) <= known.get((method, s), set())]
        if each:
            found[method] = np.array(
                [[[cells.get((t, s, on), math.nan) for on in range(results.T)] for t, s in keys] for cells in each]
            )
    lengths = [max((s for t, s in keys if t == k), default=0) for k in range(results.T)]
    before = np.concatenate([[0], np.cumsum(lengths)])
    x = np.array([before[t] + s for t, s in keys])
    said = [
        f"{m}: {'; '.join(f'{t} {typeset(table.number(results.interval(m, key)))}' for key, t in WITHIN.items())}"
        for m in found
    ]
    counts = [len(stack) for stack in found.values()]
    text = (
        "Accuracy on all tasks so far, measured within tasks. min-ACC: each earlier task at its worst since it was learnt; WC-ACC: with the "
        f"last task as it is; any-time: the mean over all moments and tasks so far. {'. '.join(said)}."
    )
    figure = figures.within(results, x, np.array([t for t, _ in keys]), found)
    caption = f"A fall at a task's beginning that is made good within it is a stability gap. {over(counts, results.varies, 'Means')}"
    alt = "Accuracy on each task while it and later ones are learnt."
    return text, Picture(data_of(figures.svg(figure).encode(), "image/svg+xml"), alt, caption)


def generated_inputs(directory: Path, results: Results) -> list[Picture]:
    """A picture for each method that draws images."""
    if not (directory / "drawn").is_dir():
        return []
    from . import figures

    pictures = []
    for method in results.methods:
        rows = {
            f"after {results.tasks[after - 1]}": drawn for after, (drawn, _) in load_samples(directory, method).items()
        }
        if not rows or next(iter(rows.values())).dim() not in (3, 4):
            continue
        rows["real"] = list(load_samples(directory, method).values())[-1][1]
        figure = figures.images({label: x.numpy() for label, x in rows.items()})
        alt = f"Images drawn by {method} after each of {len(rows) - 1} tasks, and real ones."
        pictures.append(Picture(data_of(figures.png(figure), "image/png"), alt, method))
    return pictures


def load_samples(folder: Path, method: str) -> dict[int, tuple[Tensor, Tensor]]:
    """What was kept of a method's first seed: by the number of tasks learnt, what was drawn and what is real."""
    from safetensors.torch import load

    seeds = sorted((p for p in (folder / "drawn" / method).glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    if not seeds:
        return {}
    files = {int(p.stem): load(p.read_bytes()) for p in sorted(seeds[0].glob("*.safetensors"))}
    return {after: (f["drawn"], f["real"]) for after, f in files.items()}
