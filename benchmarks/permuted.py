"""Permuted MNIST, ten tasks: fine-tuning, L2, SI, EWC and training on all tasks at once, with intervals over seeds.

784-256-256-10, ReLU, one epoch of 60,000 images a task, and the recipe of `lifelong demo`: SGD at 0.1 with momentum 0.9, the gradient clipped at
norm 1, penalties taken implicitly. Without momentum and clipping EWC reached 81.8% and L2 81.3%. Strengths come from a stated grid, on a fifth of the training images
that is held out, with seeds and permutations that are none of the reported; a grid whose best value is its first or last is continued.

    LIFELONG_DATA=... python benchmarks/permuted.py --work DIRECTORY [--seeds 5] [--jobs 2]

What was measured is kept in the directory, a run a line; the same command goes on from there. About a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from demo_strengths import further
from environment import save
from lifelong import EWC, L2, MLP, SI, Finetune, Method, RMatrix, Training, fit, interval, paired, permuted
from lifelong.methods import JointOnce
from lifelong.pool import each

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
Work = tuple[str, float, int, bool]


def measure(source: str, method: str, strength: float, seed: int, held_out: bool) -> list[list[float]]:
    """R of one seed; its permutations are its own."""
    import torch

    torch.set_num_threads(1)
    stream = permuted(source, tasks=TASKS, seed=seed)
    if held_out:
        stream = stream.hold_out(FRACTION, seed)
    return fit(METHODS[method](strength), NET, stream, seeds=[seed], training=TRAINING).matrix().R.tolist()


def measured(work: list[Work], source: str, folder: Path, jobs: int) -> dict[Work, np.ndarray]:
    """R of each piece of work: what the directory has of it is not done again."""
    path = folder / "runs.jsonl"
    found: dict[Work, np.ndarray] = {}
    recipe = f"{source}, {TASKS} tasks, {NET}, {TRAINING}, {FRACTION} held out"
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):  # the last may be torn
            kept = json.loads(line)
            if kept["recipe"] == recipe:
                method, strength, seed, held_out = kept["work"]
                found[method, strength, seed, held_out] = np.array(kept["R"])
    todo = [piece for piece in work if piece not in found]
    done = each(measure, [(source, *piece) for piece in todo], jobs)
    for i, R in track(done, "runs", total=len(todo)):
        found[todo[i]] = np.array(R)
        with path.open("a") as file:
            file.write("\n" + json.dumps({"recipe": recipe, "work": todo[i], "R": R}) + "\n")
    return found


def choose(source: str, folder: Path, jobs: int) -> dict[str, dict[float, float]]:
    """Of each method the mean held-out accuracy of each strength, in the order of strengths."""
    grids = {name: list(grid) for name, grid in GRIDS.items()}
    for _ in range(6):
        work = [(m, s, seed, True) for m, grid in grids.items() for s in grid for seed in CHOICE]
        R = measured(work, source, folder, jobs)
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    said = parser.parse_args()
    said.work.mkdir(parents=True, exist_ok=True)
    scores = choose(said.source, said.work, said.jobs)
    chosen = {m: max(of, key=of.__getitem__) for m, of in scores.items()}
    print(chosen, scores, flush=True)
    seeds = range(said.seeds)
    runs = measured(
        [(m, chosen.get(m, 0.0), s, False) for s in seeds for m in METHODS], said.source, said.work, said.jobs
    )
    R = {m: np.stack([runs[m, chosen.get(m, 0.0), seed, False] for seed in seeds]) for m in METHODS}
    acc = {m: stack[:, -1].mean(1) for m, stack in R.items()}
    save(
        "permuted",
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
