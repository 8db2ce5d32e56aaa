"""A run as independent jobs (one method, one seed each), in this process or in several."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoint import Store, locked, write_atomically
from .config import Config
from .errors import LifelongError, MethodError, RunError, enough_memory
from .pulse import pulse
from .run import Job, Record, Run, log, manifest

__all__ = ["Message", "execute", "precision", "recorded", "refuse", "resume"]


class Message(NamedTuple):
    """What a job says of itself."""

    kind: str  # "began", "step", "task", "done", "failed", "stopped"
    job: Job
    task: int = 0  # its index
    step: int = 0
    steps: int = 0
    text: str = ""


Tell = Callable[[Message], None]


def execute(
    config: Config, folder: Path, jobs: int = 1, tell: Tell = lambda message: None, again: bool = False, **extra: str
) -> tuple[Run, list[Message]]:
    """Runs all jobs of `config` in `folder`; gives the run and the messages of the jobs that failed.

    Args:
        jobs: how many processes; 1: this one.
        tell: is called with each message.
        again: go on with what is there.
        extra: further files of the directory, by name, written before the report.

    Raises:
        RunError: the directory is there already (and `again` is false), or in use.
        KeyboardInterrupt: stopped; everything learnt is saved.
    """
    import torch

    from .fitting import graceful, takes

    if not again:
        refuse(folder)
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:  # what cannot be is said before anything is made
        method = config.build_method(name)
        method.check(stream.scenario)
        with torch.random.fork_rng(devices=[]):
            takes(method.network(config.build_net()(stream.shape, stream.outputs)), stream)
    _device(config.device)
    precision(config.precision)
    with graceful() as stop, locked(folder), pulse(folder) as note:  # asked to stop, it finishes what it writes
        work = [Job(method, seed) for method in config.methods for seed in config.seeds]
        run = Run.of(config.build_stream(config.seeds[0]))
        if not again:
            write_atomically(folder / "manifest.json", json.dumps(manifest(run, config.seeds), indent=1))
            for name, text in extra.items():
                write_atomically(folder / name, text)
            write_atomically(folder / "config.yaml", config.to_yaml())  # last: from here on it can be resumed
        log(folder, "resumed" if again else "started", jobs=jobs)
        failed: list[Message] = []

        def hear(message: Message) -> None:
            if message.kind == "failed":
                failed.append(message)
            if message.kind in ("began", "step"):
                note(message.job, message.task, message.step, message.steps)
            elif message.kind == "task":
                note(message.job, message.task + 1, 0, 0)
            else:
                note(message.job, None, 0, 0)
            tell(message)

        try:
            if jobs == 1:
                for job in work:
                    if stop():
                        raise KeyboardInterrupt
                    _work(config, job, folder, hear)
            else:
                _spread(config, work, folder, min(jobs, len(work)), hear, stop)
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
_BEGUN = re.compile(r"\.lock|(manifest|order|progress)\.json|\.((manifest|order|progress)\.json|config\.yaml)\.\d+")


def refuse(folder: Path) -> None:
    """Raises `RunError` where a run's directory is there already."""
    if folder.exists() and (not folder.is_dir() or any(not _BEGUN.fullmatch(p.name) for p in folder.iterdir())):
        raise RunError(f"{folder} is there already: choose another --out, or go on with it: lifelong resume {folder}")


