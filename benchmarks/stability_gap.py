"""The stability gap (De Lange et al. 2023, arXiv 2205.13452): three rotations of mnist-mini, every task so far measured after every step.

Network 784-100-100-10, SGD with momentum 0.9, learning rate 0.05, batch 32, ten passes over 1,000 images a task; 500 test images. EWC's strength
is chosen on held-out training examples of another seed. Replay: 500 examples, as many in a step as there are new ones.

    python benchmarks/stability_gap.py [--seeds 3]        3 minutes of one core
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import numpy as np
import torch

from environment import DOCS, save
from lifelong import EWC, MLP, Finetune, Method, Replay, Training, choose, fit, interval, rotated
from lifelong.online import Trace, anytime, gaps, min_acc, wc_acc
from lifelong.report import figures
from lifelong.run import Job

NET, TRAINING = MLP((100, 100)), Training(lr=0.05, momentum=0.9, batch_size=32, epochs=10)
GRID = (1.0, 10.0, 100.0)
stream = partial(rotated, tasks=3, protocol="even", examples=1000, test_examples=500)


def drawn(first: dict[str, list[Trace]]) -> bytes:
    """Accuracy on task 1 while all three are learnt, and as it stands at the ends of tasks alone: mean over seeds."""
    with figures.drawing():
        figure = figures.new(7.6, 2.1 * len(first) + 0.4)
        style = figures.colours(list(first))
        for ax, (name, traces) in zip(figure.subplots(len(first), 1, sharex=True, sharey=True), first.items()):
            values = np.mean([[row[0] for row in t.accuracy] for t in traces], 0)
            ends = [traces[0].end(k) for k in range(traces[0].tasks)]
            length = max(traces[0].step)
            steps = np.array([length * t + s for t, s in zip(traces[0].task, traces[0].step)])
            colour = style[name][0]
            ax.plot(steps, values, color=colour, lw=1.1)
            ax.plot(steps[ends], values[ends], color=figures.INK, ls=":", marker="o", ms=4, lw=1)
            for end in ends:
                ax.axvline(steps[end], color=figures.GRID, lw=1, zorder=0)
            ax.set_title(f"{name}: accuracy on task 1 after every step; dots: what R shows", loc="left")
            ax.set(ylim=(0, 1), ylabel="accuracy")
            ax.grid(axis="y")
        ax.set(xlabel="steps; a line where a task ends")
    return figures.png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    said = parser.parse_args()
    torch.set_num_threads(1)
    strength = choose(partial(EWC, implicit=True), GRID, NET, stream(seed=1000), TRAINING, seeds=[1000])
    methods: dict[str, Method] = {
        "fine-tuning": Finetune(),
        "EWC": EWC(strength.value, implicit=True),
        "replay": Replay(500),
    }
    table, traces = {}, {}
    for name, method in methods.items():
        found: list[dict[str, float]] = []
        traces[name] = []
        for seed in range(said.seeds):
            run = fit(method, NET, stream(seed=seed), seeds=[seed], training=TRAINING, evaluate_every=1)
            trace = run.records[Job(method.name, seed)].trace
            assert trace is not None
            traces[name].append(trace)
            found.append(
                {
                    "acc": run.matrix(seed=seed).acc,
                    "worst_case": run.matrix(seed=seed).worst_case,
                    "wc_acc": wc_acc(trace),
                    "min_acc": min_acc(trace),
                    "anytime": anytime(trace),
                    "lost": float(np.mean([g.lost for g in gaps(trace)])),
                    "regained": float(np.mean([g.regained for g in gaps(trace)])),
                }
            )
        table[name] = {k: interval([f[k] for f in found])._asdict() for k in found[0]} | {"method": str(method)}
        print(name, {k: v["mean"] for k, v in table[name].items() if k != "method"}, file=sys.stderr, flush=True)
    (DOCS / "stability-gap.png").write_bytes(drawn(traces))
    save(
        "stability_gap",
        1,
        seeds=said.seeds,
        net=str(NET),
        training=str(TRAINING),
        strength=strength._asdict(),
        table=table,
    )


if __name__ == "__main__":
    main()
