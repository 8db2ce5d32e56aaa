"""The pages as HTML. A page is a few regions, each an element with an id, so that a change replaces the region it is in and
nothing else. Regions have their full size from the start: an empty matrix has all its rows."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, final

import jinja2
import numpy as np
from numpy.typing import NDArray

from ..measures.matrix import interval
from ..report import MEASURES, table
from ..report.page import MEANING
from ..report.results import REFERENCES
from ..runs.run_progress import JobNow, RunNow

__all__ = ["Page", "index", "one", "problem", "two"]

CELLS = 12  # tasks up to which R is a table of numbers; beyond, it is a picture
PANELS = 24  # tasks that have a curve of their own; of more, so many evenly spaced
PIXELS = 200  # of the picture's side at most
STATES = {"running": "●", "finished": "✓", "failed": "✕", "interrupted": "‖", "waiting": "○"}
_HEAD = {"reload": 5}


@final
class Page(NamedTuple):
    """What the browser gets at first, and the regions that may change."""

    title: str
    regions: dict[str, str]  # HTML by id
    layout: str  # "index", "one" or "two"

    def html(self) -> str:
        return _templates().get_template("page.html.j2").render(page=self, **_HEAD)


def index(runs: Sequence[RunNow], where: str) -> Page:
    """All runs below a folder."""
    return Page("Runs", {"runs": _part("runs", runs=runs, where=where), "said": _said(runs)}, "index")


def one(run: RunNow) -> Page:
    """One run."""
    return Page(run.name, _run(run, "", _looks(run.methods)) | {"said": _said([run])}, "one")


def two(runs: Sequence[RunNow], names: Sequence[str]) -> Page:
    """Two runs side by side (or a choice, where there are not two); `names` are those that there are."""
    picked = [run.name for run in runs]
    regions = {"choice": _part("choice", names=names, picked=picked)}
    if len(runs) == 2:
        heads = [("a", runs[0]), ("b", runs[1])]
        rows = [(side, run, _measures(run)) for side, run in heads]
        varies = sorted({run.varies for run in runs})
        regions["both"] = _part("both", rows=rows, heads=MEASURES, varies=varies)
        looks = _looks(list(dict.fromkeys(m for run in runs for m in run.methods)))  # a method looks alike in both
        for side, run in heads:
            regions |= _run(run, f"{side}-", {m: looks[m] for m in run.methods})
    return Page(" beside ".join(picked) or "Two runs side by side", regions | {"said": _said(runs)}, "two")


def problem(title: str, text: str) -> str:
    """A page that says what is wrong."""
    return _templates().get_template("problem.html.j2").render(title=title, text=text)


# --- the regions of a run ------------------------------------------------------------------------------------------------
def _run(run: RunNow, prefix: str, looks: Mapping[str, str]) -> dict[str, str]:
    parts: dict[str, dict[str, Any]] = {
        "state": {},
        "jobs": {},
        "measures": {"rows": _measures(run), "heads": MEASURES, "meaning": MEANING},
        "matrix": {"matrices": [_matrix(run, m) for m in run.methods]},
        "curves": {"panels": _panels(run, looks), "looks": looks},
        "costs": {"rows": _costs(run)},
        "origin": {},
    }
    return {f"{prefix}{name}": _part(name, run=run, id=f"{prefix}{name}", **given) for name, given in parts.items()}


def _measures(run: RunNow) -> list[tuple[str, dict[str, str], int]]:
    """By method: each measure as text, and of how many seeds; empty texts before a seed is finished."""
    rows = []
    for method in run.methods:
        found = run.measures(method)
        texts = {k: table.number(interval(found[k]), k in table.SIGNED) if k in found else "" for k in MEASURES}
        rows.append((method, texts, len(next(iter(found.values()), []))))
    return rows


def _costs(run: RunNow) -> list[tuple[str, list[str]]]:
    """By method: the means over its seeds of what they took so far."""

    def mean(jobs: Sequence[JobNow], metric: str) -> str:
        def of(j: JobNow) -> float:
            r = j.record
            match metric:
                case "eval_seconds":
                    return math.fsum(s for row in r.seconds for s in row if s == s)
                case "parameters" | "memory_bytes":
                    return float(getattr(r, metric)[-1])
                case "examples_forward" | "examples_backward":
                    return float(sum(getattr(r, metric.removeprefix("examples_"))))
                case _:
                    return math.fsum(r.train_seconds)

        values = [of(j) for j in jobs if j.record.rows]
        return table.amount(math.fsum(values) / len(values), metric) if values else ""

    what = ("train_seconds", "eval_seconds", "memory_bytes", "parameters", "examples_forward", "examples_backward")
    return [(m, [mean(run.of(m), k) for k in what]) for m in run.methods]


class Matrix(NamedTuple):
    """R of one method for the page: its cells as text and shade, or a picture."""

    method: str
    rows: list[list[tuple[str, str]]]  # text and class
    counts: list[int]
    picture: str
    alt: str


def _matrix(run: RunNow, method: str) -> Matrix:
    R, count = run.R(method)
    now = int(np.flatnonzero(count)[-1]) if count.any() else -1
    said = (
        ", ".join(f"{name} {_short(v)}" for name, v in zip(run.tasks, R[now])) if now >= 0 else "nothing measured yet"
    )
    alt = f"R of {method} after {max(now, 0)} of {len(run.tasks)} tasks. Now: {said}."
    if len(run.tasks) > CELLS:
        return Matrix(method, [], count.tolist(), _picture(R), alt)

    def cell(i: int, j: int) -> tuple[str, str]:
        if not count[i]:
            return "", "empty own" if i == j + 1 else "empty"
        if math.isnan(R[i, j]):
            return "–", "undefined"
        shade = f"v{min(20, int(R[i, j] * 20.0001))}"
        return f"{R[i, j]:.2f}", f"{shade} own" if i == j + 1 else shade

    rows = [[cell(i, j) for j in range(len(run.tasks))] for i in range(len(run.tasks) + 1)]
    return Matrix(method, rows, count.tolist(), "", alt)


def _picture(R: NDArray[np.float64]) -> str:
    """R as a PNG of a pixel a cell (of some rows and columns, where there are many), undefined cells transparent."""
    import matplotlib
    from matplotlib.image import imsave

    chosen = [np.unique(np.linspace(0, n - 1, min(n, PIXELS)).round().astype(int)) for n in R.shape]
    file = io.BytesIO()
    map_ = matplotlib.colormaps["cividis"].with_extremes(bad=(0, 0, 0, 0))
    imsave(file, np.ma.masked_invalid(R[np.ix_(*chosen)]), format="png", cmap=map_, vmin=0, vmax=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class Line(NamedTuple):
    """One method's line in a panel: points until its task's training begins, and from then on."""

    look: str
    before: str
    since: str
    end: tuple[float, float] | None


class Panel(NamedTuple):
    """A curve a method for one task."""

    number: int
    name: str
    shade: tuple[float, float]  # left, width: while the task itself is learnt
    lines: list[Line]
    alt: str


WIDE, HIGH = 240, 70  # of a panel's field


def _panels(run: RunNow, looks: Mapping[str, str]) -> list[Panel]:
    T = len(run.tasks)
    chosen = sorted({round(t) for t in np.linspace(0, T - 1, min(T, PANELS))}) if T else []
    found = {m: run.R(m)[0] for m in run.methods}

    def points(column: NDArray[np.float64], first: int) -> str:
        return " ".join(
            f"{WIDE * (first + i) / T:.1f},{HIGH * (1 - v):.1f}" for i, v in enumerate(column) if not math.isnan(v)
        )

    panels = []
    for j in chosen:
        lines, said = [], []
        for method, R in found.items():
            column = R[:, j]
            known = np.flatnonzero(~np.isnan(column))
            end = (WIDE * int(known[-1]) / T, HIGH * (1 - float(column[known[-1]]))) if len(known) else None
            lines.append(Line(looks[method], points(column[: j + 1], 0), points(column[j:], j), end))
            said.append(f"{method} {_short(float(column[known[-1]]))}" if len(known) else f"{method} not measured")
        alt = f"Accuracy on {run.tasks[j]} now: {', '.join(said)}."
        panels.append(Panel(j + 1, run.tasks[j], (WIDE * j / T, WIDE / T), lines, alt))
    return panels


def _looks(methods: Sequence[str]) -> dict[str, str]:
    """A class for each method's colour and dashes, as in the report: grey for fine-tuning, ink for references."""
    ink = [m for m in methods if m in REFERENCES]
    free = [m for m in methods if m not in REFERENCES and m != "finetune"]
    found = {m: f"k{i % 8} d{i // 8 % 3}" for i, m in enumerate(free)}
    found |= {m: f"ink d{i % 2 + 1}" for i, m in enumerate(ink)}
    return {m: found.get(m, "grey d0") for m in methods}


