"""A run directory as one page that opens offline, and several run directories side by side."""

from __future__ import annotations

import base64
import csv
import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..checkpoint import write_atomically
from ..errors import RunError, nearest
from ..matrix import Interval
from . import table
from .results import COSTS, MEASURES, REFERENCES, Results, load, merge, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "Section", "answer", "compare", "data_of", "page", "write"]

MEANING = {
    "acc": "mean accuracy over all tasks at the end",
    "bwt": "what later tasks did to earlier ones; below 0 is forgetting",
    "fwt": "what earlier tasks did for later ones, before those were learnt; undefined where an untrained network has no "
    "accuracy (new classes)",
    "forgetting": "best accuracy on a task before the end, less that at the end",
    "intransigence": "what joint training reaches on a new task, less what this method does; undefined where the run has no joint",
    "learning_accuracy": "accuracy on each task when it had just been learnt",
    "worst_case": "each task at its worst since it was learnt",
}
_R = (
    "Accuracy on each task (columns) after each moment of learning (rows), mean over seeds. What had "
    "just been learnt is framed; hatched cells are undefined."
)
WITHIN = {"min_acc": "min-ACC", "wc_acc": "WC-ACC", "anytime_accuracy": "any-time"}
_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


@final
@dataclass(frozen=True)
class Picture:
    """A figure of a page: where its data come from, what it says to those who do not see it."""

    src: str
    alt: str
    caption: str


@final
@dataclass(frozen=True)
class Section:
    """A headed part of a page: pictures, and below them tables, a text, or pairs of name and value, as `kind` says."""

    id: str
    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    grid: bool = False
    kind: str = "pictures"
    data: Any = None


def write(directory: Path | str) -> Path:
    """Writes ``report.html`` into a run directory, from the files there, and returns its path.

    Raises:
        RunError: a file of the directory is missing or malformed.
    """
    directory = Path(directory)
    results = read(directory)
    story = load(directory, "story.json")
    draw = _drawings(results)
    paragraphs = _paragraphs(story)
    told = {Path(p["figure"]).stem for p in paragraphs if p.get("figure")}
    folder = directory / "figures"
    extra = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in _KINDS]

    def heats() -> list[Picture]:
        return [draw(f"heat:{method}") for method in results.methods]

    def figures(name: str | None) -> list[Picture]:
        wanted = Path(name or "").stem
        if not name or wanted == "surfaces":  # drawn from its own numbers, whatever file asks for it
            return [draw("surfaces")] if name else []
        found = [p for p in extra if wanted == p.stem]
        return [_file(p) for p in found] or (heats() if name == "heat" else [draw(name)])

    told_with = [(p["text"], figures(p.get("figure"))) for p in paragraphs]
    sections = _body(results, draw)
    sections.insert(1, Section("matrix", "The matrix R", _R, heats(), grid=True))
    if (directory / "within.csv").exists():
        sections.insert(3, _within(directory / "within.csv", results))
    if pictures := _drawn(directory, results):
        text = "Inputs that a method's generator draws after each task; in the last row real ones of all tasks."
        sections.append(Section("drawn", "What is drawn", text, pictures))
    if "surfaces" in {p.stem for p in extra} and "surfaces" not in told:
        sections.append(Section("surfaces", "Error surfaces", pictures=[draw("surfaces")]))
    if rest := [_file(p) for p in extra if p.stem not in {"surfaces", *told}]:
        sections.append(Section("pictures", "Further pictures", pictures=rest))
    config = directory / "config.yaml"
    if config.exists():
        text = config.read_text(encoding="utf-8", errors="replace")
        sections.append(Section("config", "Configuration", kind="text", data=text))
    if manifest := load(directory, "manifest.json"):
        origin = list(_flat(manifest))
        sections.append(Section("manifest", "Where it comes from", kind="pairs", data=origin))

    text = page(
        title=str(story.get("title") or f"{results.stream}, {results.scenario} scenario"),
        answer=answer(results),
        subtitle=_subtitle(results),
        story=told_with,
        sections=sections,
    )
    path = directory / "report.html"
    write_atomically(path, text)
    return path


