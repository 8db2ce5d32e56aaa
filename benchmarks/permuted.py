"""Permuted MNIST, ten tasks: fine-tuning, L2, EWC and joint training, with intervals over seeds.

784-256-256-10, ReLU, SGD 0.1, batch 128, one epoch of 60,000 images a task; strengths from a stated grid on held-out training
data with one seed that is none of the reported.

    LIFELONG_DATA=... python benchmarks/permuted.py [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from environment import save

from lifelong import EWC, L2, MLP, Finetune, Joint, Method, Training, fit, interval, paired, permuted
from lifelong.errors import TrainingError

NET, TRAINING = MLP((256, 256)), Training(lr=0.1, batch_size=128, epochs=1)
GRIDS = {"l2": (0.0003, 0.001, 0.003, 0.01, 0.03), "ewc": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)}
MAKE = {"finetune": lambda s: Finetune(), "joint": lambda s: Joint(), "l2": L2, "ewc": lambda s: EWC(s, implicit=True)}


def one(source: str, name: str, strength: float, seed: int, held_out: bool) -> list[list[float]]:
    """R of one run, as rows."""
    torch.set_num_threads(1)
    stream = permuted(source, tasks=10, seed=seed)
    method: Method = MAKE[name](strength)
    try:
        rows: list[list[float]] = fit(
            method, NET, stream.hold_out(0.1, seed) if held_out else stream, seeds=[seed], training=TRAINING
        ).matrix().R.tolist()
    except TrainingError:
        rows = [[0.0] * 10] * 11
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    said = parser.parse_args()
    with ProcessPoolExecutor(said.jobs, mp_context=get_context("spawn")) as pool:
        tried = {
            (name, s): pool.submit(one, said.source, name, s, 1000, True) for name, grid in GRIDS.items() for s in grid
        }
        scores = {key: float(np.mean(found.result()[-1])) for key, found in tried.items()}
        print(scores, flush=True)
        chosen = {name: max(grid, key=lambda s: scores[name, s]) for name, grid in GRIDS.items()}
        runs = {
            (name, seed): pool.submit(one, said.source, name, chosen.get(name, 0.0), seed, False)
            for name in MAKE
            for seed in range(said.seeds)
        }
        R = {name: np.array([runs[name, s].result() for s in range(said.seeds)]) for name in MAKE}
    save(
        "permuted",
        1,
        training=str(TRAINING),
        net=str(NET),
        seeds=said.seeds,
        strengths={n: {"value": chosen[n], "grid": g, "scores": [scores[n, s] for s in g]} for n, g in GRIDS.items()},
        acc={n: interval(r[:, -1].mean(1))._asdict() for n, r in R.items()},
        first_task={n: interval(r[:, -1, 0])._asdict() for n, r in R.items()},
        bwt={
            n: interval([np.mean(r[s, -1, :-1] - np.diagonal(r[s, 1:])[:-1]) for s in range(said.seeds)])._asdict()
            for n, r in R.items()
        },
        ewc_minus={
            n: paired(R["ewc"][:, -1].mean(1).tolist(), R[n][:, -1].mean(1).tolist())._asdict()
            for n in ("finetune", "l2", "joint")
        },
        R={n: r.tolist() for n, r in R.items()},
    )


if __name__ == "__main__":
    main()