def resume(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises:
        RunError: there is none.
    """
    if not (folder / "config.yaml").exists():
        raise RunError(f"{folder} is no run directory: it has no config.yaml; `lifelong run --out {folder}` makes one")
    for file, command in (("study.json", "order"), ("measured.json", "affinity")):
        if (folder / file).exists():
            raise RunError(
                f"{folder} holds a study: say the same `lifelong {command}` again with --out {folder}, and it goes on"
            )
    return Config.load(folder / "config.yaml")


def recorded(folder: Path, job: Job) -> Record | None:
    """What a job in `folder` has measured by its newest checkpoint; None where that holds no such thing."""
    found = Store(folder / job.folder).newest()
    try:
        return None if found is None else Record.from_json(found["meta"]["record"])
    except (LookupError, TypeError, ValueError, RunError):
        return None  # going on from it says what is wrong


def _work(config: Config, job: Job, folder: Path, tell: Tell) -> None:
    """One job, from wherever its checkpoints left it. Failures are told; only a stop is raised."""
    import torch

    from .drawn import keep
    from .fitting import follow, graceful, learner_for
    from .method import Costs

    try:
        tell(Message("began", job))
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        place = folder / job.folder
        with graceful() as stop, locked(place), enough_memory(f"{job.method}, seed {job.seed}"):
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
            store = Store(place)
            told = 0.0

            def watch(index: int, pause: Any) -> None:
                nonlocal told
                if pause is None:
                    tell(Message("task", job, index))
                elif time.monotonic() - told > 0.2:
                    told = time.monotonic()
                    tell(Message("step", job, index, pause.step, pause.steps))

            def after(record: Record) -> None:
                keep(folder, job, learner, stream)
                log(
                    folder,
                    "task",
                    method=job.method,
                    seed=job.seed,
                    after=record.rows - 1,
                    accuracy=record.accuracy[-1],
                )

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
                )
            finally:
                for damage in store.damaged:
                    log(folder, "damaged", checkpoint=damage)
        tell(Message("done", job))
    except KeyboardInterrupt:
        with suppress(RunError):  # what cannot be written down is said
            log(folder, "interrupted", method=job.method, seed=job.seed)
        tell(Message("stopped", job))
        raise
    except LifelongError as error:
        with suppress(RunError):
            log(folder, "failed", method=job.method, seed=job.seed, error=str(error))
        if isinstance(error, MethodError):
            raise
        tell(Message("failed", job, text=str(error)))
    except (
        Exception
    ) as error:  # somebody's network or data set: it is raised, and those who only see the directory learn of it
        with contextlib.suppress(OSError):
            log(folder, "failed", method=job.method, seed=job.seed, error=f"{type(error).__name__}: {error}")
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


# --- several processes -------------------------------------------------------------------------------------------------
def _spread(config: Config, work: Sequence[Job], folder: Path, jobs: int, tell: Tell, stop: Callable[[], bool]) -> None:
    spawn = multiprocessing.get_context("spawn")
    todo, heard = spawn.SimpleQueue(), spawn.Queue()
    for item in [*work, *[None] * jobs]:
        todo.put(item)
    workers = [
        spawn.Process(target=_worker, args=(config.to_yaml(), str(folder), todo, heard, os.getpid()))
        for _ in range(jobs)
    ]
    for worker in workers:
        worker.start()
    stopped = False
    refused = ""
    try:
        while any(w.is_alive() for w in workers) or not heard.empty():
            if stop():
                raise KeyboardInterrupt
            try:
                message: Message = heard.get(timeout=0.2)
            except queue.Empty:
                continue
            stopped |= message.kind == "stopped"
            refused = message.text if message.kind == "refused" else refused
            tell(message)
    except KeyboardInterrupt:
        stopped = True
        for worker in workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGINT)
        for worker in workers:
            worker.join()
    if stopped:
        raise KeyboardInterrupt
    if refused:
        raise MethodError(refused)
    dead = [w.exitcode for w in workers if w.exitcode]
    if dead:
        raise RunError(
            f"a worker process ended with status {dead[0]}; what it had learnt is saved: lifelong resume {folder}"
        )


def _worker(text: str, folder: str, todo: Any, heard: Any, parent: int) -> None:
    import yaml

    def follow_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
    config = Config.from_keys(Config.flatten(yaml.safe_load(text)))
    while (job := todo.get()) is not None:
        try:
            _work(config, job, Path(folder), heard.put)
        except KeyboardInterrupt:
            return
        except MethodError as error:
            heard.put(Message("refused", job, text=str(error)))
            return
        except Exception:
            heard.put(Message("failed", job, text=traceback.format_exc()))
            raise
