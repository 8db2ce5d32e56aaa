"""Split MNIST in three scenarios: none, EWC, online EWC, SI, joint, beside van de Ven & Tolias 2019 (arXiv 1904.07734).

Theirs: digits in order, five tasks of two; 784-400-400, ReLU; Adam 0.001, carried on from task to task; 2,000 steps a task,
batch 128; argmax-label Fisher of all images; in the class scenario the outputs seen so far compete; strengths from a grid with
one seed, results over 20 others. Ours: the same with fewer seeds. Strengths here are chosen on held-out training images.
Published means and standard errors are those of their table 4 that could be verified (tagged R); where only the mean was, the
difference is printed without a verdict.

    LIFELONG_DATA=... python benchmarks/split_mnist.py [--seeds 5] [--jobs 2] [--iterations 2000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from environment import RESULTS, save
from lifelong import EWC, MLP, SI, Training, choose_each, split
from lifelong.config import Config
from lifelong.jobs import execute

NET = MLP((400, 400))
GRIDS = {
    "ewc": (1e2, 1e4, 1e5, 1e6, 1e7, 1e8),
    "online": (1e2, 1e4, 1e5, 1e6, 1e7, 1e8),
    "si": (0.1, 1.0, 10.0, 100.0, 1000.0),
}
MAKE = {
    "ewc": partial(EWC, importance="argmax"),
    "online": partial(EWC, importance="argmax", online=True, gamma=0.8),
    "si": partial(SI, xi=0.1),
}
# mean, standard error or None where it could not be verified; percent
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "task": {
        "none": (87.2, None),
        "joint": (99.7, None),
        "ewc": (98.6, None),
        "online": (99.1, None),
        "si": (99.1, None),
    },
    "domain": {
        "none": (59.2, None),
        "joint": (98.4, None),
        "ewc": (64.0, None),
        "online": (64.3, None),
        "si": (65.4, None),
    },
    "class": {
        "none": (19.90, 0.02),
        "joint": (97.94, 0.03),
        "ewc": (20.01, 0.06),
        "online": (19.96, 0.07),
        "si": (19.99, 0.06),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--scenarios", default="task,domain,class")
    said = parser.parse_args()
    training = Training(optimizer="adam", lr=0.001, iterations=said.iterations, batch_size=128)
    path = RESULTS / "split_mnist.json"
    table = json.loads(path.read_text())["scenarios"] if path.exists() else {}
    for scenario in said.scenarios.split(","):
        stream = split("mnist", scenario=scenario)
        candidates = {name: (MAKE[name], grid) for name, grid in GRIDS.items()}
        chosen = choose_each(candidates, NET, stream, training, seeds=[1000], jobs=said.jobs)
        print(scenario, {n: str(c) for n, c in chosen.items()}, flush=True)
        cells = {}
        for name in ("none", "joint", "ewc", "online", "si"):
            method = {"none": "finetune", "online": "ewc"}.get(name, name)
            keys = {f"{method}.strength": chosen[name].value} if name in chosen else {}
            if method == "ewc":
                keys |= {"ewc.importance": "argmax"}
            if name == "online":
                keys |= {"ewc.online": True, "ewc.gamma": 0.8}
            config = Config.from_keys(
                {
                    "stream": "split",
                    "stream.source": "mnist",
                    "scenario": scenario,
                    "method": "joint_once" if name == "joint" else method,
                    "net.hidden": NET.hidden,
                    "optimizer": "adam",
                    "lr": training.lr,
                    "iterations": training.iterations,
                    "batch_size": training.batch_size,
                    "seeds": said.seeds,
                    "threads": 1,
                    **keys,
                }
            )
            with tempfile.TemporaryDirectory() as folder:
                run, failed = execute(config, Path(folder) / "run", said.jobs)
            assert not failed, failed
            found = run.summary()["acc"]
            mean, sem = PUBLISHED[scenario][name]
            verdict = "no verdict: their spread is unverified"
            if sem is not None:
                # two standard errors of theirs beside our 95% interval
                verdict = "agrees" if abs(100 * found.mean - mean) <= 2 * sem + 100 * found.half else "differs"
            cells[name] = {"acc": found._asdict(), "published": mean, "sem": sem, "verdict": verdict}
            print(scenario, name, found, mean, verdict, flush=True)
        table[scenario] = {"cells": cells, "strengths": {n: c._asdict() for n, c in chosen.items()}}
        save("split_mnist", 1, seeds=said.seeds, net=str(NET), training=str(training), scenarios=table)


if __name__ == "__main__":
    main()
