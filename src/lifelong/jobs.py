"""A run as independent jobs (one method, one seed each), done by an engine: in this process, in several, or on a cluster.

A job writes to its own folder and says what it does; the process that asked for it writes everything else.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoint import Store, write_atomically
from .claim import LEASE, claimed
from .config import Config
from .errors import LifelongError, MethodError, RunError, enough_memory, warn
from .pool import Engine, engine_of
from .pulse import pulse
from .run import Job, Record, Run, log, manifest
from .warned import heard

__all__ = ["Message", "begun_with", "execute", "no_run", "precision", "recorded", "refuse", "resume"]


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
    config: Config,
    folder: Path,
    jobs: int | Engine = 1,
    tell: Tell = lambda message: None,
    again: bool = False,
    **extra: str,
) -> tuple[Run, list[Message]]:
    """Runs all jobs of `config` in `folder`; gives the run and the messages of the jobs that failed.

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
    import torch

    from .fitting import graceful, takes
    from .method import Costs

    if not again:
        refuse(folder)
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:  # what cannot be is said before anything is made
        method = config.build_method(name)
        method.check(stream.scenario)
        with torch.random.fork_rng(devices=[]):
            takes(method.network(config.build_net()(stream.shape, stream.outputs)), stream)
        spent = Costs(**json.loads(extra["order.json"])["costs"]).passes if "order.json" in extra else 0
        config.budget.check(method, config.build_net(), stream, config.build_training(), spent)
    _device(config.device)
    precision(config.precision)
    engine = engine_of(jobs)
    with graceful() as stop, claimed(folder), pulse(folder) as note:  # asked to stop, it finishes what it writes
        work = [Job(method, seed) for method in config.methods for seed in config.seeds]
        run = Run.of(config.build_stream(config.seeds[0]))
        run.warnings = _warnings(folder)
        if not again:
            begun = {"name": type(engine).__name__.lower()} | {k: getattr(engine, k, None) for k in ("jobs", "address")}
            how = manifest(run, config.seeds, engine=begun)
            write_atomically(folder / "manifest.json", json.dumps(how, indent=1))
            for name, text in extra.items():
                write_atomically(folder / name, text)
            write_atomically(folder / "config.yaml", config.to_yaml())  # last: from here on it can be resumed
        log(folder, "resumed" if again else "started", engine=str(engine), jobs=getattr(engine, "jobs", None))
        failed: list[Message] = []
        told = set(stream.notes.get("remarks", ()))  # warned of when the stream was built; its notes hold them

        def hear(message: Message) -> None:
            if message.kind == "failed":
                failed.append(message)
            if message.kind == "warned":
                if message.text not in told:
                    told.add(message.text)
                    tell(message)
                    if message.text not in run.warnings:
                        run.warnings.append(message.text)
                        _note(folder, message)
                    warn(message.text)
                return
            _note(folder, message)
            if message.kind in ("began", "step"):
                note(message.job, message.task, message.step, message.steps)
            elif message.kind == "task":
                note(message.job, message.task + 1, 0, 0)
            elif message.kind != "damaged":
                note(message.job, None, 0, 0)
            tell(message)

        try:
            for _ in engine.each(_work, [(config, job, folder.absolute()) for job in work], hear, stop):
                pass
        except KeyboardInterrupt:
            with suppress(RunError):  # what cannot be written down is said
                log(folder, "interrupted")
            raise
        finally:
            for job in work:
                record = recorded(folder, job)
                if record is not None:
                    run.records[job] = record
            if run.records:
                run.write(folder)
        log(folder, "finished", failed=len(failed))
        if stop():
            raise KeyboardInterrupt
        return run, failed


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


