"""A run: what came out, by method and seed, and how it lies on disk.

=================  ==============================================================================================
``config.yaml``    what was asked for; ``lifelong run --config`` takes it
``manifest.json``  versions, machine, seeds, source of the data, schema version
``results.csv``    every number in long form: stream, scenario, method, seed, after, on, metric, value, n, seconds
``within.csv``      accuracy within tasks, where that was asked for: stream, scenario, method, seed, task, step, on, value
``summary.json``   the same by method: mean, sd, 95% interval, number of seeds
``events.jsonl``   what happened when
``drawn/``         METHOD/SEED/AFTER.safetensors: inputs that a method draws, where it draws any
``checkpoint/``    METHOD/SEED/NNNNNN: safetensors and JSON; beside them the record of a job that is done
``report.html``    one page that opens offline
=================  ==============================================================================================
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from ..core.errors import RunError
from ..core.files import write_atomically, writing
from ..measures.matrix import Interval, RMatrix, interval
from ..measures.online import Trace, anytime, min_acc, wc_acc

if TYPE_CHECKING:
    from ..core.stream import Stream
    from ..training.learner import Learner

__all__ = ["Job", "Record", "Run", "log", "manifest", "refuse_older"]

SCHEMA = 2
WITHIN = ("stream", "scenario", "method", "seed", "task", "step", "on", "value")
COLUMNS = ("stream", "scenario", "method", "seed", "after", "on", "metric", "value", "n", "seconds")


class Job(NamedTuple):
    """One method with one seed: what can be run by itself."""

    method: str
    seed: int

    @property
    def folder(self) -> Path:
        return Path("checkpoint") / self.method / str(self.seed)


@final
@dataclass
class Record:
    """What one job has measured so far: a row for the untrained network and one for each task learnt."""

    T: int
    accuracy: list[list[float]] = field(default_factory=list)  # rows of R
    seconds: list[list[float]] = field(default_factory=list)  # of each evaluation
    n: list[int] = field(default_factory=list)  # test examples of each task
    train_seconds: list[float] = field(default_factory=list)  # by row
    parameters: list[int] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    forward: list[int] = field(default_factory=list)
    backward: list[int] = field(default_factory=list)
    share: list[float] = field(
        default_factory=list
    )  # of each task's steps, taken within a budget of compute; empty without
    trace: Trace | None = None  # within tasks, where that was asked for

    @staticmethod
    def empty(T: int) -> Record:
        return Record(T)

    @property
    def rows(self) -> int:
        return len(self.accuracy)

    @property
    def complete(self) -> bool:
        return self.rows == self.T + 1

    def add(self, learner: Learner, measured: Sequence[tuple[float, int, float]]) -> None:
        """The next row: what `Learner.evaluate` gave, and the costs so far."""
        self.accuracy.append([a for a, _, _ in measured])
        self.n = [n for _, n, _ in measured]
        self.seconds.append([s for _, _, s in measured])
        costs = learner.costs
        self.train_seconds.append(costs.train_seconds - sum(self.train_seconds))
        self.parameters.append(learner.parameters)
        self.memory_bytes.append(learner.memory_bytes)
        self.forward.append(costs.forward - sum(self.forward))
        self.backward.append(costs.backward - sum(self.backward))
        if learner.limit is not None:
            self.share.append(learner.share)

    def skip(self) -> None:
        """A row that was not measured: the method does not train at this task."""
        nan = [math.nan] * self.T
        self.accuracy.append(nan)
        self.seconds.append(nan)
        self.train_seconds.append(0.0)
        for costs in (self.parameters, self.memory_bytes):
            costs.append(costs[-1])
        self.forward.append(0)
        self.backward.append(0)
        if self.share:
            self.share.append(math.nan)

    @property
    def matrix(self) -> RMatrix:
        """R, ``[T+1, T]``; rows not reached yet are NaN."""
        R = np.full((self.T + 1, self.T), np.nan)
        R[: self.rows] = self.accuracy
        return RMatrix(R)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Record:
        """What `to_json` gave.

        Raises:
            ValueError, RunError: it is no record.
        """
        from ..core import state_io as tree

        record: Record = tree.join(Record, {"trace": None, **data}, {}, "record")
        rows, T = record.rows, record.T
        for cells in (record.accuracy, record.seconds):
            if np.asarray(cells, float).reshape(-1, T).shape != (rows, T):
                raise ValueError(f"a record of {rows} rows and {T} tasks has other numbers of cells")
        for values in (record.train_seconds, record.parameters, record.memory_bytes, record.forward, record.backward):
            if np.asarray(values, float).shape != (rows,):
                raise ValueError(f"a record of {rows} rows has other numbers of costs")
        return record


@final
@dataclass
class Run:
    """The results of one or several methods on a stream, each with one or several seeds."""

    stream: str
    scenario: str
    tasks: tuple[str, ...]
    source: str
    notes: dict[str, Any] = field(default_factory=dict)
    records: dict[Job, Record] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)  # what its jobs warned of, each once

    @staticmethod
    def of(stream: Stream) -> Run:
        return Run(stream.name, stream.scenario, tuple(t.name for t in stream), stream.source, dict(stream.notes))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job.method for job in self.records))

    def seeds(self, method: str | None = None) -> tuple[int, ...]:
        return tuple(job.seed for job in self.records if job.method == (method or self.methods[0]))

    def matrix(self, method: str | None = None, seed: int | None = None) -> RMatrix:
        """R of one seed (default: the first) of a method (default: the first).

        Raises:
            RunError: it is not there.
        """
        method = method or self.methods[0]
        job = Job(method, self.seeds(method)[0] if seed is None else seed)
        if job not in self.records:
            there = ", ".join(f"{j.method} seed {j.seed}" for j in self.records)
            raise RunError(f"{job.method} seed {job.seed} is not in this run; there are {there}")
        return self.records[job].matrix

    def measures(self, job: Job) -> dict[str, float]:
        """All summary measures of a job. Intransigence is against `joint` with the same seed, where it was run."""
        record = self.records[job]
        joint = self.records.get(Job("joint", job.seed))
        trace = record.trace
        within = {}
        if trace is not None:
            whole = set(trace.task) == set(range(record.T))  # not where a method trains once
            measure = {"min_acc": min_acc, "wc_acc": wc_acc, "anytime_accuracy": anytime}
            within = {name: f(trace) if whole else math.nan for name, f in measure.items()}
        found = record.matrix.summary(joint.matrix if joint is not None and joint.complete else None)
        return {
            **found,
            "parameters": float(record.parameters[-1]),
            "parameter_ratio": record.parameters[-1] / max(1, record.parameters[0]),
            "memory_bytes": float(record.memory_bytes[-1]),
            "train_seconds": float(sum(record.train_seconds)),
            "eval_seconds": float(np.nansum(record.seconds)) + sum(trace.seconds if trace is not None else []),
            "examples_forward": float(sum(record.forward)),
            "examples_backward": float(sum(record.backward)),
            **within,
        }

    def summary(self, method: str | None = None) -> dict[str, Interval]:
        """Each measure's mean, standard deviation and 95% interval over the seeds of a method (default: the first)."""
        method = method or self.methods[0]
        each = [self.measures(job) for job in self.records if job.method == method]
        return {metric: interval([m[metric] for m in each]) for metric in each[0]}

    # --- on disk ----------------------------------------------------------------------------------------------------
    def results(self) -> str:
        """``results.csv``."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for job, record in self.records.items():
            lead = (self.stream, self.scenario, job.method, job.seed)
            for after, (row, times) in enumerate(zip(record.accuracy, record.seconds)):
                for on, (value, n, seconds) in enumerate(zip(row, record.n, times), start=1):
                    writer.writerow([*lead, after, on, "accuracy", _number(value), n, _number(seconds)])
                for metric, values in (
                    ("train_seconds", record.train_seconds),
                    ("parameters", record.parameters),
                    ("memory_bytes", record.memory_bytes),
                    ("examples_forward", record.forward),
                    ("examples_backward", record.backward),
                    ("steps_share", record.share),
                ):
                    if not values:
                        continue
                    last = after == record.T and metric in ("parameters", "memory_bytes")
                    # before the first task there is training only where a probe chose the order
                    if (after or (values[0] and metric != "steps_share")) and not last:
                        writer.writerow([*lead, after, "", metric, _number(values[after]), "", ""])
            if record.complete:
                for metric, value in self.measures(job).items():
                    if metric not in ("train_seconds", "examples_forward", "examples_backward"):
                        writer.writerow([*lead, record.T, "", metric, _number(value), "", ""])
        return out.getvalue()

    def within(self) -> str:
        """``within.csv``; tasks and `on` count from 1. Empty where nothing was measured within tasks."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        traced = [(job, r.trace) for job, r in self.records.items() if r.trace is not None]
        if traced:
            writer.writerow(WITHIN)
        for job, trace in traced:
            for task, step, row in zip(trace.task, trace.step, trace.accuracy):
                for on, value in enumerate(row, start=1):
                    writer.writerow([self.stream, self.scenario, *job, task + 1, step, on, _number(value)])
        return out.getvalue()

    def as_json(self) -> dict[str, Any]:
        """``summary.json``."""
        methods: dict[str, Any] = {}
        for method in self.methods:
            jobs = [j for j in self.records if j.method == method and self.records[j].complete]
            if not jobs:
                continue
            values = {job.seed: self.measures(job) for job in jobs}
            methods[method] = {
                metric: {
                    **_interval(interval([v[metric] for v in values.values()])),
                    "values": {str(seed): _plain(v[metric]) for seed, v in values.items()},
                }
                for metric in values[jobs[0].seed]
            }
        return {
            "schema": SCHEMA,
            "stream": self.stream,
            "scenario": self.scenario,
            "tasks": list(self.tasks),
            "source": self.source,
            "notes": self.notes,
            "warnings": self.warnings,
            "methods": methods,
        }

    def write(self, folder: Path) -> None:
        """Writes results.csv and summary.json, and a manifest where there is none."""
        if not (folder / "manifest.json").exists():
            write_atomically(folder / "manifest.json", json.dumps(manifest(self, sorted(self.seeds())), indent=1))
        write_atomically(folder / "results.csv", self.results())
        if within := self.within():
            write_atomically(folder / "within.csv", within)
        write_atomically(folder / "summary.json", json.dumps(self.as_json(), indent=1))


