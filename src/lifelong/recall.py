"""What a run has learnt, brought back from its newest checkpoint: to be asked, judged, or exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from .checkpoint import Store
from .config import Config
from .errors import MethodError, RunError
from .fitting import learner_for, on_same_data
from .jobs import precision, resume
from .learner import Learner
from .run import Job, Record
from .stream import Stream

__all__ = ["Recalled", "recall"]


@final
@dataclass(frozen=True, eq=False)
class Recalled:
    """One job of a run: what it was asked to do, what it has measured, and the learner as it stands."""

    config: Config
    job: Job
    stream: Stream
    learner: Learner
    record: Record


def recall(folder: Path, method: str | None = None, seed: int | None = None) -> Recalled:
    """The learner of `method` and `seed` (default: the run's first) in the run directory `folder`.

    Raises:
        RunError: no run there, or none that has learnt anything; its data are others now.
        MethodError: no such method or seed.
    """
    config = resume(folder)
    job = Job(config.methods[0] if method is None else method, config.seeds[0] if seed is None else seed)
    if job.method not in config.methods or job.seed not in config.seeds:
        raise MethodError(
            f"{folder} has no {job.method} with seed {job.seed}; it has {', '.join(config.methods)} with seeds "
            f"{', '.join(map(str, config.seeds))}"
        )
    saved = Store(folder / job.folder).newest()
    if saved is None:
        raise RunError(
            f"{folder} has no checkpoint of {job.method} with seed {job.seed} yet: let it learn a task first"
        )
    stream = config.build_stream(job.seed)
    on_same_data(saved["meta"], stream, folder / job.folder)
    learner = learner_for(
        config.build_method(job.method),
        config.build_net(),
        stream,
        config.build_training(),
        job.seed,
        dtype=precision(config.precision),
    )
    record = Record.from_json(saved["meta"].pop("record"))
    learner.load_state_dict(saved, past=stream.tasks[: saved["meta"]["learnt"]])
    return Recalled(config, job, stream, learner, record)