def compare(directories: Sequence[Path | str], out: Path | str | None = None) -> str:
    """Methods of several runs of one stream and scenario side by side, as a table for a terminal.

    Args:
        directories: run directories; differences are taken from the first one's first method.
        out: a file ``*.html`` for the page, or a directory for ``compare.html``, ``compare.csv`` and ``figures/``; default
            nowhere.

    Raises:
        RunError: a directory is no run, or they are runs of different streams.
    """
    if not directories:
        raise RunError("nothing to compare: expected at least one run directory, got none")
    results = merge([read(d) for d in directories])
    if out is not None:
        _write_compare(results, Path(out))
    return table.as_text(results, paired=True)


def answer(results: Results) -> str:
    """What the run found, in one sentence made from its numbers."""

    def acc(method: str) -> Interval:
        return results.interval(method, "acc")

    known = [m for m in results.methods if not math.isnan(acc(m).mean)]
    rivals = [m for m in known if m not in REFERENCES] or known
    T = results.T
    tasks = f"{T} task{'s' if T != 1 else ''}"
    if not known:
        return f"No method has been measured on all {tasks} yet."
    best = max(rivals, key=lambda m: acc(m).mean)
    base = "finetune" if "finetune" in known else rivals[0]
    said = f"After {tasks}, {best} has a mean accuracy of {_said(acc(best))}"
    if best == base:
        others = [m for m in rivals if m != base]
        forgetting = results.interval(best, "forgetting")
        if others:
            said += f", and no other method here has more ({', '.join(others)})"
        elif not math.isnan(forgetting.mean):
            said += f" and a forgetting of {_said(forgetting)}"
    else:
        said += f", {base} {_said(acc(base))}"
        gap = results.difference(best, base, "acc")
        if gap.n > 1:
            said += f": a difference of {_said(gap)} on the same {gap.n} seeds"
            if abs(gap.mean) <= gap.half:
                said += ", too small to tell them apart"
    return f"{said}."


def _said(value: Interval) -> str:
    return _typeset(table.number(value))


def _typeset(text: str) -> str:
    """A number with a true minus, and with spaces about ± that do not break."""
    return re.sub(r"-(?=\d)", "−", text).replace("±", "\u202f±\u202f")


def _subtitle(results: Results) -> str:
    seeds = sorted({len(s) for s in results.seeds.values()})
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    said = (
        f"{results.stream} · {results.scenario} scenario · {results.T} "
        f"task{'s' if results.T != 1 else ''} · {n} seed{'s' if n != '1' else ''} a method"
    )
    missing = ", ".join(f"{method} (seed {seed})" for method, seed in results.unfinished)
    return f"{said} · unfinished: {missing}" if missing else said


def _body(results: Results, draw: Callable[[str], Picture]) -> list[Section]:
    """What every page holds."""
    return [
        Section("methods", "Methods", kind="table", data=_tables(results)),
        Section("curves", "Over the stream", pictures=[draw("curves")]),
        Section("bars", "Just learnt, and at the end", pictures=[draw("bars")]),
        Section("costs", "Costs", pictures=[draw("costs")], kind="costs", data=_costs(results)),
        *([Section("efficiency", "Accuracy for parameters", pictures=[draw("efficiency")])] if results.sizes else []),
    ]


