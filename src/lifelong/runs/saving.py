"""`Learner.save`: a learner that somebody drives, in a folder that the commands read, as `fit` leaves one."""

from __future__ import annotations

import math
import uuid
from pathlib import Path

from ..core.errors import DataError, MethodError, RunError
from ..core.stream import Stream
from ..training.entering import called
from ..training.learner import Learner
from .checkpoint import Store
from .fitting import beside
from .lease import leased
from .naming import spec_of
from .run import Job, Record, Run, log
from .same_run import about, about_data, check_same
from .spec_files import beside_others, write_specification

__all__ = ["save"]


def save(learner: Learner, folder: str | Path, stream: Stream) -> Record:
    """See `Learner.save`; gives what was measured so far."""
    _can_be_saved(learner, stream)
    folder = Path(folder)
    spec = spec_of(
        learner.method,
        learner.net,
        lambda seed: stream,
        seeds=[learner.seed],
        training=learner.training,
        device=learner.device,
        dtype=learner.dtype,
    )
    job = Job(learner.method.name, learner.seed)
    given = learner.net if learner.ungrown is None else learner.ungrown
    words = about(learner, about_data(stream), network=given) | {"weights": []}  # those that it began with are gone
    spec = beside_others(folder, spec)
    place = folder / job.folder
    with leased(place) as lease:
        store = Store(place, lease)
        record = _measured(learner, stream, _before(learner, store, words))
        learner.saved_as = learner.saved_as or uuid.uuid4().hex
        state = learner.state_dict()
        state["meta"] |= {
            "record": record.to_json(),
            "about": {k: v for k, v in words.items() if k != "data"},
            "data": words["data"],
        }
        store.save(state)
    run = Run.of(stream)
    run.records = {**beside(folder, lambda seed: stream, lambda *given: learner.net), job: record}
    write_specification(folder, spec, run)
    run.write(folder)
    log(folder, "saved", method=job.method, seed=job.seed, after=learner.learnt)
    from ..report import write

    write(folder)
    return record


def _can_be_saved(learner: Learner, stream: Stream) -> None:
    """Raises `MethodError` or `DataError` where a command could not make this learner again."""
    if learner.make_optimizer != learner.training.build:
        raise MethodError(
            "this learner has an optimizer that was given in Python (optimizer=...), which no command can make: keep learner.state_dict() in a "
            "lifelong.runs.checkpoint.Store"
        )
    if learner.scenario != stream.scenario:
        raise MethodError(
            f"the learner's scenario is {learner.scenario!r}, the stream's {stream.scenario!r}: expected the stream that it learns"
        )
    if learner.grows == stream.announced:
        raise MethodError(
            f"the learner has grows={learner.grows}, and the stream says announced={stream.announced}: outputs grow where classes are not announced"
        )
    if learner.learnt > len(stream):
        raise DataError(
            f"the learner has learnt {learner.learnt} tasks, the stream has {len(stream)}: expected all of them, in order"
        )
    tasks = [called(task) for task in stream]
    begun = [*learner.met, *([] if learner.at is None else [learner.at.task])]
    for i, (name, there) in enumerate(zip(begun, [*tasks, "none"])):
        if name != there:
            raise DataError(
                f"task {i + 1} of the stream is {there}, and the learner has learnt {name}: expected the stream that it learns, in order"
            )


def _before(learner: Learner, store: Store, words: dict[str, object]) -> Record | None:
    """What an earlier call has measured.

    Raises:
        RunError: of another learner.
    """
    saved = store.newest()
    if saved is None:
        return None
    if learner.saved_as is None or saved["meta"].get("saved_as") != learner.saved_as:
        raise RunError(
            f"{store.folder} holds another learner (a script that is run again makes a new one): choose another folder, or go on with that one, "
            "learner.load_state_dict(Store(...).newest())"
        )
    check_same({k: v for k, v in saved["meta"].get("about", {}).items() if k != "weights"}, words, store.folder)
    return Record.from_json(saved["meta"]["record"])


def _measured(learner: Learner, stream: Stream, before: Record | None) -> Record:
    """The rows of R: those that were measured by an earlier call, that of now, and none for what nobody measured."""
    record = before or Record.empty(len(stream))
    if record.rows > learner.learnt + 1:
        raise RunError(
            f"the folder holds a learner that has learnt {record.rows - 1} tasks, and this one has learnt {learner.learnt}: choose another folder"
        )
    if record.rows == learner.learnt + 1 and learner.at is None:  # its weights may have changed since
        for cells in (record.accuracy, record.seconds, record.train_seconds, record.parameters, record.memory_bytes):
            cells.pop()
        record.forward.pop()
        record.backward.pop()
    while record.rows < learner.learnt:
        _unmeasured(record, learner, stream)
    if record.rows == learner.learnt and learner.at is None:
        record.add(learner, learner.evaluate(stream))
    elif record.rows == learner.learnt:  # within a task
        _unmeasured(record, learner, stream)
    return record


def _unmeasured(record: Record, learner: Learner, stream: Stream) -> None:
    nan = [math.nan] * record.T
    record.accuracy.append(nan)
    record.seconds.append(nan)
    record.n = record.n or [len(task.test) for task in stream]
    record.train_seconds.append(0.0)
    record.parameters.append(learner.parameters)
    record.memory_bytes.append(learner.memory_bytes)
    record.forward.append(0)
    record.backward.append(0)
