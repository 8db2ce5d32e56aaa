"""What the files of a run directory say, read as files that may be somebody else's.

They may change while they are read, too: what is not whole is refused, and read the next time.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..core.errors import LifelongError
from ..core.system import open_plain
from ..core.yaml_io import flatten
from ..report.results import Results, parse
from .run import Job, Record
from .run_progress import At
from .spec_keys import methods_of, seeds_of

__all__ = [
    "MOST",
    "UNREADABLE",
    "content",
    "is_run",
    "jobs_of",
    "notes_of",
    "open_below",
    "parse_config",
    "parse_events",
    "parse_object",
    "parse_progress",
    "parse_record",
    "parse_results",
    "record_of",
    "tasks_of",
]

LARGEST = 256 * 2**20  # bytes of a file that is read
MOST = 3000  # tasks, or jobs, of a run that is shown
UNREADABLE = (  # what reading a file raises that is not whole, or not as a run writes it
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
    yaml.YAMLError,
    csv.Error,
    LifelongError,
)


@contextmanager
def open_below(path: Path, root: Path) -> Iterator[tuple[int, tuple[int, ...]] | None]:
    """A handle on a regular file below `root`, and its stamp; None where it is none, or its name leads out of `root`."""
    handle = -1
    try:
        real = path.resolve(strict=True)
        if real.is_relative_to(root):
            handle = open_plain(real)
    except (OSError, RuntimeError, ValueError):  # not there; links in a circle; no name at all
        pass
    if handle < 0:
        yield None
        return
    try:
        found = os.fstat(handle)
        whole = stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST
        yield (handle, (found.st_ino, found.st_size, found.st_mtime_ns)) if whole else None
    finally:
        os.close(handle)


def content(handle: int) -> bytes:
    """What a file holds, up to `LARGEST` bytes."""
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read(LARGEST)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's directory."""
    if (folder / "study.json").exists() or (folder / "measured.json").exists():
        return False  # of `lifelong order` and `lifelong affinity`: many small runs, none with a directory
    return any((folder / name).exists() for name in ("config.yaml", "results.csv", "checkpoint"))


# --- what one file says ---------------------------------------------------------------------------------------------------
def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object, such as ``manifest.json``."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def parse_config(text: bytes) -> dict[str, Any]:
    """A configuration's keys; ValueError where it is none that a run writes: by depth and aliases a short text takes for ever."""
    said, depth = text.decode(), 0
    for event in yaml.parse(said, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 10 or isinstance(event, yaml.AliasEvent):
            raise ValueError("too deep, or an alias")
    return flatten(yaml.safe_load(said) or {})


def parse_events(text: bytes) -> list[dict[str, Any]]:
    """``events.jsonl``; a line that is not whole yet, or is no event, is left out."""
    found = []
    for line in text.splitlines():
        try:
            event = parse_object(line)
            event["time"], event["event"] = _time(event["time"]), str(event["event"])
        except UNREADABLE:
            continue
        found.append(event)
    return found


def parse_results(text: bytes) -> Results:
    """``results.csv``."""
    table = list(csv.reader(io.StringIO(text.decode()), strict=True))
    if any(max(int(row[4] or 0), int(row[5] or 0)) > MOST for row in table[1:] if len(row) > 5):
        raise ValueError("too many tasks")
    return parse(Path("results.csv"), table)


def parse_progress(text: bytes) -> dict[str, Any]:
    """``progress.json``."""
    said = parse_object(text)
    jobs = {
        key: At(int(at["task"]), int(at["step"]), int(at["steps"]), _time(at["since"]), int(at["first"]))
        for key, at in said["jobs"].items()
    }
    return {"time": _time(said["time"]), "pid": int(said["pid"]), "host": str(said["host"]), "jobs": jobs}


def parse_record(text: bytes) -> Record:
    """The record of a checkpoint; ValueError where it is not as a run writes it."""
    record = Record.from_json(json.loads(text)["record"])
    rows, tasks = record.rows, record.T
    if not (isinstance(tasks, int) and 0 < tasks <= MOST):
        raise ValueError("too many tasks")
    for table in (record.accuracy, record.seconds):
        V = np.asarray(table, dtype=np.float64).reshape(rows, tasks)
        if not (np.isnan(V) | ((V >= 0) & (V < 1e9))).all():
            raise ValueError("a number out of range")
    if not (np.nan_to_num(np.asarray(record.accuracy, dtype=np.float64)) <= 1).all():
        raise ValueError("an accuracy above 1")
    costs = (record.train_seconds, record.parameters, record.memory_bytes, record.forward, record.backward)
    if not all(np.isfinite(np.asarray(c, dtype=np.float64).reshape(rows)).all() for c in costs):
        raise ValueError("a cost that is no number")
    return record


def _time(said: Any) -> float:
    """Seconds since 1970 that can be a date."""
    found = float(said)
    if not 0 <= found < 1e11:
        raise ValueError("no time")
    return found


# --- what follows from it -------------------------------------------------------------------------------------------------
def record_of(results: Results, job: Job) -> Record | None:
    """What a job has measured, by ``results.csv``; None where it has no row there."""
    key = (job.method, job.seed)
    if key not in results.cells:
        return None
    R = results.cells[key].R
    costs = {k: results.values.get((*key, k), {}) for k in ("train_seconds", "parameters", "memory_bytes")}
    passes = [results.values.get((*key, f"examples_{k}"), {}) for k in ("forward", "backward")]
    rows = 1 + max(max(found, default=0) for found in costs.values())
    evaluation = results.values.get((*key, "eval_seconds"), {}).get(results.T, 0.0)
    return Record(
        T=results.T,
        accuracy=R[:rows].tolist(),
        seconds=[[evaluation / rows]] * rows,  # how it fell on the rows is not read
        train_seconds=[costs["train_seconds"].get(i, 0.0) for i in range(rows)],
        parameters=[int(costs["parameters"].get(i, 0)) for i in range(rows)],
        memory_bytes=[int(costs["memory_bytes"].get(i, 0)) for i in range(rows)],
        forward=[int(passes[0].get(i, 0)) for i in range(rows)],
        backward=[int(passes[1].get(i, 0)) for i in range(rows)],
    )


def jobs_of(config: Mapping[str, Any]) -> list[Job]:
    """The jobs that were asked for."""
    seeds = config.get("seeds", 1)
    try:
        if not isinstance(seeds, list | tuple) and str(seeds).isdigit() and int(seeds) > MOST:
            return []
        return [Job(m, s) for m in methods_of(config.get("method", "finetune")) for s in seeds_of(seeds)][:MOST]
    except UNREADABLE:
        return []


def notes_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The notes on the data."""
    found = manifest.get("notes")
    return found if isinstance(found, dict) else {}


def tasks_of(manifest: Mapping[str, Any], records: Sequence[Record]) -> tuple[str, ...]:
    """The names of the tasks, or their numbers where nothing says names."""
    named = manifest.get("tasks")
    if isinstance(named, list) and named:
        return tuple(map(str, named[:MOST]))
    return tuple(f"task {i + 1}" for i in range(max((r.T for r in records), default=0)))
