"""Life-long against transfer learning, and what transfers.

Table 1, two corpora: after corpus 2, the accuracy on the old task and on the new, for fine-tuning, frozen features (only the
last layer learns the new task), EWC, and joint training. Transfer learning asks for the new task alone.

Table 2, rotated digits, five tasks of few examples each: the accuracy on each task right after it was learnt, life-long (one
network, EWC) against a network of its own, at 100, 300 and 1,000 examples a task, with the numbers that each must store.

    LIFELONG_DATA=... python benchmarks/transfer.py [--seeds 5]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from harness import Benchmark, Runs, plain, say
from lifelong import (
    EWC,
    MLP,
    Finetune,
    Independent,
    Joint,
    Learner,
    Method,
    Stream,
    Training,
    choose,
    fit,
    interval,
    rotated,
    two_corpora,
)
from lifelong.runs.choose import Choice
from lifelong.training.build import learner_for

GRID = (10.0, 100.0, 1000.0, 10000.0)
FEW = (100, 300, 1000)
TWO = MLP((50, 50, 50)), Training(lr=0.1, batch_size=32, epochs=5)  # on two corpora
FIVE = MLP((100, 100)), Training(lr=0.05, batch_size=10, epochs=10)  # on five rotations
FROZEN, LIFELONG = "frozen features", "life-long (EWC)"


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


def corpora(name: str, strength: float, source: str, seed: int) -> list[float]:
    """Accuracy on the old corpus and on the new one, in the end."""
    methods: dict[str, Method] = {
        "fine-tuning": Finetune(),
        "EWC": EWC(strength, implicit=True),
        "joint": Joint(),
    }
    stream = two_corpora(source, seed=seed)
    if name == FROZEN:
        return [*frozen_features(stream, *TWO, seed)]
    net, training = TWO
    found: list[float] = fit(methods[name], net, stream, seeds=[seed], training=training).matrix().R[-1].tolist()
    return found


def rotations(name: str, strength: float, source: str, few: int, seed: int) -> dict[str, Any]:
    """Accuracy on each task right after it was learnt, and the numbers that are stored after the last."""
    net, training = FIVE
    method: Method = EWC(strength, implicit=True) if name == LIFELONG else Independent(oracle=True)
    stream = rotated(source, tasks=5, seed=seed, examples=few)
    run = fit(method, net, stream, seeds=[seed], training=training)
    [record] = run.records.values()
    one = sum(p.numel() for p in net(stream.shape, stream.outputs).parameters())
    stored = 3 * one if name == LIFELONG else record.parameters[-1]  # weights, importances, anchors
    return {"by_task": np.diagonal(run.matrix().R[1:]).tolist(), "stored": stored}


def first_table(runs: Runs, source: str, seeds: range) -> tuple[Choice, dict[str, Any]]:
    stream = two_corpora(source, seed=0)
    chosen = chosen_for(runs, "corpora", stream, *TWO)
    names = (FROZEN, "fine-tuning", "EWC", "joint")
    found = runs(corpora, {(name, s): (name, chosen.value, source, s) for name in names for s in seeds})
    table = {}
    for name in names:
        old, new = zip(*[found[name, s] for s in seeds])
        table[name] = plain({"old": interval(old), "new": interval(new)})
    return chosen, table


def second_table(runs: Runs, source: str, seeds: range) -> tuple[dict[str, Any], dict[str, Any]]:
    """Strengths by number of examples, and what was measured with them."""
    curves, strengths = {}, {}
    for few in FEW:
        pick = chosen_for(runs, f"{few} examples", rotated(source, tasks=5, seed=1000, examples=few), *FIVE)
        strengths[str(few)] = pick._asdict()
        for name in (LIFELONG, "a network of its own"):
            found = runs(rotations, {(few, name, s): (name, pick.value, source, few, s) for s in seeds})
            by_task = np.array([r["by_task"] for r in found.values()])
            curves[f"{few}, {name}"] = {
                "by_task": [interval(by_task[:, t])._asdict() for t in range(by_task.shape[1])],
                "mean_of_tasks_2_to_5": interval(by_task[:, 1:].mean(1))._asdict(),
                "numbers_stored": found[few, name, seeds[-1]]["stored"],
            }
            say(few, name, by_task.mean(0).round(3).tolist())
    return strengths, curves


def chosen_for(runs: Runs, key: str, stream: Stream, net: MLP, training: Training) -> Choice:
    def strength() -> Choice:
        return choose(partial(EWC, implicit=True), GRID, net, stream, training, seeds=[1000, 1001], jobs=2)

    return runs.choices(key, lambda: {"EWC": strength()})["EWC"]


def main() -> None:
    bench = Benchmark("transfer", __doc__, seeds=5, source="mnist", threads=2, jobs=1)
    said, seeds = bench.said, range(bench.said.seeds)
    with bench.runs(said.source, said.threads) as runs:
        chosen, table = first_table(runs, said.source, seeds)
        strengths, curves = second_table(runs, said.source, seeds)
    bench.save(
        said.threads,
        seeds=said.seeds,
        training=str(TWO[1]),
        strength=chosen._asdict(),
        table=table,
        strengths=strengths,
        curves=curves,
    )


if __name__ == "__main__":
    main()
