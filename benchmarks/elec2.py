"""Elec2 (Harries 1999; 45,312 half hours of an electricity market, does the price rise?), each row answered before it is learnt: networks beside
river's own models, and beside the answer that was right half an hour ago, which is hard to beat here.

Learning rates come from a stated grid, by the prequential accuracy on the first 5,000 rows; what is reported are the rows behind them, of a model
that began at the first row. Networks: 6-100-2 with ReLU, SGD, a step a row (replay: and 8 of 500 remembered rows), gradients of norm 1 at most;
EWC and SI take 1,000 rows for a task. Features are scaled by river's running mean and variance.

    LIFELONG_DATA=... python benchmarks/elec2.py [--rows 45312] [--seeds 3]        12 minutes of one core
"""

from __future__ import annotations

import csv
import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from river import dummy, linear_model, optim, preprocessing, tree

from harness import Benchmark, say
from lifelong import EWC, SI, Finetune, Method, Replay, Training, interval
from lifelong.loops import OnlineClassifier
from lifelong.measures.online import windowed
from lifelong.report import figures, look, words

WINDOW = 1000
STEP = 100  # rows between two points of a curve that is drawn
GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
METHODS: dict[str, tuple[Method, int | None]] = {
    "network, fine-tuning": (Finetune(), None),
    "network, replay": (Replay(500, batch_size=8), None),
    "network, EWC": (EWC(1.0), 1000),
    "network, SI": (SI(0.1), 1000),
}
Make = Callable[[float, int], Any]  # learning rate, seed -> model


def network(method: Method, task: int | None) -> Make:
    return lambda lr, seed: OnlineClassifier(method, training=Training(lr=lr, clip=1.0), task=task, seed=seed)


MODELS: dict[str, tuple[Make, bool]] = {  # and whether it has a learning rate
    "the answer before (river)": (lambda lr, seed: dummy.NoChangeClassifier(), False),
    "logistic regression (river)": (lambda lr, seed: linear_model.LogisticRegression(optim.SGD(lr)), True),
    "Hoeffding adaptive tree (river)": (lambda lr, seed: tree.HoeffdingAdaptiveTreeClassifier(seed=seed), False),
    **{name: (network(*what), True) for name, what in METHODS.items()},
}


def rows(data: Path) -> list[tuple[dict[str, float], bool]]:
    found = []
    with gzip.open(data / "elec2" / "elec.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            label = row.pop("class")
            found.append(({name: float(value) for name, value in row.items()}, label == "1"))
    return found


def through(own: Any, stream: list[tuple[dict[str, float], bool]]) -> tuple[np.ndarray, float]:
    """Which rows were answered right before they were learnt, and the seconds it took."""
    model = preprocessing.StandardScaler() | own
    hits, began = [], time.perf_counter()
    for x, y in stream:
        hits.append(model.predict_one(x) == y)
        model.learn_one(x, y)
    return np.array(hits), time.perf_counter() - began


def drawn(curves: dict[str, list[list[float]]], step: int = STEP) -> bytes:
    """The accuracy among the last rows, over the stream: by model and seed, every so many rows."""
    with figures.drawing():
        figure = figures.new(7.6, 5.2)
        ax = figure.subplots()
        style = figures.colours(list(curves))
        values, ends = [], []
        for name, seeds in curves.items():
            each = np.array(seeds)
            x = WINDOW + step * np.arange(each.shape[1])
            values.append(look.spread(ax, x, each, style[name], lw=1.4))
            ends.append((float(x[-1]), float(each[:, -1].mean()), look.cut(name, 190), style[name][0]))
        low, high = look.limits(*values)
        look.value_axis(ax, low, high, 6)
        ax.set(
            xlabel="rows", ylabel=look.from_where(f"accuracy of the last {WINDOW:,} rows", low, 250), xlim=(0, x[-1])
        )
        ax.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
        ax.locator_params(axis="x", nbins=4)
        ax.grid(axis="y")
        look.footnote(figure, words.drawn([len(seeds) for seeds in curves.values()], "Bands", "Thin lines"))
        look.name_ends(figure, ax, ends, look.SMALL)
    return figures.png(figure)


def tried(name: str, lr: float, data: Path, first: int) -> float:
    """The prequential accuracy on the first rows, by which the learning rate is chosen."""
    return float(through(MODELS[name][0](lr, 0), rows(data)[:first])[0].mean())


def measure(name: str, lr: float, seed: int, data: Path, most: int) -> dict[str, Any]:
    """Which of the rows were answered right, and the seconds it took."""
    hits, took = through(MODELS[name][0](lr, seed), rows(data)[:most])
    return {"hits": hits.astype(int).tolist(), "seconds": took}


def summary(found: list[dict[str, Any]], first: int) -> dict[str, Any]:
    """What results/ holds of a model, from what each seed gave."""
    hits = [np.array(r["hits"], dtype=bool) for r in found]
    return {
        "accuracy": interval([float(own[first:].mean()) for own in hits])._asdict(),
        "worst_window": interval([float(windowed(own, WINDOW)[first:].min()) for own in hits])._asdict(),
        "microseconds": 1e6 * min(r["seconds"] for r in found) / len(hits[0]),
    }


def main() -> None:
    bench = Benchmark("elec2", __doc__, seeds=3, jobs=1, draws=True)
    bench.flag("--rows", type=int, default=45312)
    bench.flag("--first", type=int, default=5000, help="rows on which learning rates are chosen")
    said, first = bench.said, bench.said.first
    if said.draw:
        bench.picture("elec2.png", drawn(bench.before()["curves"]))
        return
    data = Path(os.environ["LIFELONG_DATA"]).resolve()
    stream = rows(data)[: said.rows]
    if not WINDOW <= first < len(stream):
        bench.parser.error(f"--first {first}: expected {WINDOW} or more, and fewer than --rows")
    table, curves = {}, {}
    with bench.runs(said.rows, first) as runs:
        for name, (_, rated) in MODELS.items():
            grid = runs(tried, {(name, g): (name, g, data, first) for g in GRID} if rated else {})
            lr = max(grid, key=lambda g: grid[g])[1] if grid else 0.0
            by_chance = name.startswith("network") or "tree" in name
            seeds = range(said.seeds if by_chance else 1)
            found = runs(measure, {(name, lr, s): (name, lr, s, data, said.rows) for s in seeds})
            table[name] = summary([*found.values()], first) | {
                "lr": lr,
                "grid": {str(g): a for (_, g), a in grid.items()},
            }
            hits = [np.array(r["hits"], dtype=bool) for r in found.values()]
            curves[name] = [windowed(own, WINDOW)[WINDOW::STEP].round(4).tolist() for own in hits]
            say(name, table[name])
    bench.picture("elec2.png", drawn(curves))
    methods = {name: str(method) for name, (method, _) in METHODS.items()}
    sizes = {"rows": len(stream), "first": first, "window": WINDOW, "seeds": said.seeds}
    bench.save(1, **sizes, methods=methods, table=table, curves=curves)


if __name__ == "__main__":
    main()