def resume(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises:
        RunError: there is none.
    """
    for file, command in (("study.json", "order"), ("measured.json", "affinity"), ("sweep.json", "sweep")):
        if (folder / file).exists():
            raise RunError(
                f"{folder} holds a study: say the same `lifelong {command}` again with --out {folder}, and it goes on"
            )
    if not (folder / "config.yaml").exists():
        if (folder / "manifest.json").exists() and (folder / "checkpoint").is_dir():
            raise RunError(
                f"{folder} was made by fit in Python, whose network and stream have no names that a command could build them by: go on there with "
                "fit(..., out=...), and get what was learnt with learner_of(out, method, net, stream)"
            )
        raise RunError(f"{folder} is no run directory: it has no config.yaml; `lifelong run --out {folder}` makes one")
    return Config.load(folder / "config.yaml")


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


def _note(folder: Path, message: Message) -> None:
    about: dict[str, Any] = {"method": message.job.method, "seed": message.job.seed}
    if message.kind == "task":
        log(folder, "task", **about, after=message.task + 1, accuracy=message.accuracy)
    elif message.kind == "failed":
        log(folder, "failed", **about, error=message.text)
    elif message.kind == "damaged":
        log(folder, "damaged", checkpoint=message.text)
    elif message.kind == "warned":
        log(folder, "warned", **about, warning=message.text)


def _work(config: Config, job: Job, folder: Path, tell: Tell) -> None:
    """One job, from wherever its checkpoints left it. Failures are told; what no job of the run can do, and a stop, are raised."""
    import torch

    from .drawn import keep
    from .fitting import follow, graceful, learner_for
    from .method import Costs

    if not (folder / "config.yaml").exists():
        raise MethodError(f"{folder} is not seen from every machine: choose an --out on a file system that all share")
    try:
        tell(Message("began", job))
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        place = folder / job.folder
        with (
            graceful() as stop,
            claimed(place, wait=3 * LEASE) as claim,
            enough_memory(f"{job.method}, seed {job.seed}"),
            heard(lambda text: tell(Message("warned", job, text=text))),
        ):
            stream = config.build_stream(job.seed)
            learner = learner_for(
                config.build_method(job.method),
                config.build_net(),
                stream,
                config.build_training(),
                job.seed,
                _device(config.device),
                precision(config.precision),
            )
            if (folder / "order.json").exists():  # a run costs what its order took to find
                learner.costs = Costs(**json.loads((folder / "order.json").read_text(encoding="utf-8"))["costs"])
            store = Store(place, claim)
            told = 0.0

            def watch(index: int, pause: Any) -> None:
                nonlocal told
                if pause is not None and (pause.phase == "end" or time.monotonic() - told >= BETWEEN):
                    told = time.monotonic()
                    tell(Message("step", job, index, pause.step, pause.steps))

            def after(record: Record) -> None:
                keep(folder, job, learner, stream)
                tell(Message("task", job, record.rows - 2, accuracy=tuple(record.accuracy[-1])))

            try:
                follow(
                    learner,
                    stream,
                    store,
                    every=config.every,
                    watch=watch,
                    stop=stop,
                    after=after,
                    evaluate_every=config.evaluate_every,
                    budget=config.budget,
                )
            finally:
                for damage in store.damaged:
                    tell(Message("damaged", job, text=damage))
        tell(Message("done", job))
    except KeyboardInterrupt:
        tell(Message("stopped", job))
        raise
    except LifelongError as error:
        if isinstance(error, MethodError):
            raise
        tell(Message("failed", job, text=str(error)))
    except (
        Exception
    ) as error:  # somebody's network or data set: it is raised, and those who only see the directory learn of it
        tell(Message("failed", job, text=f"{type(error).__name__}: {error}"))
        raise


def _device(name: str) -> Any:
    import torch

    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise MethodError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); 'cpu' always can"
        ) from error


def precision(name: str) -> Any:
    """The type of the numbers that a run calculates in.

    Raises:
        MethodError: there is none of that name.
    """
    import torch

    known = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
    if name not in known:
        raise MethodError(f"precision {name!r}: expected one of {', '.join(known)}")
    return known[name]
