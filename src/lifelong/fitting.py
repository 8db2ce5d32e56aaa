"""`fit`: a method through a stream, from the untrained network to the last row of R."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .budget import Budget
from .checkpoint import Store
from .claim import claimed
from .digest import same_data, trace, worded
from .errors import DataError, MethodError, RunError, TrainingError, enough_memory
from .learner import Learner, Pause
from .method import Method, is_method
from .online import Trace
from .pulse import pulse
from .random import derive
from .ranks import ALONE, Ranks
from .run import Job, Record, Run
from .stream import Stream
from .training import Training
from .warned import heard

__all__ = ["Build", "fit", "follow", "graceful", "learn", "learner_for", "learner_of", "on_same_data", "takes"]

Build = Callable[[tuple[int, ...], int], nn.Module]  # input shape, outputs -> network
Watch = Callable[[int, Pause | None], None]  # index of the task, where it stands (None: evaluated)


def fit(
    method: Method,
    net: Build | nn.Module,
    stream: Stream | Callable[[int], Stream],
    *,
    seeds: int | Sequence[int] = 1,
    training: Training | None = None,
    out: str | Path | None = None,
    every: float = 30.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    watch: Watch | None = None,
    budget: Budget | None = None,
    evaluate_every: int | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Learns a stream's tasks in turn, once for each seed, and measures every task after each.

    Args:
        method: the idea against forgetting.
        net: makes a network of an input shape and a number of outputs (such as `MLP`); or a network, whose weights every
            seed then starts from.
        stream: the tasks, the same for every seed; or what makes a stream of a seed, such as ``lambda seed: permuted(seed=seed)``, so that
            intervals cover the draws of the stream as well (``--stream.seed each`` on the command line).
        seeds: 5 means 0 to 4; or a list.
        training: optimiser, epochs, batch size.
        out: a directory for results, a report, and checkpoints; where it holds an unfinished run of the same name, that is
            gone on with.
        every: seconds between checkpoints within a task.
        device, dtype: where and in which precision.
        watch: is called at each pause with the task's index and where training stands.
        budget: what a seed may cost.
        evaluate_every: steps within a task after which all tasks so far are measured, and again (a few more where a pass over the
            examples ends in between); default: at its end only.
        ranks: the processes that learn together, each of which calls this: `Ranks.here()`. The first one writes.

    Returns:
        The run: R matrices, measures and costs by seed; and in ``run.warnings`` the text of every `LifelongWarning`, each of which
        is shown once.
    """
    is_method(method)
    if not (isinstance(net, nn.Module) or callable(net)):
        raise MethodError(f"net {net!r}: expected a torch.nn.Module, or what makes one, such as MLP((100,))")
    training = training if training is not None else Training()
    numbers = _numbers(seeds)
    make = _maker(stream)
    first = make(numbers[0])
    if budget is not None:
        if budget.compute is not None and ranks.world > 1:
            raise MethodError(
                "a budget of compute counts one rank's passes, and ranks would stop at different steps: learn within it on one process"
            )
        budget.check(method, net, first, training)
    run = Run.of(first)
    if not isinstance(stream, Stream):
        run.notes["stream_seed"] = "each"
    elif "seed" in run.notes:
        run.notes.setdefault("stream_seed", run.notes["seed"])
    folder = None if out is None else Path(out)
    beside = {} if folder is None or ranks.rank else _beside(folder, make)

    with (
        heard(run.warnings.append, instead=False),
        nullcontext() if folder is None or ranks.rank else pulse(folder) as note,
    ):
        for seed in numbers:
            job, tasks = Job(method.name, seed), make(seed)
            if (len(tasks), tasks.scenario) != (len(first), first.scenario):
                raise DataError(
                    f"stream: of the seed {seed} it has {len(tasks)} tasks in the scenario {tasks.scenario!r}, of the seed {numbers[0]} "
                    f"{len(first)} in {first.scenario!r}: one run has as many for every seed"
                )

            def look(index: int, pause: Pause | None, job: Job = job) -> None:
                if note is not None:
                    note(job, index, *pause[:2]) if pause else note(job, index + 1, 0, 0)
                if watch is not None:
                    watch(index, pause)

            place = None if folder is None else folder / job.folder
            run.records[job] = learn(
                method,
                net,
                tasks,
                training,
                seed,
                place,
                every=every,
                device=device,
                dtype=dtype,
                watch=look,
                budget=budget,
                evaluate_every=evaluate_every,
                ranks=ranks,
            )
            if folder is not None and not ranks.rank:
                replace(run, records={**beside, **run.records}).write(folder)
    if folder is not None and not ranks.rank:
        from .report import write

        write(folder)
    return run


