"""A run as independent jobs (one method, one seed each), done by an engine: in this process, in several, or on a cluster.

A job writes to its own folder and says what it does; the process that asked for it writes everything else.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from ..core.errors import LifelongError, MethodError, RunError, enough_memory, warn
from ..core.warnings_heard import heard
from .checkpoint import Store
from .executor import Engine, engine_of
from .heartbeat import Note, heartbeat
from .lease import LEASE_SECONDS, leased
from .run import Job, Record, Run, log, refuse_older
from .spec import NOTHING, Permission, RunSpec, device_of, precision_of
from .spec_files import write_specification

if TYPE_CHECKING:
    from ..core.stream import Stream

__all__ = ["Message", "begun_with", "execute", "no_run", "recorded", "refuse", "resume"]

BETWEEN = 0.2  # seconds between two messages of steps


class Message(NamedTuple):
    """What a job says of itself."""

    kind: str  # "began", "step", "task", "done", "failed", "stopped", "damaged", "warned"
    job: Job
    task: int = 0  # its index
    step: int = 0
    steps: int = 0
    text: str = ""
    accuracy: tuple[float, ...] = ()  # of each task, after this one


Tell = Callable[[Message], None]


def execute(
    spec: RunSpec,
    folder: Path,
    jobs: int | Engine = 1,
    tell: Tell = lambda message: None,
    again: bool = False,
    **extra: str,
) -> tuple[Run, list[Message]]:
    """Runs all jobs of `spec` in `folder`; gives the run and the messages of the jobs that failed.

    What a job warns of is warned of here, each text once, and kept in ``run.warnings``.

    Args:
        jobs: how many processes (1: this one), or an engine.
        tell: is called with each message.
        again: go on with what is there.
        extra: further files of the directory, by name, written before the report.

    Raises:
        RunError: the directory is there already (and `again` is false), or in use.
        KeyboardInterrupt: stopped; everything learnt is saved.
    """
    from .stream_loop import graceful

    if not again:
        refuse(folder)
    stream = _checked(spec, extra)
    engine = engine_of(jobs)
    with graceful() as stop, leased(folder), heartbeat(folder) as note:  # asked to stop, it finishes what it writes
        work = [Job(method, seed) for method in spec.methods for seed in spec.seeds]
        run = Run.of(spec.build_stream(spec.seeds[0]))
        run.warnings = _warnings(folder)
        if not again:
            begun = {"name": type(engine).__name__.lower()} | {k: getattr(engine, k, None) for k in ("jobs", "address")}
            write_specification(folder, spec, run, begun, extra)
        log(folder, "resumed" if again else "started", engine=str(engine), jobs=getattr(engine, "jobs", None))
        done: dict[Job, Record] = {}
        listener = _Listener(folder, run, note, tell, stream.notes.get("remarks", ()))
        try:
            for k, record in engine.each(_work, [(spec, job, folder.absolute()) for job in work], listener.hear, stop):
                if record is not None:
                    done[work[k]] = record
        except KeyboardInterrupt:
            with suppress(RunError):  # what cannot be written down is said
                log(folder, "interrupted")
            raise
        finally:
            for job in work:
                so_far = done.get(job) or recorded(folder, job)
                if so_far is not None:
                    run.records[job] = so_far
            if run.records:
                run.write(folder)
        log(folder, "finished", failed=len(listener.failed))
        if stop():
            raise KeyboardInterrupt
        return run, listener.failed


def _checked(spec: RunSpec, extra: Mapping[str, str]) -> Stream:
    """The stream of the first seed; raises where a job of the run could not begin, before anything is made."""
    import torch

    from ..core.contexts import Costs
    from ..training.build import takes
    from .memory_needed import check_budget

    stream = spec.build_stream(spec.seeds[0])
    for name in spec.methods:
        method = spec.build_method(name)
        method.check(stream.scenario)
        with torch.random.fork_rng(devices=[]):
            takes(method.network(spec.network(stream)), stream)
        spent = Costs(**json.loads(extra["order.json"])["costs"]).passes if "order.json" in extra else 0
        check_budget(spec.budget, method, spec.build_net(), stream, spec.build_training(), spent)
    device_of(spec.device)
    precision_of(spec.precision)
    return stream


@final
class _Listener:
    """Takes down what jobs say, and passes it on.

    Args:
        warned: was warned of when the stream was built; its notes hold it.
    """

    def __init__(self, folder: Path, run: Run, note: Note, tell: Tell, warned: Iterable[str]) -> None:
        self.folder, self.run, self.note, self.tell = folder, run, note, tell
        self.warned = set(warned)
        self.failed: list[Message] = []

    def hear(self, message: Message) -> None:
        if message.kind == "warned":
            self._warn(message)
            return
        if message.kind == "failed":
            self.failed.append(message)
        self._log(message)
        if message.kind in ("began", "step"):
            self.note(message.job, message.task, message.step, message.steps)
        elif message.kind == "task":
            self.note(message.job, message.task + 1, 0, 0)
        elif message.kind != "damaged":
            self.note(message.job, None, 0, 0)
        self.tell(message)

    def _warn(self, message: Message) -> None:
        if message.text in self.warned:
            return
        self.warned.add(message.text)
        self.tell(message)
        if message.text not in self.run.warnings:
            self.run.warnings.append(message.text)
            self._log(message)
        warn(message.text)

    def _log(self, message: Message) -> None:
        about: dict[str, Any] = {"method": message.job.method, "seed": message.job.seed}
        if message.kind == "task":
            log(self.folder, "task", **about, after=message.task + 1, accuracy=message.accuracy)
        elif message.kind == "failed":
            log(self.folder, "failed", **about, error=message.text)
        elif message.kind == "damaged":
            log(self.folder, "damaged", checkpoint=message.text)
        elif message.kind == "warned":
            log(self.folder, "warned", **about, warning=message.text)


# what a run leaves that was killed before it could be resumed
_BEGUN = re.compile(
    r"\.lock|\.owner|(manifest|order|progress)\.json|\.((manifest|order|progress)\.json|config\.yaml)\.\d+"
)


def refuse(folder: Path) -> None:
    """Raises `RunError` where a run's directory is there already."""
    if folder.exists() and (not folder.is_dir() or any(not _BEGUN.fullmatch(p.name) for p in folder.iterdir())):
        raise RunError(f"{folder} is there already: choose another --out, or go on with it: lifelong resume {folder}")


