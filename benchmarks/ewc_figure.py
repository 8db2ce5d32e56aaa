"""The figure of the EWC paper (arXiv 1612.00796, figure 2A): permuted MNIST, a row per task, EWC against L2 and plain SGD.

Three permutations A, B, C are learnt in turn; each row is the test accuracy on one of them while the network trains. Network
784-400-400-10 as in their table S1; the paper gives neither optimiser nor batch nor λ: here SGD 0.1, batch 128, five epochs a
task, strengths from a grid on held-out training images with a seed of its own.

    LIFELONG_DATA=... python benchmarks/ewc_figure.py [--seeds 3] [--jobs 2] [--epochs 5]
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from harness import Benchmark, plain
from lifelong import EWC, L2, MLP, Finetune, Learner, Method, Training, choose_each, interval, permuted
from lifelong.report import figures, look, words

NET = MLP((400, 400))
GRIDS = {"l2": (0.001, 0.003, 0.01, 0.03), "ewc": (1.0, 10.0, 100.0, 1000.0)}
TASKS, LOOKS = 3, 5  # looks an epoch


def watch(method: Method, seed: int, epochs: int, source: str) -> tuple[list[float], list[list[float]]]:
    """Epochs trained so far, and the accuracy on each task ``[look][task]``, look by look."""
    stream = permuted(source, tasks=TASKS, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = NET(stream.shape, stream.outputs)
    learner = Learner(net, method, Training(lr=0.1, batch_size=128, epochs=epochs), scenario="domain", seed=seed)
    when, accuracy = [0.0], [[a for a, _, _ in learner.evaluate(stream)]]
    for task in stream:
        due = 1 / LOOKS
        for pause in learner.steps(task):
            done = epochs * pause.step / pause.steps
            if done >= due - 1e-9:
                due += 1 / LOOKS
                when.append(epochs * task.index + done)
                accuracy.append([a for a, _, _ in learner.evaluate(stream)])
    return when, accuracy


def draw(curves: dict[str, list[tuple[list[float], list[list[float]]]]], epochs: int) -> bytes:
    """A panel a task, from the first look after its training began: thin lines are seeds, the thick one is their mean."""
    names = {"ewc": "EWC", "l2": "L2", "finetune": "SGD"}
    style = figures.colours(list(curves))
    with figures.drawing():
        figure = figures.new(7.6, 6.6)
        rows = figure.subplots(TASKS, 1, sharex=True, sharey=True)
        drawn, ends = [], []
        for j, ax in enumerate(rows):
            for name, runs in curves.items():
                when = np.array(runs[0][0])
                shown = when > epochs * j
                R = np.array([[row[j] for row in accuracy] for _, accuracy in runs])[:, shown]
                drawn.append(look.spread(ax, when[shown], R, style[name]))
                end = float(R[:, -1].mean())
                ends.append((j, (float(when[-1]), end, f"{names[name]} {100 * end:.1f}%", style[name][0])))
            for t in range(1, TASKS):
                ax.axvline(epochs * t, color=figures.SOFT, lw=0.8, ls=":")
            ax.set_title(f"task {'ABC'[j]}", loc="left")
            ax.grid(axis="y")
        low, high = look.limits(*drawn)
        for ax in rows:
            look.value_axis(ax, low, high)
            ax.set_xlim(0, epochs * TASKS)
        rows[-1].set_xlabel(f"epochs: {epochs} of A, then of B, then of C")
        figure.supylabel(look.from_where("test accuracy", low), fontsize=look.TEXT)
        count = len(next(iter(curves.values())))
        note = words.drawn([count], "Bands", "Thin lines")
        look.footnote(figure, f"Each task from a fifth of an epoch after its training began. {note}")
        for j, ax in enumerate(rows):
            look.name_ends(figure, ax, [end for k, end in ends if k == j])
    return figures.png(figure)


def main() -> None:
    bench = Benchmark("ewc_figure", __doc__, seeds=3, jobs=2, source="mnist", draws=True)
    bench.flag("--epochs", type=int, default=5)
    said = bench.said
    if said.draw:
        curves = bench.before()["curves"]
        bench.picture("ewc-figure.png", draw(curves, int(curves["ewc"][0][0][-1] / TASKS)))
        return
    stream = permuted(said.source, tasks=TASKS, seed=1000)
    training = Training(lr=0.1, batch_size=128, epochs=said.epochs)
    make = {"l2": partial(L2, implicit=True), "ewc": partial(EWC, implicit=True)}
    candidates = {n: (make[n], g) for n, g in GRIDS.items()}
    with bench.runs(said.source, said.epochs) as runs:
        chosen = runs.choices("strengths", lambda: choose_each(candidates, NET, stream, training, jobs=said.jobs))
        methods: dict[str, Method] = {n: make[n](chosen[n].value) for n in ("ewc", "l2")} | {"finetune": Finetune()}
        seeds = range(said.seeds)
        found = runs(watch, {(n, s): (m, s, said.epochs, said.source) for n, m in methods.items() for s in seeds})
    curves = {n: [found[n, seed] for seed in seeds] for n in methods}
    bench.picture("ewc-figure.png", draw(curves, said.epochs))
    ends = {n: np.array([accuracy[-1] for _, accuracy in own]) for n, own in curves.items()}
    bench.save(
        1,
        net=str(NET),
        training=str(training),
        seeds=said.seeds,
        strengths=plain(chosen),
        end={n: [interval(R[:, j])._asdict() for j in range(TASKS)] for n, R in ends.items()},
        curves=curves,
    )


if __name__ == "__main__":
    main()
