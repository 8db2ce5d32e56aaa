"""What can go wrong with a run, done to it: killed, told to stop, a full disk, damaged and forged checkpoints, numbers that are none,
too little memory. Each time the run must end in order or go on, and its last bits must be those of a run that nobody touched.

    python benchmarks/faults.py                                         all of it: a few minutes of one core
    python benchmarks/faults.py --kills 1 --cases 3 --only kills,disk --methods ewc,replay --out FOLDER

Every run is a fork of this process, which has imported everything, has started no thread and has never trained: so a run costs a
fraction of a second, and hundreds can be killed.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from fault_injection.checkpoints import damage, forged
from fault_injection.files import archives, configurations
from fault_injection.non_finite import numbers
from fault_injection.resources import disk, memory
from fault_injection.stops import kills, terms, twice
from fault_injection.trials import Bench, Tally
from harness import Benchmark
from lifelong.core.registry import METHODS

torch.set_num_threads(1)
torch.optim.Adam(nn.Linear(1, 1).parameters())  # the first optimiser imports a good deal

FAULTS: dict[str, Callable[..., Tally]] = {
    "kills": kills,
    "terms": terms,
    "disk": disk,
    "damage": damage,
    "forged": forged,
    "archives": archives,
    "configurations": configurations,
    "numbers": numbers,
    "twice": twice,
    "memory": memory,
}


def main() -> None:
    bench = Benchmark("faults", __doc__)
    bench.flag("--kills", type=int, default=12, help="of each method (default: 12)")
    bench.flag("--cases", type=int, default=30, help="of each other fault, about (default: 30)")
    bench.flag("--only", default=",".join(FAULTS), help="some of the faults; the others stay as they were")
    bench.flag("--methods", default=",".join(METHODS), help="some of the methods, for the kills")
    bench.flag("--seed", type=int, default=0)
    said = bench.said
    known = FAULTS | {"kills": partial(kills, each=said.kills, methods=said.methods.split(","))}
    found = {}
    for name in said.only.split(","):
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            tally = known[name](Bench(Path(place), said.cases, random.Random(said.seed)))
        found[name] = tally.to_json()
        wrong = tally.unclear + tally.lost
        bits = f"{tally.differing} of {tally.bits:,} bits differ"
        print(f"{name}: {tally.cases} cases, {bits}, {len(wrong)} wrong", flush=True)
        for line in wrong:
            print(f"  {line}", flush=True)
    bench.save(1, faults={**bench.before().get("faults", {}), **found}, seed=said.seed)


if __name__ == "__main__":
    main()