def no_run(folder: Path) -> None:
    """Raises `RunError` where a run is, and no study."""
    if any((folder / name).exists() for name in ("config.yaml", "manifest.json", "sweep.json")):
        raise RunError(f"{folder} holds a run: choose another --out, or go on with it: lifelong resume {folder}")


def resume(folder: Path, permission: Permission = NOTHING) -> RunSpec:
    """The specification of the run in `folder`.

    Raises:
        RunError: there is none, or one of a version before.
        MethodError: it names code, which was not allowed.
    """
    for file, command in (("study.json", "order"), ("measured.json", "affinity"), ("sweep.json", "sweep")):
        if (folder / file).exists():
            raise RunError(
                f"{folder} holds a study: say the same `lifelong {command}` again with --out {folder}, and it goes on"
            )
    refuse_older(folder)
    if not (folder / "config.yaml").exists():
        raise RunError(f"{folder} is no run directory: it has no config.yaml; `lifelong run --out {folder}` makes one")
    return RunSpec.load(folder / "config.yaml", permission)


def begun_with(folder: Path) -> dict[str, Any]:
    """The engine with which the run in `folder` was begun: ``{"name": "local", "jobs": 2}``; empty where it does not say."""
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("engine", {})
    except (OSError, ValueError, AttributeError):
        return {}
    kinds = {"name": str, "address": str, "jobs": int}
    known = isinstance(found, dict)
    return {k: found[k] for k, kind in kinds.items() if isinstance(found.get(k), kind)} if known else {}


def _warnings(folder: Path) -> list[str]:
    """What jobs have warned of so far."""
    found = []
    with suppress(OSError):
        for line in (folder / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError, KeyError):
                event = json.loads(line)
                if event["event"] == "warned":
                    found.append(str(event["warning"]))
    return found


def recorded(folder: Path, job: Job) -> Record | None:
    """What a job in `folder` has measured by its newest checkpoint; None where that holds no such thing."""
    found = Store(folder / job.folder).newest()
    try:
        return None if found is None else Record.from_json(found["meta"]["record"])
    except (LookupError, TypeError, ValueError, RunError):
        return None  # going on from it says what is wrong


def _work(spec: RunSpec, job: Job, folder: Path, tell: Tell) -> Record | None:
    """One job, from wherever its checkpoints left it: its record, or None where it failed. Failures are told; what no job of the run can do, and
    a stop, are raised."""
    import torch

    if not (folder / "config.yaml").exists():
        raise MethodError(f"{folder} is not seen from every machine: choose an --out on a file system that all share")
    try:
        tell(Message("began", job))
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        with (
            enough_memory(f"{job.method}, seed {job.seed}"),
            heard(lambda text: tell(Message("warned", job, text=text))),
        ):
            record = _learn(spec, job, folder, tell)
        tell(Message("done", job))
        return record
    except KeyboardInterrupt:
        tell(Message("stopped", job))
        raise
    except LifelongError as error:
        if isinstance(error, MethodError):
            raise
        tell(Message("failed", job, text=str(error)))
        return None
    except (
        Exception
    ) as error:  # somebody's network or data set: it is raised, and those who only see the directory learn of it
        tell(Message("failed", job, text=f"{type(error).__name__}: {error}"))
        raise


def _learn(spec: RunSpec, job: Job, folder: Path, tell: Tell) -> Record:
    """Learns what is left of a job, and tells how far it is."""
    from .fitting import learn

    told = 0.0

    def watch(index: int, pause: Any) -> None:
        nonlocal told
        if pause is not None and (pause.phase == "end" or time.monotonic() - told >= BETWEEN):
            told = time.monotonic()
            tell(Message("step", job, index, pause.step, pause.steps))

    return learn(
        spec,
        job,
        folder,
        watch=watch,
        after=lambda record: tell(Message("task", job, record.rows - 2, accuracy=tuple(record.accuracy[-1]))),
        damaged=lambda text: tell(Message("damaged", job, text=text)),
        wait=3 * LEASE_SECONDS,
    )
