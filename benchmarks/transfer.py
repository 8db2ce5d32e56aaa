"""Life-long against transfer learning, and what transfers.

Table 1, two corpora: after corpus 2, the accuracy on the old task and on the new, for fine-tuning, frozen features (only the
last layer learns the new task), EWC, and joint training. Transfer learning asks for the new task alone.

Table 2, rotated digits, five tasks of few examples each: the accuracy on each task right after it was learnt, life-long (one
network, EWC) against a network of its own, at 100, 300 and 1,000 examples a task, with the numbers that each must store.

    LIFELONG_DATA=... python benchmarks/transfer.py [--seeds 5]
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from torch import nn

from environment import save
from lifelong import (
    EWC,
    MLP,
    Finetune,
    Independent,
    Joint,
    Learner,
    Stream,
    Training,
    choose,
    fit,
    interval,
    rotated,
    two_corpora,
)
from lifelong.fitting import learner_for

GRID = (10.0, 100.0, 1000.0, 10000.0)
FEW = (100, 300, 1000)


def frozen_features(stream: Stream, net: MLP, training: Training, seed: int) -> tuple[float, float]:
    """Old and new accuracy when the second task trains the last layer only."""
    first = learner_for(Finetune(), net, stream, training, seed)
    first.learn(stream[0])
    last = [m for m in first.net.modules() if isinstance(m, nn.Linear)][-1]
    for p in first.net.parameters():
        p.requires_grad_(False)
    last.requires_grad_(True)
    second = Learner(first.net, Finetune(), training, scenario=stream.scenario, seed=seed)
    second.learn(stream[1])
    old, new = (a for a, _, _ in second.evaluate(stream))
    return old, new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--source", default="mnist")
    said = parser.parse_args()
    torch.set_num_threads(said.threads)
    seeds = range(said.seeds)

    net, training = MLP((50, 50, 50)), Training(lr=0.1, batch_size=32, epochs=5)
    chosen = choose(
        partial(EWC, implicit=True), GRID, net, two_corpora(said.source, seed=0), training, seeds=[1000, 1001], jobs=2
    )
    pairs: dict[str, list[tuple[float, float]]] = {"frozen features": []}
    for name, method in (("fine-tuning", Finetune()), ("EWC", EWC(chosen.value, implicit=True)), ("joint", Joint())):
        pairs[name] = [
            tuple(
                fit(method, net, two_corpora(said.source, seed=s), seeds=[s], training=training).matrix().R[-1].tolist()
            )
            for s in seeds
        ]
    pairs["frozen features"] = [frozen_features(two_corpora(said.source, seed=s), net, training, s) for s in seeds]
    table = {
        name: {"old": interval([o for o, _ in found])._asdict(), "new": interval([n for _, n in found])._asdict()}
        for name, found in pairs.items()
    }

    small = MLP((100, 100))
    curves: dict[str, dict[str, object]] = {}
    strengths: dict[str, object] = {}
    for few in FEW:
        online = Training(lr=0.05, batch_size=10, epochs=10)
        pick = choose(
            partial(EWC, implicit=True),
            GRID,
            small,
            rotated(said.source, tasks=5, seed=1000, examples=few),
            online,
            seeds=[1000, 1001],
            jobs=2,
        )
        strengths[str(few)] = pick._asdict()
        for name, method in (
            ("life-long (EWC)", EWC(pick.value, implicit=True)),
            ("a network of its own", Independent(oracle=True)),
        ):
            R, numbers = [], 0.0
            for s in seeds:
                stream = rotated(said.source, tasks=5, seed=s, examples=few)
                run = fit(method, small, stream, seeds=[s], training=online)
                R.append(np.diagonal(run.matrix().R[1:]))
                [record] = run.records.values()
                one = sum(p.numel() for p in small(stream.shape, stream.outputs).parameters())
                numbers = 3 * one if name.startswith("life") else record.parameters[-1]  # weights, importances, anchors
            by_task = np.array(R)
            curves[f"{few}, {name}"] = {
                "by_task": [interval(by_task[:, t])._asdict() for t in range(by_task.shape[1])],
                "mean_of_tasks_2_to_5": interval(by_task[:, 1:].mean(1))._asdict(),
                "numbers_stored": numbers,
            }
            print(few, name, by_task.mean(0).round(3).tolist(), flush=True)
    save(
        "transfer",
        said.threads,
        seeds=said.seeds,
        training=str(training),
        strength=chosen._asdict(),
        table=table,
        strengths=strengths,
        curves=curves,
    )


if __name__ == "__main__":
    main()
