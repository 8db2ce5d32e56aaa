"""Three scenarios of continual learning, beside van de Ven & Tolias 2019 (arXiv 1904.07734) and van de Ven et al. 2022 (Nature
Machine Intelligence 4, 1185).

split_2019: split MNIST, digits in order, five tasks of two; 784-400-400, ReLU; Adam 0.001, carried on from task to task; 2,000
steps a task, batch 128; Fisher of the likeliest label over all images; in the scenario "class" the outputs seen so far compete.
split_2022: the same, the Fisher exact and all outputs competing; their scenario "class", whose numbers could be verified. Replay
and A-GEM keep 100 examples of a class.
What distils or generates: LwF (T = 2; in 2019 with their factor T² on the distance, in 2022 without), generative replay (VAE 400-400,
code 100, hard labels), the same with soft targets at T = 2 (no T²), and iCaRL (2,000 exemplars; its steps grow with the exemplars that it
trains on beside the new images). The preprint came before two mends of its code: iCaRL trained without its exemplars, and distances were
averaged over classes; its LwF, distilling and iCaRL cells may have been measured so.
permuted_2019: permuted MNIST, ten tasks, padded to 32x32, Adam 0.0001, scenario "class". Reduced to what two cores do in an
hour: 400 units a layer (the generator's, too) in place of 1,000, 500 steps a task in place of 5,000, for which the generator learns at 0.001.

Theirs are means over 20 seeds, strengths from a grid with one seed. Ours: five seeds; strengths from three powers of ten
around those that their grid chose, continued up to three times where the best was at an end, with one seed that is none of the
five, scored on held-out training images. A verdict is given where their standard error
could be verified and the protocol is not reduced: "agrees" if two of their standard errors and our interval together bridge the
difference.

    LIFELONG_DATA=... python benchmarks/van_de_ven.py [PROTOCOL ...] [--scenarios task,class] [--methods ewc,si] [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from harness import Benchmark, Runs, plain, say
from lifelong import (
    AGEM,
    EWC,
    MLP,
    SI,
    Finetune,
    GenerativeReplay,
    ICaRL,
    JointOnce,
    LwF,
    Method,
    Replay,
    Stream,
    Training,
    choose_each,
    fit,
    interval,
    permuted,
    split,
)
from lifelong.core.stream import Scenario
from lifelong.parts.fisher import Kind
from lifelong.runs.choose import Choice

Published = tuple[float, float | None]  # mean and, where it could be verified, its standard error; percent


@dataclass(frozen=True)
class Protocol:
    stream: Callable[..., Stream]
    net: MLP
    training: Training
    importance: Kind
    grids: Mapping[str, Sequence[float]]
    published: Mapping[Scenario, Mapping[str, Published]]
    gamma: Mapping[Scenario, float] = field(default_factory=dict)
    fixed: Mapping[str, Method] = field(default_factory=dict)  # methods without a strength to choose
    reduced: bool = False

    def makers(self, scenario: Scenario) -> dict[str, Callable[[float], Method]]:
        online = partial(EWC, importance=self.importance, online=True, gamma=self.gamma.get(scenario, 1.0))
        every = {"ewc": partial(EWC, importance=self.importance), "online": online, "si": partial(SI, xi=0.1)}
        return {n: make for n, make in every.items() if n in self.grids}

    def references(self) -> dict[str, Method]:
        return {"none": Finetune(), "joint": JointOnce(), **self.fixed}


ADAM = Training(optimizer="adam", lr=0.001, iterations=2000, batch_size=128)
# a hundred examples a class, drawn at random when a task is over; as many replayed as come new
MEMORIES: dict[str, Method] = {
    "replay": Replay(1000, fill="random", weighting="tasks", per_class=100),
    "agem": AGEM(1000, fill="random", batch_size=128, per_class=100),
}
LWF = LwF(4.0, weighting="tasks", normaliser="all")
DRAWN = GenerativeReplay(hidden=(400, 400), code=100, generator_lr=0.001)
GRIDS = {"ewc": (1e6, 1e7, 1e8), "online": (1e7, 1e8, 1e9), "si": (10.0, 100.0, 1e3)}
PROTOCOLS = {
    "split_2019": Protocol(
        partial(split, "mnist"),
        MLP((400, 400)),
        ADAM,
        "argmax",
        GRIDS,
        {
            "task": {
                "none": (87.2, None),
                "joint": (99.7, None),
                "ewc": (98.6, None),
                "online": (99.1, None),
                "si": (99.1, None),
                "lwf": (99.6, None),
                "drawn": (99.50, 0.03),
                "distilled": (99.61, 0.02),
            },
            "domain": {
                "none": (59.2, None),
                "joint": (98.4, None),
                "ewc": (64.0, None),
                "online": (64.3, None),
                "si": (65.4, None),
                "lwf": (71.5, None),
                "drawn": (95.72, 0.25),
                "distilled": (96.83, 0.20),
            },
            "class": {
                "none": (19.90, 0.02),
                "joint": (97.94, 0.03),
                "ewc": (20.01, 0.06),
                "online": (19.96, 0.07),
                "si": (19.99, 0.06),
                "lwf": (23.85, 0.44),
                "drawn": (90.79, 0.41),
                "distilled": (91.79, 0.32),
                "icarl": (94.57, 0.11),
            },
        },
        fixed={
            "lwf": LWF,
            "drawn": DRAWN,
            "distilled": replace(DRAWN, targets="soft", normaliser="all"),
            "icarl": ICaRL(2000),
        },
        gamma={"task": 0.8, "domain": 0.7, "class": 0.8},
    ),
    "split_2022": Protocol(
        partial(split, "mnist"),
        MLP((400, 400)),
        replace(ADAM, outputs="all"),
        "exact",
        {"ewc": (1e8, 1e9, 1e10), "si": (1e3, 5e3, 5e4)},
        {
            "class": {
                "none": (19.89, 0.02),
                "joint": (98.17, 0.04),
                "ewc": (20.64, 0.52),
                "si": (21.20, 0.57),
                "replay": (88.79, 0.20),
                "agem": (65.10, 3.64),
                "lwf": (21.89, 0.32),
            }
        },
        fixed={**MEMORIES, "lwf": replace(LWF, strength=1.0)},
    ),
    "permuted_2019": Protocol(
        partial(permuted, "mnist", tasks=10, pad=2),
        MLP((400, 400)),
        Training(optimizer="adam", lr=0.0001, iterations=500, batch_size=128),
        "argmax",
        {"ewc": (0.1, 1.0, 10.0), "online": (1.0, 10.0, 100.0), "si": (0.1, 1.0, 10.0)},
        {
            "class": {
                "ewc": (25.0, None),
                "online": (34.0, None),
                "si": (29.0, None),
                "drawn": (92.0, None),
                "distilled": (96.0, None),
                "icarl": (95.0, None),
            }
        },
        fixed={
            "drawn": DRAWN,  # its generator learns at 0.001: at the solver's 0.0001 it draws nothing after 500 steps
            "distilled": replace(DRAWN, targets="soft", normaliser="all"),
            "icarl": ICaRL(2000),
        },
        reduced=True,
    ),
}


def score(method: Method, net: MLP, stream: Callable[[], Stream], training: Training, seed: int) -> float:
    return fit(method, net, stream(), seeds=[seed], training=training).matrix(seed=seed).acc


def verdict(ours: float, half: float, theirs: Published | None, reduced: bool) -> str:
    if theirs is None:
        return ""
    mean, sem = theirs
    if reduced:
        return "none: ours is reduced"
    if sem is None:
        return "none: their spread is unverified"
    return "agrees" if abs(100 * ours - mean) <= 2 * sem + 100 * half else "differs"


def measure(
    runs: Runs, name: str, scenario: Scenario, wanted: Sequence[str], said: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Strengths and cells of a scenario: those that are wanted."""
    protocol, published = PROTOCOLS[name], PROTOCOLS[name].published[scenario]
    build = partial(protocol.stream, scenario=scenario)
    makers = {n: make for n, make in protocol.makers(scenario).items() if n in wanted}
    chosen: dict[str, Choice] = {}
    if makers:
        candidates = {n: (make, protocol.grids[n]) for n, make in makers.items()}
        fitted = protocol.net, build(), protocol.training
        chosen = runs.choices(
            (name, scenario, *makers),
            lambda: choose_each(candidates, *fitted, seeds=[1000], extend=3, jobs=said.jobs),
        )
    shown = {*published, "none", "joint"}
    methods = {n: m for n, m in protocol.references().items() if n in wanted and n in shown}
    methods |= {n: make(chosen[n].value) for n, make in makers.items()}
    given, seeds = (protocol.net, build, protocol.training), range(said.seeds)
    acc = runs(score, {(name, scenario, n, s): (m, *given, s) for n, m in methods.items() for s in seeds})
    found = {n: interval([acc[name, scenario, n, s] for s in seeds]) for n in methods}
    say(name, scenario, {n: str(i) for n, i in found.items()})
    cells = {
        n: {
            "acc": ours._asdict(),
            "published": published.get(n),
            "verdict": verdict(ours.mean, ours.half, published.get(n), protocol.reduced),
        }
        for n, ours in found.items()
    }
    return {"strengths": plain(chosen), "cells": cells}


def main() -> None:
    bench = Benchmark("van_de_ven", __doc__, seeds=5, jobs=2, methods=None)
    bench.flag("protocols", nargs="*", default=list(PROTOCOLS))
    bench.flag("--scenarios", help="only these, likewise")
    said = bench.said
    with bench.runs() as runs:
        for name in said.protocols:
            protocol, table = PROTOCOLS[name], bench.before(name).get("scenarios", {})
            for scenario, published in protocol.published.items():
                if said.scenarios and scenario not in said.scenarios.split(","):
                    continue
                wanted = said.methods.split(",") if said.methods else [*published, "none", "joint"]
                found = measure(runs, name, scenario, wanted, said)
                before = table.get(scenario, {})
                table[scenario] = {part: before.get(part, {}) | found[part] for part in ("strengths", "cells")}
                bench.save(
                    1,
                    name=name,
                    seeds=said.seeds,
                    net=str(protocol.net),
                    training=str(protocol.training),
                    importance=protocol.importance,
                    gamma=dict(protocol.gamma),
                    scenarios=table,
                )


if __name__ == "__main__":
    main()
