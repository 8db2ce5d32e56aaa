"""The stability gap (De Lange et al. 2023, arXiv 2205.13452): three rotations of mnist-mini, every task so far measured after every step.

Network 784-100-100-10, SGD with momentum 0.9, learning rate 0.05, batch 32, ten passes over 1,000 images a task; 500 test images. EWC's strength
is chosen on held-out training examples of another seed. Replay: 500 examples, as many in a step as there are new ones.

    python benchmarks/stability_gap.py [--seeds 3]        3 minutes of one core
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from harness import Benchmark, over_seeds, plain, say
from lifelong import EWC, MLP, Finetune, Method, Replay, Training, choose, fit, rotated
from lifelong.measures.online import Trace, anytime, gaps, min_acc, wc_acc
from lifelong.report import figures, look, words
from lifelong.runs.choose import Choice
from lifelong.runs.run import Job

NET, TRAINING = MLP((100, 100)), Training(lr=0.05, momentum=0.9, batch_size=32, epochs=10)
GRID = (1.0, 10.0, 100.0)
TASKS = 3
stream = partial(rotated, tasks=TASKS, protocol="even", examples=1000, test_examples=500)


def drawn(first: dict[str, dict[str, Any]]) -> bytes:
    """Accuracy on each task while it and later ones are learnt, and as it stands at the ends of tasks alone: a row a method, a column a task."""
    with figures.drawing():
        names = list(first)
        figure = figures.new(7.6, 2.0 * len(names) + 0.5)
        style = figures.colours(names)
        axes = figure.subplots(len(names), TASKS, sharex=True, sharey=True, squeeze=False)
        values = []
        for row, (name, found) in zip(axes, first.items()):
            steps, ends = np.array(found["steps"]), np.array(found["ends"])
            each = np.array([[[np.nan if v is None else v for v in at] for at in seed] for seed in found["accuracy"]])
            for j, ax in enumerate(row):
                own = steps > (steps[ends[j - 1]] if j else 0)
                values.append(look.spread(ax, steps[own], each[:, own, j], style[name], lw=1.1))
                ax.plot(
                    steps[ends[j:]], each[:, ends[j:], j].mean(0), color=figures.INK, ls=":", marker="o", ms=4, lw=1
                )
                for end in ends:
                    ax.axvline(steps[end], color=figures.GRID, lw=1, zorder=0)
                ax.grid(axis="y")
                ax.tick_params(length=0)
            row[0].set_title(name, loc="left", color=look.readable(style[name][0]))
        low, high = look.limits(*values)
        for ax in axes.flat:
            look.value_axis(ax, low, high)
            ax.set_xlim(0, steps[-1])
            ax.set_xticks([int(steps[end]) for end in ends])
        for j, ax in enumerate(axes[-1]):
            ax.set_xlabel(f"steps\ntask {j + 1}")
        figure.supylabel(look.from_where("accuracy on the task", low), fontsize=look.TEXT)
        counts = [len(found["accuracy"]) for found in first.values()]
        look.footnote(figure, "Dots: what R shows. " + words.drawn(counts, "Bands", "Thin lines"))
    return figures.png(figure)


def traced(traces: list[Trace]) -> dict[str, Any]:
    """What is drawn of a method: its moments, which of them end a task, and the accuracy on each task, by seed; None before the task."""
    one = traces[0]
    length = max(one.step)
    accuracy = [[[round(v, 4) for v in row] + [None] * (one.tasks - len(row)) for row in t.accuracy] for t in traces]
    return {
        "steps": [length * t + s for t, s in zip(one.task, one.step)],
        "ends": [one.end(k) for k in range(one.tasks)],
        "accuracy": accuracy,
    }


def measure(method: Method, seed: int) -> dict[str, Any]:
    """Measures of one seed, and its trace, as JSON has it."""
    run = fit(method, NET, stream(seed=seed), seeds=[seed], training=TRAINING, evaluate_every=1)
    trace = run.records[Job(method.name, seed)].trace
    assert trace is not None
    R = run.matrix(seed=seed)
    measures = {
        "acc": R.acc,
        "worst_case": R.worst_case,
        "wc_acc": wc_acc(trace),
        "min_acc": min_acc(trace),
        "anytime": anytime(trace),
        "lost": float(np.mean([g.lost for g in gaps(trace)])),
        "regained": float(np.mean([g.regained for g in gaps(trace)])),
    }
    return {"measures": measures, "curve": traced([trace])}


def main() -> None:
    bench = Benchmark("stability_gap", __doc__, seeds=3, jobs=1, draws=True)
    said, seeds = bench.said, range(bench.said.seeds)
    if said.draw:
        bench.picture("stability-gap.png", drawn(bench.before()["curves"]))
        return

    def strength() -> Choice:
        return choose(partial(EWC, implicit=True), GRID, NET, stream(seed=1000), TRAINING, seeds=[1000])

    with bench.runs() as runs:
        chosen = runs.choices("strength", lambda: {"EWC": strength()})["EWC"]
        methods: dict[str, Method] = {
            "fine-tuning": Finetune(),
            "EWC": EWC(chosen.value, implicit=True),
            "replay": Replay(500),
        }
        found = runs(measure, {(name, seed): (method, seed) for name, method in methods.items() for seed in seeds})
    table: dict[str, dict[str, Any]] = {}
    curves: dict[str, dict[str, Any]] = {}
    for name, method in methods.items():
        own = [found[name, seed] for seed in seeds]
        table[name] = plain(over_seeds([r["measures"] for r in own])) | {"method": str(method)}
        curves[name] = own[0]["curve"] | {"accuracy": [r["curve"]["accuracy"][0] for r in own]}
        say(name, {k: v["mean"] for k, v in table[name].items() if k != "method"})
    bench.picture("stability-gap.png", drawn(curves))
    bench.save(
        1,
        seeds=said.seeds,
        net=str(NET),
        training=str(TRAINING),
        strength=chosen._asdict(),
        table=table,
        curves=curves,
    )


if __name__ == "__main__":
    main()
