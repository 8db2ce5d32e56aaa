"""Retention against intransigence as λ grows: a curve for each method that holds weights, the trade-off on one page.

Permuted MNIST, five tasks of 10,000 images, 784-256-256-10, SGD 0.1, batch 128, one epoch. Forgetting and intransigence as in
the RWalk paper (arXiv 1801.10112); intransigence is against joint training on the same seeds. Every λ of the grid is shown, so
nothing is chosen; the penalties are taken implicitly, where no λ diverges.

    LIFELONG_DATA=... python benchmarks/tradeoff.py [--seeds 3] [--jobs 2]
"""

from __future__ import annotations

from functools import partial

import numpy as np

from harness import Benchmark
from lifelong import EWC, L2, MAS, MLP, SI, Finetune, Joint, Method, RMatrix, RWalk, Training, fit, permuted
from lifelong.report import figures, look

MAKE = {
    "l2": partial(L2, implicit=True),
    "ewc": partial(EWC, implicit=True),
    "si": partial(SI, implicit=True),
    "mas": partial(MAS, implicit=True),
    "rwalk": partial(RWalk, implicit=True),
}
GRIDS = {
    "l2": (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0),
    "ewc": (1e-1, 1.0, 3.0, 10.0, 30.0, 1e2, 1e4),
    "si": (1e-3, 1e-2, 1e-1, 0.3, 1.0, 1e1, 1e3),
    "mas": (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 1.0, 1e2),
    "rwalk": (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e4),
}


def run(method: Method, seed: int, source: str) -> list[list[float]]:
    stream = permuted(source, tasks=5, seed=seed, examples=10_000)
    training = Training(lr=0.1, batch_size=128)
    R: list[list[float]] = (
        fit(method, MLP((256, 256)), stream, seeds=[seed], training=training).matrix(seed=seed).R.tolist()
    )
    return R


def point(found: list[RMatrix], reference: list[RMatrix]) -> dict[str, float]:
    """Means over the seeds."""
    return {
        "forgetting": float(np.mean([r.forgetting for r in found])),
        "intransigence": float(np.mean([r.intransigence(j) for r, j in zip(found, reference)])),
        "acc": float(np.mean([r.acc for r in found])),
    }


def draw(points: dict[str, list[dict[str, float]]], free: dict[str, float], seeds: int) -> bytes:
    """A line a method from λ = 0 to the greatest of its grid, a point a λ."""
    style = figures.colours([*points, "finetune"])
    start = free["intransigence"], free["forgetting"]
    ends = [(*start, "λ = 0: fine-tuning", figures.INK)]
    ways = []
    with figures.drawing():
        figure = figures.new(7.6, 5.4)
        ax = figure.subplots()
        for name, found in points.items():
            colour, dash = style[name]
            x = [start[0], *(p["intransigence"] for p in found)]
            y = [start[1], *(p["forgetting"] for p in found)]
            ax.plot(x, y, color=colour, ls=dash, lw=1.6, marker="o", ms=4)
            ways.append((x, y))
            ends.append((x[-1], y[-1], f"{name}, λ = {found[-1]['strength']:g}", colour))
        ax.plot(*start, "s", color=figures.INK, ms=7, zorder=3)
        ax.margins(x=0.1, y=0.08)
        ax.set(xlabel="intransigence: accuracy below joint training's on a new task", ylabel="forgetting, of accuracy")
        ax.grid()
        look.footnote(
            figure,
            f"Each line begins at λ = 0 and ends at the λ beside its name; a point a λ of the grid, the mean of {seeds} seeds.",
        )
        look.name_points(figure, ax, ends, lines=ways)
    return figures.png(figure)


def main() -> None:
    bench = Benchmark("tradeoff", __doc__, seeds=3, jobs=2, source="mnist", draws=True)
    said, seeds = bench.said, range(bench.said.seeds)
    if said.draw:
        r = bench.before()
        bench.picture("tradeoff.png", draw(r["points"], r["finetune"], r["seeds"]))
        return
    methods: dict[tuple[str, float], Method] = {("finetune", 0.0): Finetune(), ("joint", 0.0): Joint()}
    methods |= {(n, value): MAKE[n](value) for n, grid in GRIDS.items() for value in grid}
    with bench.runs(said.source) as runs:
        units = {(*cell, seed): (method, seed, said.source) for cell, method in methods.items() for seed in seeds}
        found = runs(run, units)
    R = {cell: [RMatrix(np.array(found[(*cell, seed)])) for seed in seeds] for cell in methods}
    reference = R["joint", 0.0]
    start = point(R["finetune", 0.0], reference)
    points = {n: [point(R[n, value], reference) | {"strength": value} for value in grid] for n, grid in GRIDS.items()}
    bench.picture("tradeoff.png", draw(points, start, said.seeds))
    bench.save(1, seeds=said.seeds, finetune=start, points=points)


if __name__ == "__main__":
    main()