def _numbers(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, str) or (isinstance(seeds, int) and seeds < 1) or (isinstance(seeds, Sequence) and not seeds):
        raise MethodError(f"seeds {seeds!r}: expected how many (1 or more), or a list of them")
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def _maker(stream: Stream | Callable[[int], Stream]) -> Callable[[int], Stream]:
    """What gives the stream of a seed."""
    if isinstance(stream, Stream):
        return lambda seed: stream
    if not callable(stream):
        raise DataError(
            f"stream {stream!r}: expected a Stream, such as permuted(), or a function that makes one of a seed"
        )

    @functools.lru_cache(maxsize=2)
    def make(seed: int) -> Stream:
        found = stream(seed)
        if not isinstance(found, Stream):
            raise DataError(f"stream: of the seed {seed} it makes {found!r}, expected a Stream")
        return found

    return make


def _beside(folder: Path, make: Callable[[int], Stream]) -> dict[Job, Record]:
    """What other methods and seeds have measured in this directory, each on the stream of its seed.

    Raises:
        RunError: on other data.
    """
    found = {}
    for place in sorted((folder / "checkpoint").glob("*/*")):
        told = Store(place).told() if place.name.isdigit() else None
        if told is None:
            continue
        try:
            record = Record.from_json(told["record"])
            other = {**told["about"], "data": _met(told)}
        except (LookupError, TypeError, ValueError, RunError):
            continue  # of another version; going on from it says what is wrong
        _same_run({k: other[k] for k in ("scenario", "stream", "data")}, _about(None, make(int(place.name))), place)
        found[Job(place.parent.name, int(place.name))] = record
    return found


def learn(
    method: Method,
    net: Build | nn.Module,
    stream: Stream,
    training: Training,
    seed: int,
    place: Path | None = None,
    *,
    every: float = 30.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    watch: Watch | None = None,
    budget: Budget | None = None,
    evaluate_every: int | None = None,
    ranks: Ranks = ALONE,
    wait: float = 0.0,
) -> Record:
    """One seed of `fit`: a job that any process can do. `place` is a folder of its own for checkpoints, from which it goes on; `wait` are
    the seconds that it waits for another process to leave the folder.

    Raises:
        RunError: another process holds the folder.
        KeyboardInterrupt: stopped; what was learnt is saved.
    """
    learner = learner_for(method, net, stream, training, seed, device, dtype, ranks)  # refused before anything is made
    with graceful() as stop, ExitStack() as stack:
        claim = None if place is None or ranks.rank else stack.enter_context(claimed(place, wait))
        store = None if place is None else Store(place, claim)
        return follow(
            learner,
            stream,
            store,
            every=every,
            watch=watch,
            stop=stop,
            budget=budget,
            evaluate_every=evaluate_every,
        )


