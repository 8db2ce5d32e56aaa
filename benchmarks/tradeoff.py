"""Retention against intransigence as λ grows: a curve for each method that holds weights, the trade-off on one page.

Permuted MNIST, five tasks of 10,000 images, 784-256-256-10, SGD 0.1, batch 128, one epoch. Forgetting and intransigence as in
the RWalk paper (arXiv 1801.10112); intransigence is against joint training on the same seeds. Every λ of the grid is shown, so
nothing is chosen; the penalties are taken implicitly, where no λ diverges.

    LIFELONG_DATA=... python benchmarks/tradeoff.py [--seeds 3] [--jobs 2]
"""

from __future__ import annotations

import argparse
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch

from environment import DOCS, save
from lifelong import EWC, L2, MAS, MLP, SI, Finetune, Joint, Method, RMatrix, RWalk, Training, fit, permuted
from lifelong.report import figures, look
from pages.cells import load

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
    torch.set_num_threads(1)
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--draw", action="store_true", help="draw the picture again from results/, and measure nothing")
    said = parser.parse_args()
    if said.draw and (r := load("tradeoff")) is not None:
        (DOCS / "tradeoff.png").write_bytes(draw(r["points"], r["finetune"], r["seeds"]))
        return
    Runs = list[Future[list[list[float]]]]
    with ProcessPoolExecutor(said.jobs, mp_context=get_context("spawn")) as pool:

        def ask(method: Method) -> Runs:
            return [pool.submit(run, method, seed, said.source) for seed in range(said.seeds)]

        def told(futures: Runs) -> list[RMatrix]:
            return [RMatrix(np.array(f.result())) for f in futures]

        free, joint = ask(Finetune()), ask(Joint())
        asked = {n: [ask(MAKE[n](value)) for value in grid] for n, grid in GRIDS.items()}
        reference = told(joint)
        start = point(told(free), reference)
        points = {
            n: [point(told(futures), reference) | {"strength": value} for value, futures in zip(GRIDS[n], asked[n])]
            for n in GRIDS
        }
    (DOCS / "tradeoff.png").write_bytes(draw(points, start, said.seeds))
    save("tradeoff", 1, seeds=said.seeds, finetune=start, points=points)


if __name__ == "__main__":
    main()
