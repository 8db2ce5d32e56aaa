"""New intents on frozen features: CLINC150 by domain (10 tasks of 15 intents) and Banking77 in steps (7 of 11), scenario "class".

Sentences are read once by all-MiniLM-L6-v2 (frozen, 384 wide; the extra ``sentences``); all training and test sentences. What learns is an
MLP on these features, or nothing (nearest mean, SLDA, RanPAC). The seed draws the order of the domains or intents, the initial weights and
the order of the sentences. Memories hold five sentences an intent. Strengths: from the grids below, continued where the best is at an end, by
the accuracy on a tenth of the training sentences held out, with a seed that is none of the others. EWC's Fisher is of 200 sentences a task.

The same streams with a LoRA of the encoder: benchmarks/sentences.py.

    LIFELONG_DATA=... python benchmarks/clinc.py [--seeds 5] [--jobs 2] [--streams clinc150,banking77]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from harness import Benchmark, Runs, over_seeds, plain, say
from lifelong import (
    AGEM,
    EWC,
    MLP,
    SLDA,
    Finetune,
    ICaRL,
    Joint,
    LwF,
    Method,
    NearestMean,
    RanPAC,
    Replay,
    Stream,
    Training,
    banking77,
    choose_each,
    clinc150,
    fit,
)

NET = MLP((256,))
TRAINING = Training(optimizer="adam", lr=0.002, batch_size=64, epochs=10)
EACH = 5  # sentences an intent in memory
GRIDS: dict[str, tuple[Callable[[float], Method], Sequence[float]]] = {
    "EWC": (partial(EWC, fisher_examples=200), (1.0, 10.0, 100.0)),
    "LwF": (partial(LwF, normaliser="all"), (1.0, 4.0, 16.0)),
    "SLDA": (SLDA, (1e-4, 1e-3, 1e-2)),
}


@cache
def stream(name: str, seed: int) -> Stream:
    """In an order of the seed."""
    if name == "banking77":
        return banking77(seed=seed, order="random", features="all-minilm-l6-v2")
    made = clinc150("class", features="all-minilm-l6-v2")
    return made.reorder(np.random.default_rng(seed).permutation(len(made)).tolist())


def fixed(slots: int) -> dict[str, Method]:
    """Methods without a strength to choose."""
    return {
        "fine-tuning": Finetune(),
        "replay": Replay(slots, fill="balanced"),
        "A-GEM": AGEM(slots),
        "iCaRL": ICaRL(slots),
        "nearest mean": NearestMean(),
        "RanPAC": RanPAC(),
        "joint": Joint(),
    }


def score(method: Method, name: str, seed: int) -> dict[str, float]:
    run = fit(method, NET, stream(name, seed), seeds=[seed], training=TRAINING)
    R = run.matrix(seed=seed)
    average = float(np.mean([R.R[i, :i].mean() for i in range(1, R.T + 1)]))
    kept = run.summary()["memory_bytes"].mean / 2**20
    return {"end": R.acc, "average": average, "forgetting": R.forgetting, "kept": kept}


def measure(name: str, runs: Runs, seeds: range, jobs: int) -> dict[str, object]:
    """What results/ holds of a stream."""
    first = stream(name, 1000)  # its features are kept before the processes share them
    chosen = runs.choices(name, lambda: choose_each(GRIDS, NET, first, TRAINING, seeds=[1000], extend=3, jobs=jobs))
    methods = fixed(EACH * first.outputs) | {n: make(chosen[n].value) for n, (make, _) in GRIDS.items()}
    found = runs(score, {(n, name, s): (m, name, s) for n, m in methods.items() for s in seeds})
    cells = {n: over_seeds([found[n, name, s] for s in seeds]) for n in methods}
    for n, cell in cells.items():
        say(name, n, {k: str(i) for k, i in cell.items()})
    return {
        "tasks": len(first),
        "outputs": first.outputs,
        "train": sum(len(t.train) for t in first),
        "test": sum(len(t.test) for t in first),
        "strengths": plain(chosen),
        "cells": {n: plain(cell) for n, cell in cells.items()},
    }


def main() -> None:
    bench = Benchmark("clinc", __doc__, seeds=5, jobs=2)
    bench.flag("--streams", default="clinc150,banking77", help="only these; the others stay as they were measured")
    said, found = bench.said, bench.before().get("streams", {})
    with bench.runs() as runs:
        for name in said.streams.split(","):
            found[name] = measure(name, runs, range(said.seeds), said.jobs)
            bench.save(1, seeds=said.seeds, net=str(NET), training=str(TRAINING), each=EACH, streams=found)


if __name__ == "__main__":
    main()
