"""What the commands ``order``, ``affinity`` and ``taxonomy`` do: measure or read, print, and write a folder with a page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..core.contexts import Costs
from ..core.errors import MethodError, RunError
from ..core.files import write_atomically
from ..core.progress import say
from ..core.stream import Stream
from ..measures.matrix import Interval
from ..report import figures
from ..report.page import Picture, Section, data_of, page
from ..report.words import over, varies
from ..runs.executor import Engine
from ..runs.spec import EACH, RunSpec
from . import figures as curricula
from .affinity import Probe, Transfers, examples_of, measure, planned
from .order_effect import Study, orders, study_of
from .order_rules import from_transfers
from .order_search import Goal, recommend
from .taxonomy import Affinities, Taxonomy, Transfer, greedy, read_affinities, solve

__all__ = ["affinity", "order", "taxonomy"]

TRANSFER_HEAD = ["target", "helped most by", "affinity", "gain", "quality"]


# --- order --------------------------------------------------------------------------------------------------------------------
def order(config: RunSpec, count: int, folder: Path, jobs: int | Engine) -> None:
    """Runs a stream in `count` orders and shows what the order does."""
    if len(config.methods) != 1:
        raise MethodError(f"methods {', '.join(config.methods)}: expected one; compare methods with lifelong run")
    if config.order is not None:
        raise MethodError("order says which orders to run by --orders, not --order")
    if config.stream_options.get("seed") == EACH:
        raise MethodError(
            "stream.seed each: order learns one stream in several orders; say which, as a number (default: 0)"
        )
    stream = config.build_stream(config.seeds[0])
    method, net, training = config.build_method(config.methods[0]), config.build_net(), config.build_training()
    method.check(stream.scenario)
    listed = orders(len(stream), count, config.seeds[0])
    say(f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks: {', '.join(t.name for t in stream)}")
    say(f"method   {method}\nnet      {net}\ntraining {training}\nout      {folder}")
    whole = "all there are" if len(listed) == math.factorial(len(stream)) else "drawn"
    examples = len(listed) * len(config.seeds) * sum(examples_of(len(t.train), training) for t in stream)
    say(
        f"cost     {len(listed)} orders ({whole}) × {len(config.seeds)} seed(s) = {len(listed) * len(config.seeds)} runs, "
        f"about {examples:,} examples forward and back"
    )
    found = study_of(config, listed, folder=folder, jobs=jobs, tell=say)
    write_atomically(folder / "config.yaml", config.to_yaml())
    write_atomically(folder / "orders.json", json.dumps(_order_json(found), indent=1))
    _show_order(found, stream, method.name, folder)


def _show_order(found: Study, stream: Stream, method: str, folder: Path) -> None:
    """Writes the picture and the page, and prints both tables."""
    drawn = curricula.effect(
        {m.upper(): found.values(m).mean(1).tolist() for m in ("acc", "bwt", "fwt")}, found.wants()
    )
    (folder / "order.png").write_bytes(figures.png(drawn))
    answer = _order_answer(found)
    heads, by_order, by_task = _order_tables(found)
    between = over([len(found.seeds)], varies(stream.notes, {}))
    picture = Picture(
        data_of(figures.svg(drawn).encode(), "image/svg+xml"),
        answer,
        f"A point an order, the mean over its seeds; lines: 95% intervals of slopes, over the orders. {between}",
    )
    tables = [
        {
            "lead": "task",
            "caption": "Points of accuracy for each place that a task comes later, ± 95% interval over n orders.",
            "heads": [("all tasks (ACC)", ""), ("the task itself", ""), ("so it wants to come", "")],
            "rows": by_task,
        },
        {
            "lead": "order",
            "caption": f"Orders from the best to the worst. {between}",
            "heads": [(h, "") for h in heads],
            "rows": by_order,
        },
    ]
    text = page(
        title=f"The order of {stream.name}",
        answer=answer,
        subtitle=f"{stream.name} · {stream.scenario} scenario · {len(stream)} tasks · {method}",
        story=[],
        sections=[
            Section("effect", "What order does", pictures=[picture]),
            Section("tables", "By task and by order", kind="table", data=tables),
        ],
    )
    write_atomically(folder / "order.html", text)
    print(answer + "\n")
    print(_aligned(["task", "all tasks (ACC)", "the task itself", "wants to come"], [[n, *c] for n, c, _ in by_task]))
    show = by_order if len(by_order) <= 10 else [*by_order[:5], *by_order[-5:]]
    print("\n" + _aligned(["order, best first", *heads], [[n, *c] for n, c, _ in show]))
    say(str(folder / "order.html"))


def _order_json(found: Study) -> dict[str, Any]:
    def plain(v: Interval) -> dict[str, Any]:
        return {k: None if isinstance(x, float) and math.isnan(x) else x for k, x in v._asdict().items()}

    return {
        "tasks": list(found.tasks),
        "seeds": list(found.seeds),
        "orders": [
            {"order": [found.tasks[i] for i in o]} | {m: plain(found.by_order(m)[k]) for m in ("acc", "bwt", "fwt")}
            for k, o in enumerate(found.orders)
        ],
        "over_orders": {m: plain(found.over_orders(m)) for m in ("acc", "bwt", "fwt")},
        "slope_of_acc": {n: plain(v) for n, v in found.wants().items()},
        "slope_of_own": {n: plain(v) for n, v in found.own().items()},
    }


def _order_answer(found: Study) -> str:
    acc, (between, within) = found.over_orders("acc"), found.spread("acc")
    ranked, by = found.ranked(), found.by_order("acc")
    if len(found.orders) == 1:
        return f"There is one order; its accuracy is {_pm(by[0])}."
    said = (
        f"Over {len(found.orders)} orders the accuracy is {_pm(acc)}, from {by[ranked[-1]].mean:.3f} "
        f"({', '.join(found.tasks[i] for i in found.orders[ranked[-1]])}) to {by[ranked[0]].mean:.3f} "
        f"({', '.join(found.tasks[i] for i in found.orders[ranked[0]])}). Orders differ by a standard deviation of {between:.3f}"
    )
    return said + (
        f", seeds of one order by {within:.3f}."
        if not math.isnan(within)
        else "; with one seed, part of that is chance."
    )


def _order_tables(found: Study) -> tuple[list[str], list[Any], list[Any]]:
    by = {m: found.by_order(m) for m in ("acc", "bwt", "fwt")}
    by_order = [
        (", ".join(found.tasks[i] for i in found.orders[o]), [_pm(by[m][o]) for m in by], len(found.seeds))
        for o in found.ranked()
    ]
    own = found.own()
    by_task = []
    for name, slope in found.wants().items():
        word = "undecided" if not abs(slope.mean) > slope.half else "late" if slope.mean > 0 else "early"
        by_task.append((name, [_points(slope), _points(own[name]), word], slope.n))
    return ["ACC", "BWT", "FWT"], by_order, by_task


# --- affinity -----------------------------------------------------------------------------------------------------------------
def affinity(config: RunSpec, probe: Probe, folder: Path, jobs: int | Engine) -> None:
    """Measures the transfers between a stream's tasks, and draws them before and after normalisation."""
    seed = config.seeds[0]
    stream, net, training = config.build_stream(seed), config.build_net(), config.build_training()
    say(f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks: {', '.join(t.name for t in stream)}")
    say(f"net      {net}\ntraining {training}\nprobe    {probe}\nout      {folder}")
    say(f"cost     {planned(stream, training, probe)}")
    found = measure(stream, net, training, probe, seed=seed, folder=folder, jobs=jobs, tell=say)
    table, losses = found.affinities, found.mean_losses()
    write_atomically(folder / "config.yaml", config.to_yaml())
    tree = table.to_json() | {"mean_losses": {t.key: v for t, v in losses.items()}, "costs": asdict(found.costs)}
    write_atomically(folder / "affinities.json", json.dumps(tree, indent=1))
    chosen = from_transfers(found)
    write_atomically(folder / "order.json", chosen.to_json(stream, "learned"))
    rows = _best_transfers(found)
    order_said = f"Recommended order: {', '.join(found.tasks[i] for i in chosen.order)}."
    _write_affinity_page(found, rows, order_said, stream, probe, folder)
    print(_aligned(TRANSFER_HEAD, rows))
    print(f"\n{order_said}")
    say(
        f"{folder / 'affinity.html'}\nto learn in this order: lifelong run --order {folder / 'order.json'} --stream {config.code.get(f'stream.{config.stream}', config.stream)} ..."
    )


def _best_transfers(found: Transfers) -> list[list[str]]:
    """For each target, the transfer of the greatest affinity from other tasks."""
    table = found.affinities
    rows = []
    for target in found.tasks:
        others = [x for x in table.p if x.target == target and target not in x.needs]
        if not others:
            rows.append([target, "none", *["–"] * 3])
            continue
        best = max(others, key=lambda x: table.p[x])
        numbers = [f"{v[best]:.3f}" for v in (table.p, table.gain, table.quality)]
        rows.append([target, "+".join(best.sources), *numbers])
    return rows


def _write_affinity_page(
    found: Transfers, rows: Sequence[Sequence[str]], order_said: str, stream: Stream, probe: Probe, folder: Path
) -> None:
    """Writes ``affinity.png`` and ``affinity.html``."""
    table, names = found.affinities, list(found.tasks)

    def square(values: Any) -> Any:
        return np.array([[values[Transfer((s,), t)] for t in names] for s in names])

    panels = {"before: mean loss": square(found.mean_losses()), "after: affinity": square(table.p)}
    rates = {"gain": square(table.gain), "quality": square(table.quality)}
    drawn = [curricula.maps(panels, names, names), curricula.maps(rates, names, names)]
    (folder / "affinity.png").write_bytes(figures.png(drawn[0]))
    captions = (
        "Mean loss of each transfer on held-out training examples, and its affinity: columns compare only after normalisation.",
        "Gain: share of examples on which a transfer beats a network trained from scratch on as few examples; quality: on which it "
        "beats the task's own network, trained on all.",
    )
    pictures = [
        Picture(data_of(figures.svg(d).encode(), "image/svg+xml"), said, said) for d, said in zip(drawn, captions)
    ]
    best = {
        "lead": "target",
        "caption": "The transfer of the greatest affinity from other tasks; n held-out examples.",
        "heads": [(h, "") for h in TRANSFER_HEAD[1:]],
        "rows": [(r[0], r[1:], len(found.scratch[r[0]])) for r in rows],
    }
    text = page(
        title=f"Which task of {stream.name} helps which",
        answer=order_said,
        subtitle=f"{stream.name} · {stream.scenario} scenario · {len(names)} tasks · {probe.few} examples a transfer · {probe.how}",
        story=[],
        sections=[
            Section("maps", "Transfers", pictures=pictures),
            Section("best", "What helps most", kind="table", data=[best]),
        ],
    )
    write_atomically(folder / "affinity.html", text)


# --- taxonomy -----------------------------------------------------------------------------------------------------------------
def taxonomy(where: Path, budgets: Sequence[float], order_: int | None, goal: Goal, out: Path | None) -> None:
    """Solves the taxonomy of measured or given affinities for some budgets, and recommends an order."""
    folder = where if where.is_dir() else None
    if folder is not None and not (folder / "affinities.json").exists():
        raise RunError(f"{folder} has no affinities.json: lifelong affinity --out {folder} measures them")
    path = where if folder is None else folder / "affinities.json"
    table = read_affinities(path)
    targets = list(dict.fromkeys(t.target for t in table.p))
    found: dict[str, Taxonomy] = {}
    rows = []
    for budget in budgets:
        solved = solve(table.p, budget, order=order_)
        quick = greedy(table.p, budget, order=order_)
        found[f"budget {budget:g}"] = solved
        rows.append(
            [
                f"{budget:g}",
                f"{solved.objective:.4f}",
                f"{solved.bound:.4f}",
                "–" if quick is None else f"{quick.objective:.4f}",
                _share(solved, table, "gain"),
                _share(solved, table, "quality"),
                ", ".join(solved.sources),
            ]
        )
    print(_aligned(["budget", "objective", "bound", "greedy", "gain", "quality", "supervised"], rows))
    last = list(found.values())[-1]
    print(f"\nbudget {budgets[-1]:g}:")
    for t in last.transfers:
        print(f"  {t.target} <- {' + '.join(t.sources)}" + (" (its own labels)" if t.needs == (t.target,) else ""))
    chosen = recommend(table, last, targets, goal)
    print(f"\nRecommended order: {', '.join(targets[i] for i in chosen)}")
    place = out or folder
    if place is None:
        return
    place.mkdir(parents=True, exist_ok=True)
    (place / "taxonomy.png").write_bytes(figures.png(curricula.graphs(dict(list(found.items())[:4]))))
    costs = {} if folder is None else json.loads(path.read_text(encoding="utf-8")).get("costs", {})
    tree = {
        "rule": "learned",
        "order": [targets[i] for i in chosen],
        "costs": asdict(Costs(**costs)),
        "why": {
            "goal": goal,
            "budget": budgets[-1],
            "sources": list(last.sources),
            "transfers": [t.key for t in last.transfers],
        },
    }
    write_atomically(place / "order.json", json.dumps(tree, indent=1))
    say(f"{place / 'taxonomy.png'}, {place / 'order.json'}")


def _share(solved: Taxonomy, table: Affinities, what: str) -> str:
    mean = solved.mean(getattr(table, what))
    return "–" if math.isnan(mean) else f"{mean:.3f}"


# --- text ---------------------------------------------------------------------------------------------------------------------
def _pm(value: Interval) -> str:
    if math.isnan(value.mean):
        return "undefined"
    return f"{value.mean:.3f}" + ("" if math.isnan(value.half) else f"±{value.half:.3f}")


def _points(value: Interval) -> str:
    if math.isnan(value.mean):
        return "undefined"
    return f"{100 * value.mean:+.2f}" + ("" if math.isnan(value.half) else f"±{100 * value.half:.2f}")


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in (head, *rows))
