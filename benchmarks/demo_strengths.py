"""The strengths of L2 and EWC in `lifelong demo`, chosen on held-out training images.

The demo's own recipe on three other permutations (stream seed 1000) with five seeds that are none of the demo's; a fifth of the training
images is held out and takes the place of the test images, which are never read.

- EWC: the strength with the best mean accuracy over the three tasks after the last.
- L2: the smallest strength that keeps the first task at least as well as EWC does: its mean accuracy on A after C is no less than EWC's.
  (Matched retention: what does it cost L2 to keep A as EWC does?) The choice is close: with half a point of tolerance it would be 0.03, which
  costs L2 less on C.

Strengths are 1 and 3 times powers of ten. A grid whose best value is its first or last, or in which no L2 keeps as much, is continued.
Strengths go into `lifelong.demo.demo` by hand; tests/demo/test_demo.py holds the two together.

    python benchmarks/demo_strengths.py [--jobs 2]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness import Benchmark, Runs, say
from lifelong import EWC, L2, Method, fit, interval
from lifelong.demo.demo import PERMUTED, parts

SEEDS, STREAM_SEED, FRACTION = (1000, 1001, 1002, 1003, 1004), 1000, 0.2
GRIDS = {"ewc": [1.0, 3.0, 10.0, 30.0, 100.0, 300.0], "l2": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]}
MAKE: dict[str, Callable[[float], Method]] = {
    "ewc": lambda strength: EWC(strength, implicit=True),
    "l2": lambda strength: L2(strength, implicit=True),
}


def held_out(name: str, strength: float, seed: int) -> list[list[float]]:
    """R of one seed on held-out training images."""
    config = parts(SEEDS)[PERMUTED]
    config = replace(config, stream_options={**config.stream_options, "seed": STREAM_SEED})
    stream = config.build_stream(seed).hold_out(FRACTION, seed)
    run = fit(MAKE[name](strength), config.build_net(), stream, seeds=[seed], training=config.build_training())
    return run.matrix().R.tolist()


def further(value: float, up: bool) -> float:
    """The next of 1 and 3 times powers of ten."""
    power = 10.0 ** np.floor(np.log10(value) + 1e-9)
    first = value / power < 2
    found = (3 * power if first else 10 * power) if up else (0.3 * power if first else power)
    return float(f"{found:.3g}")


def measure(runs: Runs, name: str, strengths: list[float]) -> dict[float, np.ndarray]:
    """R of all seeds of each strength, ``[seeds, T+1, T]``."""
    units = {(name, strength, seed): (name, strength, seed) for strength in strengths for seed in SEEDS}
    found = runs(held_out, units)
    return {strength: np.array([found[name, strength, seed] for seed in SEEDS]) for strength in strengths}


def acc(R: np.ndarray) -> float:
    return float(R[:, 3].mean())


def first(R: np.ndarray) -> float:
    return float(R[:, 3, 0].mean())


def search(runs: Runs) -> tuple[dict[str, float], dict[str, dict[float, np.ndarray]]]:
    """The strengths chosen, and what was measured of each; grids go on until the best is at no end."""
    found = {name: measure(runs, name, grid) for name, grid in GRIDS.items()}
    for _ in range(6):
        best = {name: max(R, key=lambda s, R=R: acc(R[s])) for name, R in found.items()}
        keep = first(found["ewc"][best["ewc"]])
        enough = [s for s in sorted(found["l2"]) if first(found["l2"][s]) >= keep]
        missing: dict[str, list[float]] = {name: [] for name in found}
        for name, R in found.items():
            if best[name] in (min(R), max(R)):
                missing[name].append(further(best[name], best[name] == max(R)))
        if not enough:
            missing["l2"].append(further(max(found["l2"]), True))
        elif enough[0] == min(found["l2"]):
            missing["l2"].append(further(enough[0], False))
        if not any(missing.values()):
            return {"ewc": best["ewc"], "l2": enough[0]}, found
        for name, strengths in missing.items():
            found[name] |= measure(runs, name, strengths) if strengths else {}
    raise SystemExit(f"the best is still at an end of a grid: { {name: sorted(R) for name, R in found.items()} }")


def main() -> None:
    bench = Benchmark("demo_strengths", __doc__, jobs=2)
    with bench.runs() as runs:
        chosen, found = search(runs)
    rows: dict[str, list[dict[str, Any]]] = {
        name: [
            {
                "strength": s,
                "acc": interval(R[s][:, 3].mean(1))._asdict(),
                "A": interval(R[s][:, 3, 0])._asdict(),
                "C": interval(R[s][:, 3, 2])._asdict(),
            }
            for s in sorted(R)
        ]
        for name, R in found.items()
    }
    bench.save(
        1,
        seeds=SEEDS,
        stream_seed=STREAM_SEED,
        held_out=FRACTION,
        training=str(parts()[PERMUTED].build_training()),
        net=str(parts()[PERMUTED].build_net()),
        chosen=chosen,
        grids=rows,
    )
    for name, grid in rows.items():
        for row in grid:
            say(name, row["strength"], *(f"{k} {100 * row[k]['mean']:.1f}" for k in ("acc", "A", "C")))
    say(chosen)


if __name__ == "__main__":
    main()