# --- words ---------------------------------------------------------------------------------------------------------------
def _said(runs: Sequence[RunNow]) -> str:
    """The latest news, for those who hear the page."""
    news = max(
        ((t, r, j, after) for r in runs for j in r.jobs for after, t in j.times.items()), default=None, key=_when
    )
    if news is None:
        return ""
    _, run, job, after = news
    return f"{run.name}: {job.job.method}, seed {job.job.seed}, has learnt task {after} of {len(run.tasks)}."


def _when(news: tuple[float, RunNow, JobNow, int]) -> float:
    return news[0]


def _short(value: float) -> str:
    return table.UNDEFINED if math.isnan(value) else f"{value:.2f}"


def about(seconds: float | None) -> str:
    """A time that is an estimate, in words that do not tremble: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds is None:
        return ""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {5 * (rest // 5)} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def moment(when: float | None) -> str:
    return "" if when is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _typeset(text: str) -> str:
    return text.replace("-", "−").replace("±", "\u202f±\u202f")


def _part(name: str, **given: Any) -> str:
    return str(getattr(_parts(), name)(**given)).strip()


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"about": about, "moment": moment, "minus": _typeset}
    environment.globals |= {"STATES": STATES, "WIDE": WIDE, "HIGH": HIGH, "PANELS": PANELS}
    return environment


@cache
def _parts() -> Any:
    return _templates().get_template("parts.html.j2").module
