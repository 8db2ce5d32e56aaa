"""Runs as they are at this moment, read from the files of their directories and from nothing else.

Rows of R and costs are those of a job's newest checkpoint (its ``state.json``), or of ``results.csv`` where there is none.
Failures, stops and times stand in ``events.jsonl``; how far a task is, and whether anybody is at work on it, in
``progress.json`` (`lifelong.pulse`). Nothing is written.

The files may be somebody else's, and may change while they are read: what is not whole is read the next time, and no link
leads out of the folder that is watched.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, final

import numpy as np
import yaml
from numpy.typing import NDArray

from .config import Config, _names, seeds_of
from .errors import LifelongError, RunError
from .pulse import FILE, alive
from .report.results import Results, parse
from .report.words import UNKNOWN, varies
from .run import Job, Record
from .system import open_plain

__all__ = ["At", "Folder", "JobNow", "RunNow", "State"]

State = Literal["waiting", "running", "finished", "failed", "interrupted"]
T = TypeVar("T")

LARGEST = 256 * 2**20  # bytes of a file that is read
MOST = 3000  # tasks, or jobs, of a run that is shown
DEPTH, FOLDERS = 3, 5000  # how deep runs are looked for, and in how many folders at most
AGAIN = 2.0  # seconds between two searches


class At(NamedTuple):
    """Where a job stands within its task."""

    task: int  # 1..T
    step: int
    steps: int  # 0: not known yet
    since: float  # when the process that works on it took its first step of this task
    first: int  # and which that was

    @property
    def share(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps > 0 else 0.0


@final
@dataclass(frozen=True)
class JobNow:
    """One method with one seed: its rows of R so far, and what it is doing."""

    job: Job
    state: State
    record: Record
    at: At | None = None
    error: str = ""
    times: Mapping[int, float] = field(default_factory=dict)  # when so many tasks had been learnt

    @property
    def learnt(self) -> int:
        return max(0, self.record.rows - 1)

    @property
    def done(self) -> float:
        """Tasks, the present one in part: 2.4 of 5."""
        return self.learnt + (self.at.share if self.at is not None and self.at.task == self.learnt + 1 else 0.0)

    def spent(self, after: int) -> float:
        """Seconds for the `after`-th task, its evaluation included."""
        seconds = self.record.seconds[after] if after < len(self.record.seconds) else []
        return self.record.train_seconds[after] + math.fsum(s for s in seconds if s == s)


@final
@dataclass(frozen=True)
class RunNow:
    """A run directory.

    Args:
        name: below the folder that is watched.
        tasks: names, in order.
        state: running while a process works on it; failed where a job did; interrupted where a process was stopped or killed.
        reason: why it is interrupted.
        resume: the command that goes on with it; empty where there is none.
        processes: how many work on it.
        started, seen: when it was first started, and its last sign of life (seconds since 1970).
        config, source: what was asked for, and where the data come from.
        report: whether it has a page of its own.
        varies: what varies between its seeds.
    """

    name: str
    folder: Path
    stream: str
    scenario: str
    tasks: tuple[str, ...]
    jobs: tuple[JobNow, ...]
    state: State
    reason: str = ""
    resume: str = ""
    processes: int = 1
    started: float | None = None
    seen: float | None = None
    config: str = ""
    source: str = ""
    report: bool = False
    varies: str = UNKNOWN

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(j.job.method for j in self.jobs))

    def of(self, method: str) -> list[JobNow]:
        return [j for j in self.jobs if j.job.method == method]

    def R(self, method: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # noqa: N802 (the papers' symbol)
        """The mean of R over the seeds that have got to a row, ``[T+1, T]``, and how many have, ``[T+1]``."""
        tasks = len(self.tasks)
        total, count = np.zeros((tasks + 1, tasks)), np.zeros(tasks + 1, dtype=np.int64)
        for job in self.of(method):
            rows = job.record.rows
            total[:rows] += np.asarray(job.record.accuracy, dtype=np.float64).reshape(rows, tasks)
            count[:rows] += 1
        with np.errstate(invalid="ignore"):
            return total / np.where(count == 0, np.nan, count)[:, None], count

    def summary(self, job: JobNow) -> dict[str, float]:
        """All measures of a finished job; intransigence is against `joint` with the same seed, where it is finished."""
        joint = (j.record.matrix for j in self.of("joint") if j.job.seed == job.job.seed and j.record.complete)
        return job.record.matrix.summary(next(joint, None))

    def measures(self, method: str) -> dict[str, list[float]]:
        """Each measure of each finished seed."""
        found = [self.summary(j) for j in self.of(method) if j.state == "finished"]
        return {k: [f[k] for f in found] for k in found[0]} if found else {}

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return sum(j.done for j in self.jobs) / max(1, len(self.jobs) * len(self.tasks))

    @cached_property
    def left(self) -> float | None:
        """Seconds until it is done, were each task to take what it took other seeds of its method, or else what the method's
        other tasks took; None where nothing has been learnt yet to judge by."""
        if self.state != "running":
            return None
        known: dict[tuple[str, int], list[float]] = {}
        for j in self.jobs:
            for after in range(1, j.record.rows):
                known.setdefault((j.job.method, after), []).append(j.spent(after))
        by_method: dict[str, list[float]] = {}
        for (method, _), seconds in known.items():
            by_method.setdefault(method, []).append(_mean(seconds))
        now = self.seen or time.time()
        for j in self.jobs:  # before a method's first task is learnt, its steps so far
            at = j.at
            if at is not None and j.job.method not in by_method and at.step > at.first and now > at.since:
                by_method[j.job.method] = [(now - at.since) / (at.step - at.first) * at.steps]
        if not by_method:
            return None
        overall = _mean([_mean(v) for v in by_method.values()])

        def left_of(j: JobNow) -> float:
            if j.state in ("failed", "finished"):
                return 0.0
            method = j.job.method
            each = [
                _mean(known.get((method, t)) or by_method.get(method) or [overall])
                for t in range(j.learnt + 1, len(self.tasks) + 1)
            ]
            return math.fsum(each) - (j.done - j.learnt) * each[0] if each else 0.0

        parts = [left_of(j) for j in self.jobs]
        return max(math.fsum(parts) / max(1, self.processes), max(parts, default=0.0))


@final
class Folder:
    """A folder of runs, or one run.

    Args:
        root: nothing outside of it is read, wherever a link may point.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise RunError(
                f"{root} is no directory: no run has written there yet; give a run's, or one that holds runs"
            )
        self.given, self.root = root, root.resolve()
        self._kept: dict[str, tuple[tuple[int, ...], Any]] = {}  # by file: its stamp and what it says
        self._found: tuple[float, dict[str, Path]] = (-math.inf, {})

    # --- reading ----------------------------------------------------------------------------------------------------
    def read(self, path: Path) -> bytes | None:
        """A regular file below the root; None where there is none, or where its name leads out of it."""
        try:
            with _opened(path, self.root) as found:
                return None if found is None else _content(found[0])
        except OSError:
            return None

    def _said(self, path: Path, parse: Callable[[bytes], T], otherwise: T, slot: str = "") -> T:
        """What a file says; what has not changed is not read again. `slot`: under which name it is kept."""
        slot = slot or str(path)
        try:
            with _opened(path, self.root) as found:
                if found is None:
                    self._kept.pop(slot, None)
                    return otherwise
                handle, stamp = found
                if slot in self._kept and self._kept[slot][0] == stamp:
                    value: T = self._kept[slot][1]
                    return value
                value = parse(_content(handle))
        except _WRONG:
            return otherwise
        self._kept[slot] = (stamp, value)
        return value

    # --- finding ----------------------------------------------------------------------------------------------------
    def names(self) -> dict[str, Path]:
        """The run directories there are, by name: the root itself, or what lies below it. Links are not followed."""
        if time.monotonic() - self._found[0] >= AGAIN:
            self._found = (time.monotonic(), self._search())
        return self._found[1]

    def _search(self) -> dict[str, Path]:
        if _is_run(self.root):
            return {self.root.name: self.root}
        found: dict[str, Path] = {}
        todo, looked = [(self.root, 0)], 0
        while todo and looked < FOLDERS:
            folder, depth = todo.pop(0)
            looked += 1
            try:
                inner = sorted((e for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)), key=lambda e: e.name)
            except OSError:
                continue
            for entry in inner:
                path = folder / entry.name
                name = path.relative_to(self.root).as_posix()
                if entry.name.startswith(".") or not name.isprintable():
                    continue
                if _is_run(path):
                    found[name] = path
                elif depth + 1 < DEPTH:
                    todo.append((path, depth + 1))
        return found

    # --- looking ----------------------------------------------------------------------------------------------------
    def look(self, name: str, now: float | None = None) -> RunNow | None:
        """The run called `name` as it is; None where there is none."""
        folder = self.names().get(name)
        return None if folder is None else self._look(name, folder, time.time() if now is None else now)

    def runs(self, now: float | None = None) -> list[RunNow]:
        """All of them, the last started first."""
        moment = time.time() if now is None else now
        found = [self._look(name, folder, moment) for name, folder in self.names().items()]
        return sorted(found, key=lambda r: (-(r.started or 0.0), r.name))

    def _look(self, name: str, folder: Path, now: float) -> RunNow:
        config: dict[str, Any] = self._said(folder / "config.yaml", _yaml, {})
        manifest: dict[str, Any] = self._said(folder / "manifest.json", _object, {})
        events: list[dict[str, Any]] = self._said(folder / "events.jsonl", _lines, [])
        beat: dict[str, Any] = self._said(folder / FILE, _beat, {})
        last = max((i for i, e in enumerate(events) if e["event"] in ("started", "resumed")), default=0)
        since = events[last:]
        lives = bool(beat) and alive(beat, now)
        listed = _asked(config) if config else self._left(folder)
        records = {job: self._record(folder, job) for job in listed}
        tasks = _tasks(manifest, [r for r in records.values() if r is not None])
        jobs = tuple(_job(job, _fits(records[job], len(tasks)), events, since, beat, lives) for job in listed)
        first = next((e["time"] for e in events if e["event"] == "started"), None)
        seen = max([e["time"] for e in events[-1:]] + ([beat["time"]] if beat else []), default=None)
        state, reason = _state(jobs, since, beat, lives, bool(config), (folder / "results.csv").exists())
        return RunNow(
            name=name,
            folder=folder,
            stream=str(manifest.get("stream", config.get("stream", ""))),
            scenario=str(manifest.get("scenario", config.get("scenario", ""))),
            tasks=tasks,
            jobs=jobs,
            state=state,
            reason=reason,
            resume=_command(self.given, name, folder == self.root) if config and state in _OPEN else "",
            processes=_count(since[0].get("jobs")) if since else 1,
            started=first,
            seen=seen,
            config=self._said(folder / "config.yaml", bytes.decode, "", slot=f"{folder}/config.yaml as text"),
            source=str(manifest.get("source", "")),
            report=(folder / "report.html").is_file(),
            varies=varies(_notes(manifest), config or None, made_by_fit=bool(manifest)),
        )

    def _left(self, folder: Path) -> list[Job]:
        """The jobs that have left something, where no configuration lists them."""
        results = self._said(folder / "results.csv", _results, None)
        found = [] if results is None else list(results.cells)
        for place in sorted((folder / "checkpoint").glob("*/*")):
            if place.name.isdigit() and place.is_dir():
                found.append((place.parent.name, int(place.name)))
        return [Job(*key) for key in dict.fromkeys(found)][:MOST]

    def _record(self, folder: Path, job: Job) -> Record | None:
        place = folder / job.folder
        try:
            numbers = sorted((e.name for e in os.scandir(place) if e.name.isdigit()), reverse=True)
        except (OSError, ValueError):
            numbers = []
        for number in numbers:  # the newest may be on its way in, the oldest on its way out
            found = self._said(place / number / "state.json", _recorded, None, slot=str(place))
            if found is not None:
                return found
        results = self._said(folder / "results.csv", _results, None)
        return None if results is None else _of_results(results, job)


