"""Permuted MNIST, ten tasks: fine-tuning, L2, EWC and joint training, with intervals over seeds.

784-256-256-10, ReLU, SGD 0.1, batch 128, one epoch of 60,000 images a task; strengths from a stated grid on held-out training
data with one seed that is none of the reported.

    LIFELONG_DATA=... python benchmarks/permuted.py [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from environment import save
from lifelong import EWC, L2, MLP, Training, choose_each, interval, paired, permuted
from lifelong.config import Config
from lifelong.jobs import execute

NET, TRAINING = MLP((256, 256)), Training(lr=0.1, batch_size=128, epochs=1)
GRIDS = {"l2": (0.003, 0.01, 0.03), "ewc": (0.3, 1.0, 3.0, 10.0, 30.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    said = parser.parse_args()
    stream = permuted(said.source, tasks=10, seed=1000)
    make = {"l2": partial(L2, implicit=True), "ewc": partial(EWC, implicit=True)}
    candidates = {n: (make[n], g) for n, g in GRIDS.items()}
    chosen = choose_each(candidates, NET, stream, TRAINING, seeds=[1000], jobs=said.jobs)
    print({n: str(c) for n, c in chosen.items()}, flush=True)
    config = Config.from_keys(
        {
            "stream": "permuted",
            "stream.seed": "each",  # every seed has a stream of its own
            "stream.source": said.source,
            "method": "finetune,l2,ewc,joint",
            "seeds": said.seeds,
            "epochs": TRAINING.epochs,
            "batch_size": TRAINING.batch_size,
            "threads": 1,
            **{f"{n}.strength": c.value for n, c in chosen.items()},
            **{f"{n}.implicit": True for n in chosen},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        run, failed = execute(config, Path(folder) / "run", said.jobs, lambda m: print(m) if m.kind == "done" else None)
    assert not failed, failed
    R = {n: np.stack([run.matrix(n, seed).R for seed in run.seeds(n)]) for n in run.methods}
    acc = {n: r[:, -1].mean(1) for n, r in R.items()}
    save(
        "permuted",
        1,
        training=str(TRAINING),
        net=str(NET),
        seeds=said.seeds,
        strengths={k: c._asdict() for k, c in chosen.items()},
        acc={n: interval(a)._asdict() for n, a in acc.items()},
        first_task={n: interval(r[:, -1, 0])._asdict() for n, r in R.items()},
        bwt={n: run.summary(n)["bwt"]._asdict() for n in R},
        ewc_minus={n: paired(acc["ewc"], acc[n])._asdict() for n in ("finetune", "l2", "joint")},
        R={n: r.tolist() for n, r in R.items()},
    )


if __name__ == "__main__":
    main()
