"""Runs as they are at this moment, read from the files of their directories and from nothing else.

Rows of R and costs are those of a job's newest checkpoint (its ``state.json``), or of ``results.csv`` where there is none.
Failures, stops and times stand in ``events.jsonl``; how far a task is, and whether anybody is at work on it, in
``progress.json`` (`lifelong.runs.heartbeat`). Nothing is written.

The files may be somebody else's, and may change while they are read (`lifelong.runs.run_files`): what is not whole is read the next
time, and no link leads out of the folder that is watched.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

from ..core.errors import RunError
from ..report.words import varies
from .heartbeat import FILE, alive
from .run import Job, Record
from .run_files import (
    MOST,
    UNREADABLE,
    content,
    is_run,
    jobs_of,
    notes_of,
    open_below,
    parse_config,
    parse_events,
    parse_object,
    parse_progress,
    parse_record,
    parse_results,
    record_of,
    tasks_of,
)
from .run_progress import JobNow, RunNow, State

__all__ = ["Folder"]

T = TypeVar("T")

DEPTH, FOLDERS = 3, 5000  # how deep runs are looked for, and in how many folders at most
AGAIN = 2.0  # seconds between two searches


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
        self._cache: dict[str, tuple[tuple[int, ...], Any]] = {}  # by file: its stamp and what it says
        self._found: tuple[float, dict[str, Path]] = (-math.inf, {})

    # --- reading ----------------------------------------------------------------------------------------------------
    def read(self, path: Path) -> bytes | None:
        """A regular file below the root; None where there is none, or where its name leads out of it."""
        try:
            with open_below(path, self.root) as found:
                return None if found is None else content(found[0])
        except OSError:
            return None

    def _parsed(self, path: Path, parse: Callable[[bytes], T], otherwise: T, slot: str = "") -> T:
        """What a file says; what has not changed is not read again. `slot`: under which name it is kept."""
        slot = slot or str(path)
        try:
            with open_below(path, self.root) as found:
                if found is None:
                    self._cache.pop(slot, None)
                    return otherwise
                handle, stamp = found
                if slot in self._cache and self._cache[slot][0] == stamp:
                    value: T = self._cache[slot][1]
                    return value
                value = parse(content(handle))
        except UNREADABLE:
            return otherwise
        self._cache[slot] = (stamp, value)
        return value

    # --- finding ----------------------------------------------------------------------------------------------------
    def names(self) -> dict[str, Path]:
        """The run directories there are, by name: the root itself, or what lies below it. Links are not followed."""
        if time.monotonic() - self._found[0] >= AGAIN:
            self._found = (time.monotonic(), self._search())
        return self._found[1]

    def _search(self) -> dict[str, Path]:
        if is_run(self.root):
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
                if is_run(path):
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
        config: dict[str, Any] = self._parsed(folder / "config.yaml", parse_config, {})
        manifest: dict[str, Any] = self._parsed(folder / "manifest.json", parse_object, {})
        events: list[dict[str, Any]] = self._parsed(folder / "events.jsonl", parse_events, [])
        beat: dict[str, Any] = self._parsed(folder / FILE, parse_progress, {})
        last = max((i for i, e in enumerate(events) if e["event"] in ("started", "resumed")), default=0)
        since = events[last:]
        lives = bool(beat) and alive(beat, now)
        listed = jobs_of(config) if config else self._jobs_left(folder)
        records = {job: self._record(folder, job) for job in listed}
        tasks = tasks_of(manifest, [r for r in records.values() if r is not None])
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
            resume=_command(self.given, name, folder == self.root) if config and state in _RESUMABLE else "",
            processes=_count(since[0].get("jobs")) if since else 1,
            started=first,
            seen=seen,
            config=self._parsed(folder / "config.yaml", bytes.decode, "", slot=f"{folder}/config.yaml as text"),
            source=str(manifest.get("source", "")),
            report=(folder / "report.html").is_file(),
            varies=varies(notes_of(manifest), config or None, made_by_fit=bool(manifest)),
        )

    def _jobs_left(self, folder: Path) -> list[Job]:
        """The jobs that have left something, where no configuration lists them."""
        results = self._parsed(folder / "results.csv", parse_results, None)
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
            found = self._parsed(place / number / "state.json", parse_record, None, slot=str(place))
            if found is not None:
                return found
        results = self._parsed(folder / "results.csv", parse_results, None)
        return None if results is None else record_of(results, job)


_RESUMABLE = ("interrupted", "failed")


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


def _count(said: Any) -> int:
    return said if isinstance(said, int) and said > 0 else 1


def _command(given: Path, name: str, is_root: bool) -> str:
    import shlex

    return shlex.join(["lifelong", "resume", str(given if is_root else given / name)])
