"""The lecture's first example on full MNIST: two corpora in turn, a network of three layers of 50 units.

Published (lecture slides, percent): corpus 1 goes from 90 to 80 when corpus 2 is learnt; corpus 2 from 96 to 97; trained on
both, 89 and 98. The lecture states neither its noise nor its training, so there is no verdict: ours stand beside it.

    LIFELONG_DATA=... python benchmarks/lecture.py [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from harness import Benchmark, plain, say
from lifelong import EWC, L2, MLP, Training, choose_each, interval, two_corpora
from lifelong.runs.jobs import execute
from lifelong.runs.run import Run
from lifelong.runs.spec import RunSpec

NET, TRAINING = MLP((50, 50, 50)), Training(lr=0.1, batch_size=32, epochs=10)
GRIDS = {"l2": (0.01, 0.1, 1.0), "ewc": (10.0, 100.0, 1000.0, 10000.0)}
LECTURE = {
    "corpus 1 after 1": 90,
    "corpus 1 after 2": 80,
    "corpus 2 after 1": 96,
    "corpus 2 after 2": 97,
    "joint 1": 89,
    "joint 2": 98,
}


def learnt(said: argparse.Namespace, strengths: dict[str, float]) -> Run:
    """All methods with all seeds."""
    config = RunSpec.from_keys(
        {
            "stream": "two_corpora",
            "stream.seed": "each",  # every seed has a stream of its own
            "stream.source": said.source,
            "method": "finetune,joint,l2,ewc",
            "seeds": said.seeds,
            "net.hidden": NET.hidden,
            "optimizer": TRAINING.optimizer,
            "lr": TRAINING.lr,
            "epochs": TRAINING.epochs,
            "batch_size": TRAINING.batch_size,
            "halve_every": TRAINING.halve_every,
            "threads": 1,
            **{f"{n}.strength": value for n, value in strengths.items()},
            **{f"{n}.implicit": True for n in strengths},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        run, failed = execute(config, Path(folder) / "run", said.jobs, say)
    assert not failed, failed
    return run


def main() -> None:
    bench = Benchmark("lecture", __doc__, seeds=5, jobs=2, source="mnist")
    said = bench.said
    stream = two_corpora(said.source, seed=1000)
    make = {"l2": partial(L2, implicit=True), "ewc": partial(EWC, implicit=True)}
    candidates = {n: (make[n], g) for n, g in GRIDS.items()}
    with bench.runs(said.source) as runs:
        chosen = runs.choices(
            "strengths", lambda: choose_each(candidates, NET, stream, TRAINING, seeds=[1000], jobs=said.jobs)
        )
        run = learnt(said, {n: c.value for n, c in chosen.items()})
    cells = {}
    for name in run.methods:
        R = np.stack([run.matrix(name, seed).R for seed in run.seeds(name)])
        cells[name] = {
            f"corpus {on} after {after}": interval(R[:, after, on - 1])._asdict()
            for after in (0, 1, 2)
            for on in (1, 2)
        }
    bench.save(
        1,
        source=said.source,
        notes=run.notes,
        training=str(TRAINING),
        net=str(NET),
        seeds=said.seeds,
        lecture=LECTURE,
        strengths=plain(chosen),
        cells=cells,
    )


if __name__ == "__main__":
    main()