def learner_for(
    method: Method,
    net: Build | nn.Module,
    stream: Stream,
    training: Training,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> Learner:
    """The learner of one seed: its initial weights depend on the seed alone."""
    if isinstance(net, nn.Module):
        network = copy.deepcopy(net)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            network = net(stream.shape, stream.outputs)
    return Learner(
        network,
        method,
        training,
        scenario=stream.scenario,
        seed=seed,
        device=device,
        dtype=dtype,
        grows=not stream.announced,
        ranks=ranks,
        known=None if isinstance(net, nn.Module) else 0,  # a network that is made anew knows nothing
    )


def learner_of(
    out: str | Path,
    method: Method,
    net: Build | nn.Module,
    stream: Stream,
    *,
    training: Training | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Learner:
    """The learner that ``fit(..., out=out)`` left: ``learner.predict(x)`` answers, and ``learner.net`` is the trained network.

    >>> import tempfile
    >>> from lifelong import EWC, MLP, Training, fit, permuted
    >>> stream, out = permuted("digits", tasks=2, examples=100), tempfile.mkdtemp()
    >>> training = Training(lr=0.1, batch_size=32)
    >>> run = fit(EWC(1.0), MLP((20,)), stream, training=training, out=out)
    >>> learner = learner_of(out, EWC(1.0), MLP((20,)), stream, training=training)
    >>> bool(learner.evaluate(stream)[0][0] == run.matrix().R[-1, 0])
    True

    Args:
        out, method, net, stream, training, seed, device, dtype: what `fit` was given, and which of its seeds.

    Raises:
        RunError: nothing was saved there, or by a run of other settings or data.
    """
    place = Path(out) / Job(method.name, seed).folder
    learner = learner_for(method, net, stream, training if training is not None else Training(), seed, device, dtype)
    saved = Store(place).newest()
    if saved is None:
        raise RunError(
            f"{place} holds no checkpoint: expected the folder that fit(..., out=...) was given, and one of its seeds"
        )
    _resumed(learner, stream, saved, _about(learner, stream), place)
    return learner


@torch.no_grad()
def takes(net: nn.Module, stream: Stream) -> None:
    """Raises `MethodError` where the network cannot take the stream's inputs."""
    x = next(stream[0].test.all(1)).x
    try:
        net.eval()(x)
    except (RuntimeError, IndexError) as error:
        raise MethodError(
            f"the network cannot take inputs {x.dtype} {list(x.shape[1:])} ({str(error).splitlines()[0]}): words need --net memory_network or "
            "reader, images mlp or resnet18"
        ) from error


def follow(
    learner: Learner,
    stream: Stream,
    store: Store | None = None,
    *,
    every: float = 30.0,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    after: Callable[[Record], None] = lambda record: None,
    budget: Budget | None = None,
    evaluate_every: int | None = None,
) -> Record:
    """A learner through a stream, from where `store` left it: the whole job in one loop. With `evaluate_every` all tasks so far are measured
    within a task as well, after so many steps and again.

    Raises:
        KeyboardInterrupt: `stop` became true; what was learnt is saved.
        TrainingError: the loss is no number any more; the checkpoint before is kept.
        RunError: the checkpoint is another run's; the disk is full; memory is short; it went beyond its budget. The checkpoint before is kept.
    """
    if evaluate_every is not None and evaluate_every < 1:
        raise MethodError(f"evaluate_every {evaluate_every}: expected at least 1 step")
    learner.every = evaluate_every
    with enough_memory(f"{learner.method.name}, seed {learner.seed}"):
        return _follow(learner, stream, store, every, watch, stop, after, budget or Budget())


def _follow(
    learner: Learner,
    stream: Stream,
    store: Store | None,
    every: float,
    watch: Watch | None,
    stop: Callable[[], bool],
    after: Callable[[Record], None],
    budget: Budget,
) -> Record:
    record, about = Record.empty(len(stream)), {} if store is None else _about(learner, stream)
    if learner.every is not None:
        record.trace = Trace(learner.every)
    saved = store.newest() if store is not None else None
    if store is not None and saved is not None:
        record = _resumed(learner, stream, saved, about, store.folder)

    def save() -> None:
        if store is None:
            return
        learner.verify()
        if not learner.ranks.rank:
            state = learner.state_dict()
            words = {k: v for k, v in about.items() if k != "data"}
            state["meta"] |= {"record": record.to_json(), "about": words, "data": about["data"]}
            store.save(state)

    learner.limit = budget.share(learner.learnt, len(stream))
    if not record.rows:
        record.add(learner, learner.evaluate(stream))
    while learner.learnt < len(stream):
        index = learner.learnt
        task = stream[index]
        if learner.method.once and index + 1 < len(stream):
            learner.remember(task)
            record.skip()
            continue
        learner.limit = budget.share(index, len(stream))
        last_save = time.monotonic()
        reached = 0 if learner.at is None else learner.at.step
        for pause in learner.steps(task):
            if watch is not None:
                watch(index, pause)
            reached = pause.step
            if record.trace is not None and pause.phase == "train" and record.trace.due(index, pause.step):
                record.trace.add(index, pause.step, learner.evaluate(stream.tasks[: index + 1]))
            stopping = learner.ranks.total(stop()) > 0
            if stopping or time.monotonic() - last_save >= every:
                if not bool(pause.loss.isfinite()):
                    raise TrainingError(
                        f"the loss is {float(pause.loss)} in task {index + 1}, step {pause.step} of {pause.steps}; the last checkpoint is "
                        "kept"
                    )
                save()
                last_save = time.monotonic()
            if stopping:
                raise KeyboardInterrupt
        measured = learner.evaluate(stream)
        record.add(learner, measured)
        if record.trace is not None:
            record.trace.add(index, reached, measured, cost=False)
        budget.keep(record, learner.method.name)
        save()
        after(record)
        if watch is not None:
            watch(index, None)
        if stop():
            raise KeyboardInterrupt
    return record


def _about(learner: Learner | None, stream: Stream) -> dict[str, Any]:
    """What a checkpoint is of, in words, and a trace of the data: another run's is told from it."""
    tasks = json.dumps([[t.name, len(t.train), len(t.test)] for t in stream]).encode()
    said = {
        "scenario": stream.scenario,
        "stream": f"{len(stream)} tasks, by names and sizes {hashlib.sha256(tasks).hexdigest()[:12]}",
        "data": trace(stream),
    }
    if learner is None:
        return said
    words = {
        "method": learner.method,
        "training": learner.training,
        "precision": learner.dtype,
        "network": learner.net,
    }
    return {**{k: worded(v) for k, v in words.items()}, "seed": learner.seed, **said}


def _met(meta: dict[str, Any]) -> list[Any]:
    """The trace of the data of which a checkpoint is made: what was not trained on yet may have been mended since."""
    begun = 2 * (meta["learnt"] + (meta["at"] is not None))
    return [part if i % 2 or i < begun else None for i, part in enumerate(meta.get("data", []))]


def on_same_data(meta: dict[str, Any], stream: Stream, place: Path) -> None:
    """Raises `RunError` where a checkpoint, of which `meta` tells, was made on other data than the stream's."""
    _same_run({"data": _met(meta)}, {"data": trace(stream)}, place)


def _same_run(was: dict[str, Any], here: dict[str, Any], place: Path) -> None:
    """Raises `RunError` where a checkpoint is of another run than this one."""
    for key, value in was.items():
        if key == "data" and (not value or same_data(value, here[key])):  # none: of a version before
            continue
        if key == "data":
            changed = [i for i, (a, b) in enumerate(zip(value, here[key])) if not same_data([a], [b])]
            part = (
                f"the {'test' if changed[0] % 2 else 'training'} examples of task {changed[0] // 2 + 1}"
                if changed
                else "the tasks"
            )
            what = f"its data are others ({part})"
        elif value != here.get(key):
            first = next(
                ((a, b) for a, b in zip(str(value).split("\n"), str(here.get(key)).split("\n")) if a != b), None
            )
            a, b = first or (value, here.get(key))
            what = f"its {key} is {_short(a)}, here it is {_short(b)}"
        else:
            continue
        raise RunError(f"the checkpoint in {place} is another run's: {what}; choose another --out, or remove it")


def _resumed(learner: Learner, stream: Stream, saved: dict[str, Any], about: dict[str, Any], place: Path) -> Record:
    """Takes `learner` to where a checkpoint was saved; gives what had been measured by then."""
    meta = saved["meta"]
    try:
        _same_run({**meta.get("about", {}), "data": _met(meta)}, about, place)
        record = Record.from_json(meta["record"])
        before = None if record.trace is None else record.trace.every
        if before != learner.every:
            raise RunError(
                f"this run was begun with evaluate_every {before}, not {learner.every}: say the same, or begin another"
            )
        learner.load_state_dict(saved, past=stream.tasks[: meta["learnt"]])
        if len(stream) != record.T or record.rows != learner.learnt + 1:
            raise ValueError(f"{record.rows} rows of {record.T} tasks after {learner.learnt} of {len(stream)}")
    except (RunError, DataError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = str(error).splitlines()[:2]
        raise RunError(
            f"the checkpoint in {place} does not fit this run ({type(error).__name__}: {' '.join(why)}): another one saved it, or it was "
            "altered; choose another --out, or remove it"
        ) from error
    return record


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) <= 200 else f"{said[:200]}..."


@contextmanager
def graceful() -> Iterator[Callable[[], bool]]:
    """Within it the first Ctrl-C (or SIGTERM) only asks to stop at the next pause, where everything can be saved; the
    second stops at once."""
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
