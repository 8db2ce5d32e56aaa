"""The lecture's first example on full MNIST: two corpora in turn, a network of three layers of 50 units.

Published (lecture slides, percent): corpus 1 goes from 90 to 80 when corpus 2 is learnt; corpus 2 from 96 to 97; trained on
both, 89 and 98. The lecture states neither its noise nor its training, so there is no verdict: ours stand beside it.

    LIFELONG_DATA=... python benchmarks/lecture.py [--seeds 5] [--threads 2]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from environment import save

from lifelong import EWC, L2, MLP, Finetune, Joint, Training, choose, fit, interval, two_corpora

GRIDS = {"l2": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1), "ewc": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)}
LECTURE = {"corpus 1 after 1": 90, "corpus 1 after 2": 80, "corpus 2 after 1": 96, "corpus 2 after 2": 97, "joint 1": 89, "joint 2": 98}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--epochs", type=int, default=5)
    said = parser.parse_args()
    torch.set_num_threads(said.threads)
    net, training = MLP((50, 50, 50)), Training(lr=0.1, batch_size=32, epochs=said.epochs)
    stream = two_corpora(said.source, seed=0)
    chosen = {
        "l2": choose(L2, GRIDS["l2"], net, stream, training, seeds=[1000]),
        "ewc": choose(EWC, GRIDS["ewc"], net, stream, training, seeds=[1000]),
    }
    methods = {"finetune": Finetune(), "joint": Joint(), "l2": L2(chosen["l2"].value), "ewc": EWC(chosen["ewc"].value)}
    cells: dict[str, dict[str, object]] = {}
    for name, method in methods.items():
        R = []
        for seed in range(said.seeds):
            run = fit(method, net, two_corpora(said.source, seed=seed), seeds=[seed], training=training)
            R.append(run.matrix().R)
            print(name, seed, np.round(run.matrix().R, 3).tolist(), flush=True)
        of = np.stack(R)
        cells[name] = {
            f"corpus {on} after {after}": interval(of[:, after, on - 1])._asdict() for after in (0, 1, 2) for on in (1, 2)
        }
    save(
        "lecture",
        said.threads,
        source=stream.source,
        notes=stream.notes,
        training=str(training),
        net=str(net),
        seeds=said.seeds,
        lecture=LECTURE,
        strengths={k: c._asdict() for k, c in chosen.items()},
        cells=cells,
    )


if __name__ == "__main__":
    main()