def _drawings(results: Results) -> Callable[[str], Picture]:
    """Draws a picture by its name: ``heat:METHOD``, curves, bars, costs, compare, efficiency, surfaces."""
    from . import figures
    from . import surfaces as two_weights

    def said(metric: str) -> str:
        return "; ".join(f"{m} {_said(results.interval(m, metric))}" for m in results.methods)

    def amounts(metric: str) -> str:
        of = {m: results.interval(m, metric).mean for m in results.methods}
        return "; ".join(f"{m} {table.amount(v, metric)}" for m, v in of.items())

    def picture(figure: Figure, alt: str, caption: str) -> Picture:
        return Picture(data_of(figures.svg(figure).encode(), "image/svg+xml"), alt, caption)

    def draw(name: str) -> Picture:
        kind, _, method = name.partition(":")
        if kind == "heat":
            R = results.mean(method)
            end = "; ".join(f"{t} {_short(v)}" for t, v in zip(results.tasks, R.R[-1]))
            return picture(
                figures.heat(R, results.tasks),
                f"Heat map of R for {method}. At the end: {end}.",
                method,
            )
        if kind == "curves":
            caption = (
                "Accuracy on each task as the stream goes by; the task's own training is shaded, "
                "dotted before it begins; bands are 95% intervals over seeds."
            )
            return picture(
                figures.curves(results),
                f"Accuracy over the stream. At the end: {said('acc')}.",
                caption,
            )
        if kind == "bars":
            caption = "Each task when it had just been learnt (pale) and at the end (full)."
            alt = (
                f"Bars for each task and method. Mean when just learnt: {said('learning_accuracy')}"
                f"; at the end: {said('acc')}."
            )
            return picture(figures.bars(results), alt, caption)
        if kind == "costs":
            alt = (
                f"Costs. Training time: {amounts('train_seconds')}. Memory: "
                f"{amounts('memory_bytes')}. Parameters: {amounts('parameters')}."
            )
            caption = "Means over seeds; lines are 95% intervals."
            return picture(figures.costs(results), alt, caption)
        if kind == "efficiency":
            sizes = "; ".join(f"{m} {v:.2f}" for m, v in results.sizes.items())
            caption = (
                "Mean accuracy over the tasks seen against parameters, in those of the network that the run began with: from the "
                "first task (thin) to the last (point, with 95% intervals over seeds)."
            )
            alt = f"Parameters at the end, of one network's: {sizes}. ACC: {said('acc')}."
            return picture(figures.efficiency(results), alt, caption)
        if kind == "compare":
            alt = f"ACC: {said('acc')}. BWT: {said('bwt')}. FWT: {said('fwt')}."
            caption = "Means with 95% intervals; small points are seeds."
            return picture(figures.compare(results), alt, caption)
        if kind == "surfaces":
            figure, numbers = two_weights.surfaces()
            text = two_weights.caption(numbers)
            return picture(figure, f"Error surfaces. {text}", text)
        known = ["bars", "compare", "costs", "curves", "efficiency", "heat", "heat:METHOD", "surfaces"]
        raise RunError(
            f"story.json asks for the figure {name!r}{nearest(name, known)}: expected the name of "
            f"a picture in figures/, or one of {', '.join(known)}"
        )

    return functools.cache(draw)


def _within(path: Path, results: Results) -> Section:
    """The section of what was measured within tasks."""
    import numpy as np

    from . import figures

    moments: dict[tuple[str, int], dict[tuple[int, int, int], float]] = {}
    order: dict[tuple[int, int], int] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for i, row in enumerate(csv.DictReader(file)):
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
    said = []
    for method in found:
        measured = "; ".join(f"{t} {_said(results.interval(method, m))}" for m, t in WITHIN.items())
        said.append(f"{method}: {measured}")
    text = (
        "Accuracy on all tasks so far, measured within tasks. min-ACC: each earlier task at its worst since it was learnt; WC-ACC: with the "
        f"last task as it is; any-time: the mean over all moments and tasks so far. {'. '.join(said)}."
    )
    figure = figures.within(results, x, np.array([t for t, _ in keys]), found)
    alt = "Accuracy on each task while it and later ones are learnt."
    picture = Picture(
        data_of(figures.svg(figure).encode(), "image/svg+xml"),
        alt,
        "A fall at a task's beginning that is made good within it is a stability gap.",
    )
    return Section("within", "Within tasks", text, [picture])


