"""Every method on one small job in each of the three scenarios, with what it costs: the ground of docs/which-method.md.

Split MNIST as it comes with the package (300 training and 100 test images a digit), five tasks of two digits in an order of the seed,
784-256-256, Adam 0.001, batch 32, ten epochs. Memories hold 200 examples, twenty a class. Strengths come from a grid on held-out training images,
with one seed that is none of those reported, continued up to twice where the best was at an end; other constants are the defaults.
Costs are counted, not timed: examples passed forward and backward as multiples of fine-tuning's, bytes that the method keeps between
tasks, and weights needed to predict as multiples of one network's.

    python benchmarks/which.py [--seeds 5] [--jobs 2] [--methods lwf,icarl]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from environment import save
from lifelong import (
    AGEM,
    DER,
    EWC,
    GEM,
    HAT,
    L2,
    MAS,
    MLP,
    SI,
    DERpp,
    ExpertGate,
    Finetune,
    GDumb,
    GenerativeReplay,
    ICaRL,
    Independent,
    Joint,
    LwF,
    Method,
    PackNet,
    Progressive,
    Replay,
    RWalk,
    Stream,
    Training,
    choose_each,
    fit,
    interval,
    split,
)
from lifelong.stream import Scenario
from lifelong.tune import Choice
from pages.cells import load

NET, TRAINING, SLOTS = MLP((256, 256)), Training("adam", lr=0.001, batch_size=32, epochs=10), 200
GRIDS: dict[str, tuple[Callable[[float], Method], tuple[float, ...]]] = {
    "l2": (partial(L2, implicit=True), (0.01, 0.1, 1.0)),
    "ewc": (partial(EWC, implicit=True), (10.0, 1e3, 1e5)),
    "si": (partial(SI, implicit=True), (0.1, 10.0, 1e3)),
    "mas": (partial(MAS, implicit=True), (0.1, 10.0, 1e3)),
    "rwalk": (partial(RWalk, implicit=True), (0.1, 10.0, 1e3)),
    "lwf": (LwF, (0.3, 1.0, 3.0)),
    "der": (partial(DER, SLOTS), (0.1, 0.3, 1.0)),
    "derpp": (partial(DERpp, SLOTS), (0.1, 0.3, 1.0)),
}
FIXED: dict[str, Method] = {
    "finetune": Finetune(),
    "replay": Replay(SLOTS, fill="balanced"),
    "gem": GEM(SLOTS // 5),
    "agem": AGEM(SLOTS, batch=64),
    "gdumb": GDumb(SLOTS),
    "icarl": ICaRL(SLOTS),
    "generative_replay": GenerativeReplay(),
    "packnet": PackNet(),
    "hat": HAT(),
    "progressive": Progressive(),
    "expert_gate": ExpertGate(),
    "independent": Independent(),
    "joint": Joint(),
}


def stream(scenario: Scenario, seed: int) -> Stream:
    return split("mnist-mini", tasks=5, scenario=scenario, order="random", seed=seed)


def run(method: Method, scenario: Scenario, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    done = fit(method, NET, stream(scenario, seed), seeds=[seed], training=TRAINING)
    [record] = done.records.values()
    R = record.matrix
    return {
        "acc": R.acc,
        "forgetting": R.forgetting,
        "learning_accuracy": R.learning_accuracy,
        "passes": float(sum(record.forward) + sum(record.backward)),
        "bytes": float(record.memory_bytes[-1]),
        "parameters": float(record.parameters[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", help="only these; the others' cells stay as they were measured")
    said = parser.parse_args()
    wanted = said.methods.split(",") if said.methods else [*GRIDS, *FIXED]
    found: dict[str, Any] = (load("which") or {}).get("scenarios", {}) if said.methods else {}
    with ProcessPoolExecutor(said.jobs, mp_context=get_context("spawn")) as pool:
        scenarios: tuple[Scenario, ...] = ("task", "domain", "class")
        for scenario in scenarios:
            grids = {n: g for n, g in GRIDS.items() if n in wanted and scenario in g[0](g[1][0]).scenarios}
            chosen: dict[str, Choice] = {}
            if grids:
                chosen = choose_each(
                    grids, NET, stream(scenario, 1000), TRAINING, seeds=[1000], extend=2, jobs=said.jobs
                )
            methods = {n: make(chosen[n].value) for n, (make, _) in grids.items()}
            methods |= {n: m for n, m in FIXED.items() if n in wanted and scenario in m.scenarios}
            if scenario != "task":
                methods.pop("independent", None)
            asked = {n: [pool.submit(run, m, scenario, s) for s in range(said.seeds)] for n, m in methods.items()}
            cells = {}
            for n, futures in asked.items():
                each = [f.result() for f in futures]
                cells[n] = {k: interval([e[k] for e in each])._asdict() for k in each[0]} | {"method": str(methods[n])}
                print(scenario, n, interval([e["acc"] for e in each]), file=sys.stderr, flush=True)
            before = found.get(scenario, {"strengths": {}, "cells": {}})
            found[scenario] = {
                "strengths": before["strengths"] | {n: c._asdict() for n, c in chosen.items()},
                "cells": before["cells"] | cells,
            }
            save("which", 1, seeds=said.seeds, net=str(NET), training=str(TRAINING), slots=SLOTS, scenarios=found)


if __name__ == "__main__":
    main()