def manifest(run: Run, seeds: Sequence[int], **more: Any) -> dict[str, Any]:
    """Where and of what a run was made."""
    import torch

    return {
        "schema": SCHEMA,
        "stream": run.stream,
        "scenario": run.scenario,
        "tasks": list(run.tasks),
        "source": run.source,
        "notes": run.notes,
        "seeds": list(seeds),
        "versions": {name: _version(name) for name in ("lifelong", "torch", "numpy")}
        | {"python": platform.python_version()},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **more,
    }


def refuse_older(folder: Path) -> None:
    """Raises `RunError` for a run that a version before has written, whose specification and checkpoints this one does not read."""
    try:
        schema = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("schema")
    except (OSError, ValueError, AttributeError):
        return  # damaged: what is read next says it
    if schema == 1:
        raise RunError(
            f"{folder} was written by lifelong 0.1.0, whose specification and checkpoints this version does not read: run it again, or go on with that version"
        )


def log(folder: Path, event: str, **what: Any) -> None:
    """Appends a line to events.jsonl; several processes may do so at once."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **what}) + "\n"
    path = folder / "events.jsonl"
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            end = os.fstat(handle).st_size
            if end:
                os.lseek(handle, end - 1, os.SEEK_SET)  # what is written goes to the end all the same
                if os.read(handle, 1) != b"\n":
                    line = "\n" + line  # the disk was full within the line before
            if os.write(handle, line.encode()) < len(line.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)


def _number(value: float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else repr(float(value))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no NaN


def _interval(found: Interval) -> dict[str, Any]:
    return {"mean": _plain(found.mean), "sd": _plain(found.sd), "ci95": _plain(found.half), "n": found.n}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
