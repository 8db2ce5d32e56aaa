"""Folders of runs: laid out by hand, with rows of R added as a run would, and one that was really run."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from lifelong.cli import main
from lifelong.runs.heartbeat import FILE
from lifelong.runs.run import Record, log

SMALL = {
    "stream": "split",
    "stream.source": "digits",
    "stream.tasks": 2,
    "net.hidden": (16,),
    "threads": 1,
    "scenario": "task",
}
TASKS = ("zero", "one", "two <b>", "three")


def lay_out(folder: Path, rows: dict[str, int], running: bool = True, at: Sequence[int] = (2, 30, 60)) -> Path:
    """A run of four tasks by hand, each job ("ewc/0") with so many rows of R; task t took t seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    methods, seeds = zip(*(key.split("/") for key in rows))
    (folder / "config.yaml").write_text(
        f"stream: permuted\nmethod: {','.join(dict.fromkeys(methods))}\nseeds: [{','.join(dict.fromkeys(seeds))}]\n"
    )
    (folder / "manifest.json").write_text(
        json.dumps({"stream": "permuted", "scenario": "domain", "tasks": TASKS, "source": "by <i>hand</i>"})
    )
    log(folder, "started", jobs=1)
    for key, n in rows.items():
        learn(folder, key, n)
    if running:
        jobs = {
            key: {"task": at[0], "step": at[1], "steps": at[2], "since": time.time() - 3, "first": 0}
            for key, n in rows.items()
            if n <= len(TASKS)
        }
        said = {"time": time.time(), "pid": os.getpid(), "host": socket.gethostname(), "jobs": jobs}
        (folder / FILE).write_text(json.dumps(said))
    return folder


def learn(folder: Path, key: str, n: int) -> None:
    """`n` rows of R of the job `key` in its newest checkpoint, cell (i, j) being 0.ij, and an event."""
    record = Record(
        T=len(TASKS),
        accuracy=[[0.1 * i + 0.01 * (j + 1) for j in range(len(TASKS))] for i in range(n)],
        seconds=[[0.0] * len(TASKS)] * n,
        n=[10] * len(TASKS),
        train_seconds=[float(i) for i in range(n)],
        parameters=[1000] * n,
        memory_bytes=[200 * i for i in range(n)],
        forward=[100] * n,
        backward=[100] * n,
    )
    place = folder / "checkpoint" / key / f"{n:06d}"
    place.mkdir(parents=True, exist_ok=True)
    if n:
        (place / "state.json").write_text(json.dumps({"record": record.to_json()}))
    if n > 1:
        method, seed = key.split("/")
        log(folder, "task", method=method, seed=int(seed), after=n - 1, accuracy=record.accuracy[-1])


def finished(folder: Path) -> Path:
    """A real run of two methods."""
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    assert main(["run", *flags, "--method", "finetune,ewc", "--ewc.strength", "5", "--out", str(folder)]) == 0
    return folder