_WRONG = (
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
_OPEN = ("interrupted", "failed")


@contextmanager
def _opened(path: Path, root: Path) -> Iterator[tuple[int, tuple[int, ...]] | None]:
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


def _content(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read(LARGEST)


# --- what the files say --------------------------------------------------------------------------------------------------
def _is_run(folder: Path) -> bool:
    if (folder / "study.json").exists() or (folder / "measured.json").exists():
        return False  # of `lifelong order` and `lifelong affinity`: many small runs, none with a directory
    return any((folder / name).exists() for name in ("config.yaml", "results.csv", "checkpoint"))


def _object(text: bytes) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def _yaml(text: bytes) -> dict[str, Any]:
    """A configuration's keys; ValueError where it is none that a run writes: by depth and aliases a short text takes for ever."""
    said, depth = text.decode(), 0
    for event in yaml.parse(said, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 10 or isinstance(event, yaml.AliasEvent):
            raise ValueError("too deep, or an alias")
    return Config.flatten(yaml.safe_load(said) or {})


def _lines(text: bytes) -> list[dict[str, Any]]:
    """Events; a line that is not whole yet, or is no event, is left out."""
    found = []
    for line in text.splitlines():
        try:
            event = _object(line)
            event["time"], event["event"] = _time(event["time"]), str(event["event"])
        except _WRONG:
            continue
        found.append(event)
    return found


def _results(text: bytes) -> Results:
    table = list(csv.reader(io.StringIO(text.decode()), strict=True))
    if any(max(int(row[4] or 0), int(row[5] or 0)) > MOST for row in table[1:] if len(row) > 5):
        raise ValueError("too many tasks")
    return parse(Path("results.csv"), table)


def _beat(text: bytes) -> dict[str, Any]:
    said = _object(text)
    jobs = {
        key: At(int(at["task"]), int(at["step"]), int(at["steps"]), _time(at["since"]), int(at["first"]))
        for key, at in said["jobs"].items()
    }
    return {"time": _time(said["time"]), "pid": int(said["pid"]), "host": str(said["host"]), "jobs": jobs}


def _recorded(text: bytes) -> Record:
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


def _of_results(results: Results, job: Job) -> Record | None:
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


def _asked(config: Mapping[str, Any]) -> list[Job]:
    """The jobs that were asked for."""
    seeds = config.get("seeds", 1)
    try:
        if not isinstance(seeds, list | tuple) and str(seeds).isdigit() and int(seeds) > MOST:
            return []
        return [Job(m, s) for m in _names(config.get("method", "finetune")) for s in seeds_of(seeds)][:MOST]
    except _WRONG:
        return []


def _count(said: Any) -> int:
    return said if isinstance(said, int) and said > 0 else 1


def _time(said: Any) -> float:
    """Seconds since 1970 that can be a date."""
    found = float(said)
    if not 0 <= found < 1e11:
        raise ValueError("no time")
    return found


def _notes(manifest: Mapping[str, Any]) -> dict[str, Any]:
    found = manifest.get("notes")
    return found if isinstance(found, dict) else {}


def _tasks(manifest: Mapping[str, Any], records: Sequence[Record]) -> tuple[str, ...]:
    named = manifest.get("tasks")
    if isinstance(named, list) and named:
        return tuple(map(str, named[:MOST]))
    return tuple(f"task {i + 1}" for i in range(max((r.T for r in records), default=0)))


def _fits(record: Record | None, tasks: int) -> Record:
    return record if record is not None and tasks == record.T else Record.empty(tasks)


def _job(
    job: Job,
    record: Record,
    events: Sequence[Mapping[str, Any]],
    since: Sequence[Mapping[str, Any]],
    beat: Mapping[str, Any],
    lives: bool,
) -> JobNow:
    def mine(found: Sequence[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
        return (e for e in found if e["event"] == kind and e.get("method") == job.method and e.get("seed") == job.seed)

    times = {int(e["after"]): e["time"] for e in mine(events, "task") if isinstance(e.get("after"), int)}
    error = next((str(e.get("error", "")) for e in mine(since, "failed")), "")
    at = beat["jobs"].get(f"{job.method}/{job.seed}") if beat else None
    state: State
    if record.T and record.complete:
        state = "finished"
    elif error:
        state = "failed"
    elif lives:
        state = "running" if at is not None else "waiting"
    else:
        state = "interrupted" if record.rows or at is not None else "waiting"
    return JobNow(job, state, record, at if state == "running" else None, error, times)


def _state(
    jobs: Sequence[JobNow],
    since: Sequence[Mapping[str, Any]],
    beat: Mapping[str, Any],
    lives: bool,
    asked: bool,
    written: bool,
) -> tuple[State, str]:
    """The whole run's state, and why it is interrupted."""
    if lives:
        return "running", ""
    if jobs and all(j.state == "finished" for j in jobs) and (written or not asked):
        return "finished", ""
    if any(e["event"] == "interrupted" for e in since):
        return "interrupted", "Stopped by Ctrl-C or a signal; everything learnt is saved."
    if beat:
        return "interrupted", f"Killed: process {beat['pid']} on {beat['host']} is gone. What it saved is whole."
    if any(j.error for j in jobs):
        return "failed", ""
    return "interrupted", "No process works on it."


def _command(given: Path, name: str, is_root: bool) -> str:
    import shlex

    return shlex.join(["lifelong", "resume", str(given if is_root else given / name)])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
