"""A run directory as one page that opens offline, and several run directories side by side."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ..core.errors import RunError
from ..core.files import write_atomically
from ..core.registry import METHODS
from ..measures.budget import Budget
from . import table
from .headline import headline
from .pictures import KINDS, Picture, data_of, drawings, file, generated_inputs, typeset, within
from .results import COSTS, MEASURES, PEEKING, Results, configuration, load, merge, read
from .words import CELLS, count, over

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
_BESIDE = 6  # tasks up to which two maps of R stand side by side and their numbers are read; of more than `CELLS` they have none


@final
@dataclass(frozen=True)
class Section:
    """A headed part of a page: pictures, and below them tables, a list, a text, or pairs of name and value, as `kind` says. With `columns` (1
    or 2) pictures stand in a grid, each below its caption."""

    id: str
    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    columns: int = 0
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
    draw, told = drawings(results), list[str]()
    paragraphs = _paragraphs(story)
    extra = [p for p in sorted((directory / "figures").glob("*")) if p.suffix.lower() in KINDS]
    heats = [f"heat:{method}" for method in results.methods]

    def figures(name: str | None) -> list[Picture]:
        """What a paragraph asks for: files of figures/, or what is drawn here."""
        wanted = Path(name or "").stem
        if not name:
            return []
        if found := [p for p in extra if wanted == p.stem != "surfaces"]:  # surfaces are drawn from their own numbers
            return [file(p) for p in found]
        names = heats if name == "heat" else ["surfaces"] if wanted == "surfaces" else [name]
        told.extend(names)
        return [draw(n) for n in names]

    told_with = [(p["text"], figures(p.get("figure"))) for p in paragraphs]
    shown = {Path(p["figure"]).stem for p in paragraphs if p.get("figure")}
    sections = _body(results, draw, told)
    if maps := [draw(name) for name in heats if name not in told]:
        sections.insert(
            1,
            Section("matrix", "The matrix R", _matrix(results), maps, columns=1 if _BESIDE < results.T <= CELLS else 2),
        )
    if (directory / "within.csv").exists():
        text, picture = within(directory / "within.csv", results)
        sections.insert([s.id for s in sections].index("costs"), Section("within", "Within tasks", text, [picture]))
    if pictures := generated_inputs(directory, results):
        text = "Inputs that a method's generator draws after each task; in the last row real ones of all tasks."
        sections.append(Section("drawn", "What is drawn", text, pictures))
    if "surfaces" in {p.stem for p in extra} and "surfaces" not in told:
        sections.append(Section("surfaces", "Error surfaces", pictures=[draw("surfaces")]))
    if rest := [file(p) for p in extra if p.stem not in {"surfaces", *shown}]:
        sections.append(Section("pictures", "Further pictures", pictures=rest))
    if warned := load(directory, "summary.json").get("warnings"):
        sections.insert(0, Section("warnings", "What the run warned of", kind="list", data=[str(w) for w in warned]))
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


def compare(directories: Sequence[Path | str], out: Path | str | None = None, *, budget: Budget | None = None) -> str:
    """Methods of several runs of one stream and scenario side by side, as a table for a terminal.

    Args:
        directories: run directories; differences are taken from the first one's first method.
        out: a file ``*.html`` for the page, or a directory for ``compare.html``, ``compare.csv`` and ``figures/``; default
            nowhere.
        budget: runs of which a seed has cost more are left out, and named.

    Raises:
        RunError: a directory is no run, or they are runs of different streams; nothing is within the budget.
    """
    if not directories:
        raise RunError("nothing to compare: expected at least one run directory, got none")
    each = [read(d) for d in directories]
    results = merge(each)
    notes = _unlike({r.name: configuration(d) for r, d in zip(each, directories)})
    if budget is not None:
        results, dear = _affordable(results, budget)
        notes += dear
    if out is not None:
        _write_compare(results, Path(out), notes)
    return "\n".join([table.as_text(results, paired=True), *(f"{about}: {said}" for about, said in notes)])


def _unlike(configurations: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, str]]:
    """In what the runs differ besides their methods: each key with what each run says."""
    known = {name: c for name, c in configurations.items() if c is not None}
    silent = [name for name in configurations if name not in known]
    if not known or len(configurations) < 2:
        return []
    of_no_method = [
        k
        for k in dict.fromkeys(k for c in known.values() for k in c)
        if k.partition(".")[0] not in {*METHODS, "method", "every", "tuned"}
    ]
    found = []
    for key in of_no_method:
        values = {name: c.get(key) for name, c in known.items()}
        if any(v != next(iter(values.values())) for v in values.values()):
            said = "; ".join(f"{name} {_value(v)}" for name, v in values.items())
            found.append((f"the runs differ in {key}", said))
    if silent:
        found.append(("nothing is known of the training of", f"{', '.join(silent)} (made in Python)"))
    return found


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "default" if value is None else str(value)


def _affordable(results: Results, budget: Budget) -> tuple[Results, list[tuple[str, str]]]:
    """The methods that keep within a budget, and what is said of the others."""
    dear = {}
    for method in results.methods:
        for what, most in (("compute", budget.compute), ("memory", budget.memory)):
            spent = max((v for v in results.spent(method, what).flat if not math.isnan(v)), default=math.inf)
            if most is not None and spent > most:
                dear[method] = f"{what} {spent:,.0f}, more than {most:,}"
    left = [m for m in results.methods if m not in dear]
    notes = [(f"{method} is left out, over the budget", said) for method, said in dear.items()]
    if not left:
        raise RunError(f"nothing is within the budget: {'; '.join(f'{m}: {said}' for m, said in dear.items())}")
    return results.without(list(dear)), notes


def answer(results: Results) -> str:
    """What the run found, in a few sentences made from its numbers (`headline`)."""
    accuracy, forgetting = (
        {m: dict(zip(results.seeds[m], results.summary(m, metric))) for m in results.methods}
        for metric in ("acc", "forgetting")
    )
    return headline(results.T, accuracy, forgetting).replace("±", "\u202f±\u202f")


def _subtitle(results: Results) -> str:
    several = max(results.counts, default=0) > 1
    said = (
        f"{results.stream} · {results.scenario} scenario · {count([results.T], 'task')} · {count(results.counts)} a method"
        f"{f' ({results.varies})' if several else ''}"
    )
    missing = ", ".join(f"{method} (seed {seed})" for method, seed in results.unfinished)
    return f"{said} · unfinished: {missing}" if missing else said


def _body(results: Results, draw: Callable[[str], Picture], told: Sequence[str] = ()) -> list[Section]:
    """What every page holds; pictures that are `told` in its story stand there and not a second time."""

    def pictures(name: str) -> list[Picture]:
        return [] if name in told else [draw(name)]

    sections = [
        Section("methods", "Methods", kind="table", data=_tables(results)),
        Section("curves", "Over the stream", pictures=pictures("curves")),
        Section("kept", "Just learnt, and at the end", pictures=pictures("kept")),
        Section("costs", "Costs", pictures=pictures("costs"), kind="costs", data=_costs(results)),
        Section("efficiency", "Accuracy for parameters", pictures=pictures("efficiency") if results.sizes else []),
    ]
    return [s for s in sections if s.pictures or s.data]


def _matrix(results: Results) -> str:
    return (
        "Accuracy on each task (columns) after each moment of learning (rows). What had just been learnt is framed; hatched cells are "
        f"undefined. {over(results.counts, results.varies, 'Means')}"
    )


def _tables(results: Results) -> list[dict[str, Any]]:
    heads = [(MEASURES[k], MEANING[k]) for k in MEASURES]
    several = max(results.counts, default=0) > 1
    peeking = " Peeking: constants chosen on the test data; a bound, and no method's result."
    captions = {
        f"{over(results.counts, results.varies)}{peeking if any(m.endswith(PEEKING) for m in results.methods) else ''}": table.rows(
            results
        ),
        f"Difference from {results.methods[0]}, paired on the n seeds that both were run with"
        f"{' ± 95% interval over them' if several else ''}.": table.differences(results),
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
    return {"caption": over(results.counts, results.varies, "Means"), "heads": heads, "rows": rows}


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
    environment.filters["minus"] = typeset
    return environment.get_template("report.html.j2").render(parts)


def _write_compare(results: Results, out: Path, notes: Sequence[tuple[str, str]] = ()) -> None:
    from . import figures

    one_file = out.suffix == ".html"
    folder = out.parent if one_file else out / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    draw = drawings(results)
    sections = _body(results, draw)
    sections.insert(1, Section("compare", "Side by side", pictures=[draw("compare")]))
    sections += [
        Section("compute", "Accuracy for compute", pictures=[draw("compute")]),
        Section("memory", "Accuracy for memory", pictures=[draw("memory")]),
    ]
    if notes:
        sections.insert(2, Section("unlike", "What to know of these runs", kind="pairs", data=list(notes)))
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
    for name in ("compare", "curves", "kept", "costs"):
        (folder / f"{name}.png").write_bytes(figures.png(getattr(figures, name)(results)))
    for what in ("compute", "memory"):
        (folder / f"{what}.png").write_bytes(figures.png(figures.efficiency(results, what)))
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