def _drawn(directory: Path, results: Results) -> list[Picture]:
    """A picture for each method that draws images."""
    if not (directory / "drawn").is_dir():
        return []
    from ..drawn import kept
    from . import figures

    pictures = []
    for method in results.methods:
        rows = {f"after {results.tasks[after - 1]}": drawn for after, (drawn, _) in kept(directory, method).items()}
        if not rows or next(iter(rows.values())).dim() not in (3, 4):
            continue
        rows["real"] = list(kept(directory, method).values())[-1][1]
        figure = figures.images({label: x.numpy() for label, x in rows.items()})
        alt = f"Images drawn by {method} after each of {len(rows) - 1} tasks, and real ones."
        pictures.append(Picture(data_of(figures.png(figure), "image/png"), alt, method))
    return pictures


def _short(value: float) -> str:
    return table.UNDEFINED if math.isnan(value) else f"{value:.2f}"


def data_of(content: bytes, kind: str) -> str:
    """A file within a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _file(path: Path) -> Picture:
    said = path.stem.replace("-", " ").replace("_", " ")
    return Picture(data_of(path.read_bytes(), _KINDS[path.suffix.lower()]), said, said)


def _tables(results: Results) -> list[dict[str, Any]]:
    heads = [(MEASURES[k], MEANING[k]) for k in MEASURES]
    captions = {
        "Mean ± 95% interval over n seeds.": table.rows(results),
        f"Difference from {results.methods[0]}, paired on the n seeds that both were run with.": (
            table.differences(results)
        ),
    }
    return [
        {"caption": caption, "heads": heads, "rows": [(m, [*c.values()], n) for m, c, n in rows]}
        for caption, rows in captions.items()
        if rows
    ]


def _costs(results: Results) -> dict[str, Any]:
    rows = []
    for method in results.methods:
        found = [table.amount(results.interval(method, k).mean, k) for k in COSTS]
        rows.append((method, found, len(results.seeds[method])))
    heads = [(title, "") for title in COSTS.values()]
    return {"caption": "Means over n seeds.", "heads": heads, "rows": rows}


def _paragraphs(story: Mapping[str, Any]) -> list[dict[str, str]]:
    found = story.get("paragraphs", [])
    if not isinstance(found, list) or not all(
        isinstance(p, dict) and isinstance(p.get("text"), str) and isinstance(p.get("figure", ""), str) for p in found
    ):
        raise RunError(
            'story.json: expected "paragraphs": [{"text": ..., "figure": ...}, ...], got '
            f"{json.dumps(found)[:80]}: mend it or remove it"
        )
    return found


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as lines of a name and a text."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name} › {key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for i, inner in enumerate(value, start=1):
            yield from _flat(inner, f"{name} {i}")
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, "" if value in (None, {}) else str(value)


def page(**parts: Any) -> str:
    """The page of a title, an answer, a subtitle, a story (texts with pictures) and sections."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["minus"] = _typeset
    return environment.get_template("report.html.j2").render(parts)


def _write_compare(results: Results, out: Path) -> None:
    from . import figures

    one_file = out.suffix == ".html"
    folder = out.parent if one_file else out / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    draw = _drawings(results)
    sections = _body(results, draw)
    sections.insert(1, Section("compare", "Side by side", pictures=[draw("compare")]))
    text = page(
        title=results.name,
        answer=answer(results),
        subtitle=_subtitle(results),
        story=[],
        sections=sections,
    )
    if one_file:
        write_atomically(out, text)
        return
    for name in ("compare", "curves", "bars", "costs"):
        (folder / f"{name}.png").write_bytes(figures.png(getattr(figures, name)(results)))
    write_atomically(out / "compare.html", text)
    write_atomically(out / "compare.csv", _csv(results))


def _csv(results: Results) -> str:
    """Every measure and cost of every method, and its paired difference from the first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    first = results.methods[0]
    head = ["mean", "sd", "ci95", "n"]
    writer.writerow(["method", "metric", *head, "against", *(f"difference_{h}" for h in head)])
    for method in results.methods:
        for metric in [*MEASURES, *COSTS]:
            row: list[Any] = [method, metric, *results.interval(method, metric)]
            if method != first:
                row += [first, *results.difference(method, first, metric)]
            writer.writerow(row + [""] * (11 - len(row)))
    return file.getvalue()
