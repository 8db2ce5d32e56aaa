"""Bridges to experiment trackers: what a run has measured, as TensorBoard, MLflow or Weights & Biases keep it.

A bridge reads a run directory as the page does (`lifelong.runs.run_status`), while the run goes on or afterwards, and hands on each row of
R with its costs as step `after`, at the time that ``events.jsonl`` gives it. The directory remains the truth: what a tracker
holds can be made of it anew. Files are written; nothing is sent anywhere, unless an address is given to MLflow.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, final

import yaml

from ..core.errors import MethodError, RunError, nearest
from ..core.yaml_io import flatten
from ..runs.run import Job
from ..runs.run_progress import JobNow, RunNow
from ..runs.run_status import Folder

__all__ = ["TRACKERS", "Sink", "write_to_tracker"]


class Sink(Protocol):
    """Where the numbers of one job go."""

    def row(self, after: int, values: Mapping[str, float], when: float) -> None:
        """What was measured when `after` tasks had been learnt, at the time `when` (seconds since 1970)."""

    def end(self, measures: Mapping[str, float], finished: bool, when: float) -> None:
        """No more rows come; the measures of a finished job."""


def write_to_tracker(folder: Path, to: str, out: str | None = None, follow: bool = False) -> str:
    """Hands a run's numbers to a tracker, one of its runs for each method and seed; gives where they are.

    Args:
        folder: the run's directory.
        to: tensorboard, mlflow or wandb.
        out: the tracker's directory (default: one of its name in `folder`); for MLflow also the address of a server.
        follow: go on until no process works on the run any more.

    Raises:
        RunError: no run there, the tracker's package is not installed, or its directory holds this run already.
    """
    if to not in TRACKERS:
        raise MethodError(f"no tracker called {to!r}{nearest(to, TRACKERS)}: expected one of {', '.join(TRACKERS)}")
    watched = Folder(folder)
    name = watched.root.name
    if watched.names().get(name) != watched.root:
        raise RunError(f"{folder} is no run directory: it has no config.yaml and no results.csv")
    place = out or str(folder / to)
    sinks: dict[Job, Sink] = {}
    told: dict[Job, int] = {}
    ended: set[Job] = set()

    def tell(run: RunNow) -> None:
        for j in run.jobs:
            when = run.started or run.seen or time.time()
            if j.record.rows and j.job not in sinks:
                sinks[j.job] = _open_sink(to, place, run, j, when)
            for after in range(j.record.rows):
                when = max(when, j.times.get(after, when))
                if after >= told.get(j.job, 0):
                    sinks[j.job].row(after, _values(run, j, after), when)
            told[j.job] = j.record.rows
            if j.state == "finished" and j.job not in ended:
                ended.add(j.job)
                sinks[j.job].end({k: v for k, v in run.summary(j).items() if not math.isnan(v)}, True, when)

    while True:
        run = watched.look(name)
        if run is None:
            raise RunError(f"{folder} is gone")
        tell(run)
        if not follow or run.state != "running":
            break
        time.sleep(1.0)
    for job in sinks.keys() - ended:
        sinks[job].end({}, False, run.seen or time.time())
    return place


def _values(run: RunNow, j: JobNow, after: int) -> dict[str, float]:
    """Row `after` of a job by the names that trackers show; what is not defined is left out."""
    record, row = j.record, j.record.accuracy[after]
    digits = len(str(len(run.tasks)))
    found = {f"accuracy/{i:0{digits}d} {_plain(n)}": v for i, (n, v) in enumerate(zip(run.tasks, row), start=1)}
    if after:
        found["accuracy of tasks seen"] = math.fsum(row[:after]) / after
    found["training seconds"] = math.fsum(record.train_seconds[: after + 1])
    found["parameters"], found["memory bytes"] = float(record.parameters[after]), float(record.memory_bytes[after])
    found["examples forward"] = float(sum(record.forward[: after + 1]))
    found["examples backward"] = float(sum(record.backward[: after + 1]))
    return {k: v for k, v in found.items() if not math.isnan(v)}


def _plain(name: str) -> str:
    return re.sub(r"[^\w .-]", "_", name)[:100]


def _configuration(run: RunNow) -> dict[str, str]:
    """The configuration by dotted key."""
    return {k: str(v) for k, v in flatten(yaml.safe_load(run.config) or {}).items()}


def _open_sink(to: str, place: str, run: RunNow, j: JobNow, when: float) -> Sink:
    try:
        return TRACKERS[to](place, run, j.job, when)
    except ImportError as error:
        raise RunError(f"{to} is not installed ({error}): pip install 'lifelong[{to}]'") from error


@final
class _TensorBoard:
    """Scalars in ``PLACE/METHOD/SEED``."""

    def __init__(self, place: str, run: RunNow, job: Job, when: float) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(place, job.method, str(job.seed))
        if folder.exists():
            raise RunError(
                f"{folder} is there already, and TensorBoard would show each point twice: choose another --out"
            )
        self.writer: Any = SummaryWriter(str(folder))
        self.tasks = len(run.tasks)
        self.writer.add_text("configuration", f"```\n{run.config}\n```", walltime=when)

    def row(self, after: int, values: Mapping[str, float], when: float) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, after, walltime=when)
        self.writer.flush()

    def end(self, measures: Mapping[str, float], finished: bool, when: float) -> None:
        for name, value in measures.items():
            self.writer.add_scalar(f"measures/{name}", value, self.tasks, walltime=when)
        self.writer.close()


@final
class _MLflow:
    """A run of the experiment that is called as the directory."""

    def __init__(self, place: str, run: RunNow, job: Job, when: float) -> None:
        os.environ.setdefault(
            "MLFLOW_DISABLE_TELEMETRY", "true"
        )  # before it is imported: nothing is reported to anybody
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        address, artifacts = place, None
        if "://" not in place:  # a database in a file, what MLflow itself now takes where it is told nothing
            folder = Path(place).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            address, artifacts = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        self.client: Any = MlflowClient(tracking_uri=address)
        self.metric: Any = Metric
        found = self.client.get_experiment_by_name(run.name)
        experiment = found.experiment_id if found else self.client.create_experiment(run.name, artifacts)
        made = self.client.create_run(experiment, int(when * 1000), run_name=f"{job.method} seed {job.seed}")
        self.id, self.tasks = made.info.run_id, len(run.tasks)
        tags = {"method": job.method, "seed": str(job.seed), "stream": run.stream, "scenario": run.scenario}
        asked = list(_configuration(run).items())
        for i in range(0, len(asked), 100):  # as many as it takes at once
            self.client.log_batch(self.id, params=[Param(k, v[:500]) for k, v in asked[i : i + 100]])
        self.client.log_batch(self.id, tags=[RunTag(k, v) for k, v in tags.items()])

    def row(self, after: int, values: Mapping[str, float], when: float) -> None:
        points = [self.metric(k, v, int(when * 1000), after) for k, v in values.items()]
        for i in range(0, len(points), 1000):
            self.client.log_batch(self.id, metrics=points[i : i + 1000])

    def end(self, measures: Mapping[str, float], finished: bool, when: float) -> None:
        self.row(self.tasks, measures, when)
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED", int(when * 1000))


@final
class _WandB:
    """A run kept offline below ``PLACE/wandb``; ``wandb sync`` sends it, for those who want that."""

    def __init__(self, place: str, run: RunNow, job: Job, when: float) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before it is imported: nothing is reported to anybody
        import wandb

        Path(place).mkdir(parents=True, exist_ok=True)
        self.run: Any = wandb.init(
            mode="offline",
            dir=place,
            project="lifelong",
            group=run.name,
            name=f"{run.name} {job.method} seed {job.seed}",
            config={**_configuration(run), "method": job.method, "seed": job.seed},
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, x_disable_stats=True, disable_git=True, save_code=False
            ),
        )

    def row(self, after: int, values: Mapping[str, float], when: float) -> None:
        self.run.log({**values, "_timestamp": when}, step=after)

    def end(self, measures: Mapping[str, float], finished: bool, when: float) -> None:
        self.run.summary.update(dict(measures))
        self.run.finish(exit_code=0 if finished else 1)


TRACKERS: dict[str, Callable[[str, RunNow, Job, float], Sink]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WandB,
}
