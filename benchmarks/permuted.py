"""Permuted MNIST, ten tasks: fine-tuning, L2, SI, EWC and training on all tasks at once, with intervals over seeds.

784-256-256-10, ReLU, one epoch of 60,000 images a task, and the recipe of `lifelong demo`: SGD at 0.1 with momentum 0.9, the gradient clipped at
norm 1, penalties taken implicitly. Without momentum and clipping EWC reached 81.8% and L2 81.3%. Strengths come from a stated grid, on a fifth of the training images
that is held out, with seeds and permutations that are none of the reported; a grid whose best value is its first or last is continued.

    LIFELONG_DATA=... python benchmarks/permuted.py [--seeds 5] [--jobs 2] [--work DIRECTORY]

What was measured is kept in the directory until all is; the same command goes on from there. About a quarter of an hour on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from demo_strengths import further
from harness import Benchmark, Runs, say
from lifelong import EWC, L2, MLP, SI, Finetune, Method, RMatrix, Training, fit, interval, paired, permuted
from lifelong.methods import JointOnce

NET = MLP((256, 256))
TRAINING = Training(lr=0.1, momentum=0.9, clip=1.0, batch_size=128, epochs=1)
METHODS: dict[str, Callable[[float], Method]] = {
    "finetune": lambda _: Finetune(),
    "l2": partial(L2, implicit=True),
    "si": partial(SI, implicit=True),
    "ewc": partial(EWC, implicit=True),
    "joint_once": lambda _: JointOnce(),
}
GRIDS = {"l2": (0.01, 0.03, 0.1), "si": (0.1, 0.3, 1.0), "ewc": (30.0, 100.0, 300.0)}
TASKS, CHOICE, FRACTION = 10, (1000, 1001), 0.2


def measure(method: str, strength: float, seed: int, held_out: bool, source: str) -> list[list[float]]:
    """R of one seed; its permutations are its own."""
    stream = permuted(source, tasks=TASKS, seed=seed)
    if held_out:
        stream = stream.hold_out(FRACTION, seed)
    return fit(METHODS[method](strength), NET, stream, seeds=[seed], training=TRAINING).matrix().R.tolist()


def choose(runs: Runs, source: str) -> dict[str, dict[float, float]]:
    """Of each method the mean held-out accuracy of each strength, in the order of strengths."""
    grids = {name: list(grid) for name, grid in GRIDS.items()}
    for _ in range(6):
        work = [(m, s, seed, True) for m, grid in grids.items() for s in grid for seed in CHOICE]
        R = runs(measure, {piece: (*piece, source) for piece in work})
        scores = {
            m: {s: float(np.mean([R[m, s, seed, True][-1] for seed in CHOICE])) for s in g} for m, g in grids.items()
        }
        ends = {m: max(of, key=of.__getitem__) for m, of in scores.items()}
        open_ = {m: best for m, best in ends.items() if best in (min(grids[m]), max(grids[m]))}
        if not open_:
            return scores
        for m, best in open_.items():
            grids[m] = sorted([*grids[m], further(best, best == max(grids[m]))])
    sys.exit(f"the best of {', '.join(open_)} is still at an end of its grid: {grids}")


def main() -> None:
    bench = Benchmark("permuted", __doc__, seeds=5, jobs=2, source="mnist")
    said, seeds = bench.said, range(bench.said.seeds)
    with bench.runs(said.source) as runs:
        scores = choose(runs, said.source)
        chosen = {m: max(of, key=of.__getitem__) for m, of in scores.items()}
        say(chosen, scores)
        work = [(m, chosen.get(m, 0.0), s, False) for s in seeds for m in METHODS]
        found = runs(measure, {piece: (*piece, said.source) for piece in work})
    R = {m: np.stack([found[m, chosen.get(m, 0.0), seed, False] for seed in seeds]) for m in METHODS}
    acc = {m: stack[:, -1].mean(1) for m, stack in R.items()}
    bench.save(
        1,
        training=str(TRAINING),
        net=str(NET),
        seeds=said.seeds,
        held_out=FRACTION,
        strengths={
            m: {"value": chosen[m], "grid": list(of), "scores": list(of.values()), "seeds": CHOICE}
            for m, of in scores.items()
        },
        acc={m: interval(a)._asdict() for m, a in acc.items()},
        first_task={m: interval(stack[:, -1, 0])._asdict() for m, stack in R.items()},
        bwt={m: interval([RMatrix(r).bwt for r in stack])._asdict() for m, stack in R.items() if m != "joint_once"},
        ewc_minus={m: paired(acc["ewc"], acc[m])._asdict() for m in METHODS if m != "ewc"},
        R={m: stack.tolist() for m, stack in R.items()},
    )


if __name__ == "__main__":
    main()
