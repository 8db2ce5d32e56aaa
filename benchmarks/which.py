"""Every method on one small job in each of the three scenarios, with what it costs: the ground of docs/which-method.md.

Split MNIST as it comes with the package (300 training and 100 test images a digit), five tasks of two digits in an order of the seed,
784-256-256, Adam 0.001, batch 32, ten epochs. Memories hold 200 examples, twenty a class. Strengths come from a grid on held-out training images,
with one seed that is none of those reported, continued up to twice where the best was at an end; other constants are the defaults.
Costs are counted, not timed: examples passed forward and backward as multiples of fine-tuning's, bytes that the method keeps between
tasks, and weights needed to predict as multiples of one network's.

    python benchmarks/which.py [--seeds 5] [--jobs 2] [--methods lwf,icarl]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from harness import Benchmark, Runs, over_seeds, plain, say
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
    split,
)
from lifelong.core.stream import Scenario
from lifelong.runs.choose import Choice

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
    "agem": AGEM(SLOTS, batch_size=64),
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


def measure(runs: Runs, scenario: Scenario, wanted: list[str], seeds: range, jobs: int) -> dict[str, dict[str, Any]]:
    """Strengths and cells of a scenario: those that are wanted."""
    grids = {n: g for n, g in GRIDS.items() if n in wanted and scenario in g[0](g[1][0]).scenarios}
    chosen: dict[str, Choice] = {}
    if grids:
        held_out = stream(scenario, 1000)
        chosen = runs.choices(
            (scenario, *grids), lambda: choose_each(grids, NET, held_out, TRAINING, seeds=[1000], extend=2, jobs=jobs)
        )
    methods = {n: make(chosen[n].value) for n, (make, _) in grids.items()}
    methods |= {n: m for n, m in FIXED.items() if n in wanted and scenario in m.scenarios}
    if scenario != "task":
        methods.pop("independent", None)
    found = runs(run, {(scenario, n, s): (m, scenario, s) for n, m in methods.items() for s in seeds})
    cells: dict[str, Any] = {}
    for n, method in methods.items():
        cell = over_seeds([found[scenario, n, s] for s in seeds])
        cells[n] = plain(cell) | {"method": str(method)}
        say(scenario, n, cell["acc"])
    return {"strengths": plain(chosen), "cells": cells}


def main() -> None:
    bench = Benchmark("which", __doc__, seeds=5, jobs=2, methods=None)
    said = bench.said
    wanted = said.methods.split(",") if said.methods else [*GRIDS, *FIXED]
    found: dict[str, Any] = bench.before().get("scenarios", {}) if said.methods else {}
    scenarios: tuple[Scenario, ...] = ("task", "domain", "class")
    with bench.runs() as runs:
        for scenario in scenarios:
            new, before = measure(runs, scenario, wanted, range(said.seeds), said.jobs), found.get(scenario, {})
            found[scenario] = {part: before.get(part, {}) | new[part] for part in ("strengths", "cells")}
            bench.save(1, seeds=said.seeds, net=str(NET), training=str(TRAINING), slots=SLOTS, scenarios=found)


if __name__ == "__main__":
    main()
