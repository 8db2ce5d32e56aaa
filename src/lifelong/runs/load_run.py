"""What a run has learnt, brought back from its newest checkpoint: to be asked, judged, or exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from ..core.code import is_code
from ..core.errors import MethodError, RunError
from ..core.stream import Stream
from ..training.learner import Learner
from .checkpoint import Store
from .jobs import resume
from .run import Job, Record
from .same_run import on_same_data
from .spec import NOTHING, Permission, RunSpec

__all__ = ["LoadedRun", "load_run"]


@final
@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One job of a run: what it was asked to do, what it has measured, and the learner as it stands."""

    spec: RunSpec
    job: Job
    stream: Stream
    learner: Learner
    record: Record


def load_run(
    folder: Path, method: str | None = None, seed: int | None = None, permission: Permission = NOTHING
) -> LoadedRun:
    """The learner of `method` and `seed` (default: the run's first) in the run directory `folder`.

    Raises:
        RunError: no run there, or none that has learnt anything; its data are others now.
        MethodError: no such method or seed; code that was not allowed; what has no name and was given none.
    """
    spec = resume(folder, permission)
    if method is not None and is_code(method):
        method = spec.methods[0]
    job = Job(spec.methods[0] if method is None else method, spec.seeds[0] if seed is None else seed)
    if job.method not in spec.methods or job.seed not in spec.seeds:
        raise MethodError(
            f"{folder} has no {job.method} with seed {job.seed}; it has {', '.join(spec.methods)} with seeds "
            f"{', '.join(map(str, spec.seeds))}"
        )
    saved = Store(folder / job.folder).newest()
    if saved is None:
        raise RunError(
            f"{folder} has no checkpoint of {job.method} with seed {job.seed} yet: let it learn a task first"
        )
    stream = spec.build_stream(job.seed)
    on_same_data(saved["meta"], stream, folder / job.folder)
    learner = replace(spec, device="cpu").build_learner(job.method, job.seed, stream)
    record = Record.from_json(saved["meta"].pop("record"))
    learner.load_state_dict(saved, past=stream.tasks[: saved["meta"]["learnt"]])
    return LoadedRun(spec, job, stream, learner, record)
