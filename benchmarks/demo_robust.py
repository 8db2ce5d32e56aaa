"""Does `lifelong demo` tell the same story everywhere? Its parts with 30 seeds, under each way of calculating.

Instruction sets are chosen by `ATEN_CPU_CAPABILITY` (`default`, `avx2`, and what the machine takes by itself), with one and with two threads.
Sums are then taken in another order, and training amplifies the last bits until it is another run. For each way, five of the 30 seeds are
drawn 2,000 times, and the demo's claims are decided on each draw as the demo decides them.

    python benchmarks/demo_robust.py --work DIRECTORY [--seeds 30] [--jobs 2]

What was learnt is kept in the directory; the same command goes on from there. About 40 minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from harness import Benchmark, say
from lifelong.demo.claims import claims
from lifelong.demo.demo import SEEDS, learn, parts, stacks
from lifelong.runs.progress_bars import Progress

CAPABILITIES, THREADS = ("own", "avx2", "default"), (1, 2)
DRAWS, SEED = 2000, 0


def train(folder: Path, seeds: int, jobs: int, threads: int) -> None:
    """The parts of the demo, in this process's way of calculating; R of each method goes into FOLDER/R.json."""
    import torch

    R = {}
    for name, config in parts(range(seeds), threads).items():
        with Progress(len(config.methods) * seeds, len(config.build_stream(0))) as progress:
            run = learn(config, folder / name, max(1, jobs // threads), progress)
        R[name] = {method: stack.tolist() for method, stack in stacks(run).items()}
    found = {"capability": torch.backends.cpu.get_cpu_capability(), "recipe": recipe(seeds, threads), "R": R}
    (folder / "R.json").write_text(json.dumps(found))


def recipe(seeds: int, threads: int) -> dict[str, str]:
    return {name: config.to_yaml() for name, config in parts(range(seeds), threads).items()}


def holds(R: dict[str, dict[str, np.ndarray]], draws: list[np.ndarray]) -> dict[str, float]:
    """The share of the draws of seeds on which each claim holds."""
    made = [claims(*({m: stack[draw] for m, stack in part.items()} for part in R.values())) for draw in draws]
    return {id: float(np.mean([found[id].holds for found in made])) for id in made[0]}


def way(work: Path, capability: str, threads: int, seeds: int, jobs: int) -> dict[str, Any]:
    """What was learnt in one way of calculating: read, where the directory has it."""
    folder = work / f"{capability}-{threads}"
    path = folder / "R.json"
    if not path.exists() or json.loads(path.read_text()).get("recipe") != recipe(seeds, threads):
        environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
        environment |= {} if capability == "own" else {"ATEN_CPU_CAPABILITY": capability}
        command = [sys.executable, __file__, "--work", str(folder), "--seeds", str(seeds)]
        command += ["--jobs", str(jobs), "--threads", str(threads)]
        if subprocess.run(command, env=environment).returncode:
            sys.exit(f"{capability}, {threads} thread(s): stopped")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main() -> None:
    bench = Benchmark("demo_robust", __doc__, seeds=30)
    bench.flag("--work", type=Path, required=True)
    bench.flag("--jobs", type=int, default=2, help="processes")
    bench.flag("--threads", type=int, help=argparse.SUPPRESS)
    said = bench.said
    if said.threads is not None:
        train(said.work, said.seeds, said.jobs, said.threads)
        return
    generator = np.random.default_rng(SEED)
    draws = [generator.choice(said.seeds, len(SEEDS), replace=False) for _ in range(DRAWS)]
    ways, ends = [], []
    for threads, capability in itertools.product(THREADS, CAPABILITIES):
        found = way(said.work, capability, threads, said.seeds, said.jobs)
        R = {n: {m: np.array(stack) for m, stack in part.items()} for n, part in found["R"].items()}
        estimates = {id: c.as_json() for id, c in claims(*R.values()).items()}
        for estimate in estimates.values():
            del estimate["text"], estimate["parts"]
        share = holds(R, draws)
        calculated = {"capability": capability, "is": found["capability"], "threads": threads}
        ways.append({**calculated, "holds": share, "all seeds": estimates})
        ends.append(np.concatenate([stack[:, -1].ravel() for part in R.values() for stack in part.values()]))
        say(capability, threads, share)
    apart = np.abs(np.array(ends) - ends[0])
    bench.save(
        1,
        seeds=said.seeds,
        drawn=len(SEEDS),
        draws=DRAWS,
        recipe=recipe(said.seeds, 1),
        ways=ways,
        differing={"share": float((apart > 0).any(0).mean()), "largest": float(apart.max())},
    )


if __name__ == "__main__":
    main()
