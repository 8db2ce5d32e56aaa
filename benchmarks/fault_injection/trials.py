"""Small runs to which faults are done, the bits on which they end, and a tally of what came of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fault_injection.processes import at_call, call
from lifelong.core.errors import LifelongError, enough_memory
from lifelong.runs.checkpoint import Store
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec

STREAM = {"stream": "split", "stream.source": "digits", "stream.tasks": 3, "stream.seed": 0, "scenario": "task"}
TRAINING = {"optimizer": "adam", "lr": 0.003, "epochs": 2, "batch_size": 32, "threads": 1, "every": 0}
NET = {"net.hidden": (32,), "net.dropout": 0.2}
CONSTANTS: dict[str, dict[str, Any]] = {  # where the usual ones are slow on so short a stream
    "ewc": {"strength": 10.0},
    "gdumb": {"buffer_size": 60, "passes": 2},
    "gem": {"buffer_size": 30},
    "generative_replay": {"hidden": (32,), "code": 8},
    "fearnet": {"every": 1, "gate_steps": 20},
    "grow": {"threshold": 1.0, "times": 1},
    "expert_gate": {"code": 16, "gate_epochs": 1},
}


@dataclass
class Tally:
    """What came of the faults of one kind."""

    cases: int = 0
    ended: Counter[str] = field(default_factory=Counter)  # how the process ended
    bits: int = 0  # compared with the run that nobody touched
    differing: int = 0
    unclear: list[str] = field(default_factory=list)  # anything but an error of this library: should stay empty
    lost: list[str] = field(default_factory=list)  # runs that could not go on: should stay empty
    more: dict[str, Any] = field(default_factory=dict)

    def end(self, how: str, said: str, expected: bool = True) -> None:
        self.cases += 1
        self.ended[how] += 1
        if not expected or "Traceback" in said:
            self.unclear.append(f"{how}: {said[-800:]}")

    def to_json(self) -> dict[str, Any]:
        return {"cases": self.cases, "ended": dict(self.ended), "bits": self.bits, "differing": self.differing} | {
            "unclear": self.unclear,
            "lost": self.lost,
            **self.more,
        }


def learn(config: RunSpec, folder: Path) -> int:
    """The run, or what is left of it; gives the exit status that the command line would."""
    try:
        with enough_memory("lifelong"):
            _, failed = execute(config, folder, again=(folder / "config.yaml").exists())
    except LifelongError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1
    for message in failed:
        print(f"lifelong: {message.text}", file=sys.stderr)
    return 1 if failed else 0


def config_of(method: str, **more: Any) -> RunSpec:
    constants = {f"{method}.{k}": v for k, v in CONSTANTS.get(method, {}).items()}
    return RunSpec.from_keys({**STREAM, **TRAINING, **NET, "method": method, **constants, **more})


def outcome(folder: Path) -> tuple[dict[str, Tensor], str]:
    """All tensors of the last checkpoint (weights, optimiser, method state, random generators), and all that was measured but times."""
    tensors: dict[str, Tensor] = {}
    plain: list[Any] = []
    for place in sorted(p for p in (folder / "checkpoint").glob("*/*")):
        found = Store(place).newest()
        if found is None:
            return {}, "nothing"
        tensors |= {f"{place.relative_to(folder)}/{k}": v for k, v in found["tensors"].items()}
        meta, record = found["meta"], found["meta"].pop("record")
        plain += [{k: v for k, v in meta.items() if k != "costs"}, meta["costs"]["forward"], meta["costs"]["backward"]]
        plain += [{k: v for k, v in record.items() if "seconds" not in k}]
    lines = (folder / "results.csv").read_text().splitlines() if (folder / "results.csv").exists() else []
    plain += [line.rpartition(",")[0] for line in lines if "_seconds," not in line]
    return tensors, json.dumps(plain, sort_keys=True)


def compare(reference: tuple[dict[str, Tensor], str], folder: Path, tally: Tally) -> None:
    """Counts the bits in which a finished run differs from the reference."""
    (tensors, said), (others, also_said) = reference, outcome(folder)
    for key in tensors.keys() | others.keys():
        a, b = tensors.get(key), others.get(key)
        size = 8 * (a if a is not None else others[key]).nbytes
        tally.bits += size
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            tally.differing += size
        else:
            pair = [t.contiguous().view(-1).view(torch.uint8).numpy() for t in (a, b)]
            tally.differing += int(np.unpackbits(pair[0] ^ pair[1]).sum())
    tally.bits += 8 * len(said)
    if said != also_said:
        tally.differing += 8 * sum(a != b for a, b in zip(said.ljust(len(also_said)), also_said.ljust(len(said))))


@dataclass
class Bench:
    """Where the faults are made, and what every run is compared with."""

    place: Path
    cases: int
    rng: random.Random
    count: int = 0

    def fresh(self) -> Path:
        self.count += 1
        return self.place / f"run{self.count:05d}"

    def said(self) -> Path:
        return self.place / "said"

    def reference(self, config: RunSpec) -> tuple[Path, tuple[dict[str, Tensor], str], float]:
        """A run that nobody touches: its folder, its outcome, and the seconds it takes."""
        folder = self.fresh()
        began = time.monotonic()
        how, said = call(lambda: learn(config, folder), self.said())
        if how != "status 0":
            raise RuntimeError(f"{config.methods}: {how}: {said}")
        return folder, outcome(folder), time.monotonic() - began

    def finish(self, config: RunSpec, folder: Path, reference: Any, tally: Tally) -> None:
        """Goes on with a run until it is done, compares it, and removes it."""
        how, said = call(lambda: learn(config, folder), self.said())
        if how != "status 0":
            tally.lost.append(f"{how}: {said[-800:]}")
        compare(reference, folder, tally)
        shutil.rmtree(folder)

    def half(self, config: RunSpec) -> Path:
        """A run that was killed when its fourth checkpoint was to be put in its place."""
        folder = self.fresh()

        def work() -> int:
            at_call(os, "rename", 4, lambda: os.kill(os.getpid(), signal.SIGKILL))
            return learn(config, folder)

        how, said = call(work, self.said())
        if how != "signal 9":
            raise RuntimeError(f"{how}: {said}")
        return folder
