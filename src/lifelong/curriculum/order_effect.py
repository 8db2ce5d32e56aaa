"""What the order of tasks does: a stream learnt in several orders, and what came of each."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..core.errors import MethodError, RunError
from ..core.files import write_atomically
from ..core.fingerprint import digest, named
from ..core.method import Method
from ..core.random import derive
from ..core.stream import Stream
from ..measures.budget import Budget
from ..measures.matrix import Interval, RMatrix, interval
from ..runs.executor import Engine
from ..runs.fitting import RECORDS, learn
from ..runs.jobs import no_run
from ..runs.lease import LEASE_SECONDS, leased
from ..runs.memory_needed import check_budget
from ..runs.naming import spec_of
from ..runs.results import Name, Results, fingerprint, gather
from ..runs.run import Job, Record
from ..runs.same_run import begins
from ..runs.spec import RunSpec
from ..training.build import Build
from ..training.settings import Training
from .order_search import Order

__all__ = ["Study", "orders", "slope", "study", "study_of"]

_SAID = ("device", "precision", "evaluate_every")  # of a specification, in study.json where they are not the usual ones


def orders(T: int, count: int, seed: int = 0) -> list[Order]:
    """`count` different orders of T tasks at random; all T! of them, if they are not more.

    Raises:
        MethodError: fewer than one.
    """
    if count < 1:
        raise MethodError(f"orders {count}: expected at least 1")
    if T < 20 and math.factorial(T) <= count:
        return list(itertools.permutations(range(T)))
    draws = np.random.default_rng(derive(seed, "orders"))
    found: dict[Order, None] = {}
    while len(found) < count:
        found[tuple(draws.permutation(T).tolist())] = None
    return list(found)


def slope(x: ArrayLike, y: ArrayLike) -> Interval:
    """The least-squares slope of y on x ``[n]`` with its standard error and 95% interval (Student's t, n−2). NaN where x does not
    vary; the interval is NaN with fewer than three points."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n, dx = len(x), x - x.mean()
    if not np.ptp(x):
        return Interval(math.nan, math.nan, math.nan, n)
    b = float(dx @ y / (dx @ dx))
    if n < 3:
        return Interval(b, math.nan, math.nan, n)
    from scipy.special import stdtrit

    rest = y - y.mean() - b * dx
    error = float(np.sqrt(rest @ rest / (n - 2) / (dx @ dx)))
    return Interval(b, error, float(stdtrit(n - 2, 0.975)) * error, n)


@final
@dataclass(frozen=True, eq=False)
class Study:
    """A stream learnt in several orders: ``R[o, s]`` ``[T+1, T]`` of order o with seed s, columns in the order of learning."""

    tasks: tuple[str, ...]
    orders: tuple[Order, ...]
    seeds: tuple[int, ...]
    R: NDArray[np.float64]  # [O, S, T+1, T]

    def values(self, measure: str) -> NDArray[np.float64]:
        """acc, bwt, fwt or another measure of `RMatrix`, ``[O, S]``."""
        return np.array([[getattr(RMatrix(R), measure) for R in by_seed] for by_seed in self.R])

    def by_order(self, measure: str) -> list[Interval]:
        """Each order's mean over the seeds with its interval."""
        return [interval(row) for row in self.values(measure)]

    def over_orders(self, measure: str) -> Interval:
        """The mean over orders (each the mean of its seeds) with its interval."""
        return interval(self.values(measure).mean(1))

    def spread(self, measure: str) -> tuple[float, float]:
        """The standard deviation between the orders' means, and that between the seeds of one order (NaN with one seed)."""
        V = self.values(measure)
        between = float(V.mean(1).std(ddof=1)) if len(V) > 1 else math.nan
        return between, float(np.sqrt(V.var(1, ddof=1).mean())) if V.shape[1] > 1 else math.nan

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each task stands in each order, ``[O, T]`` by task."""
        return np.argsort(np.array(self.orders), axis=1)

    def wants(self) -> dict[str, Interval]:
        """By task, what each place later that it comes does to the accuracy on *all* tasks at the end (ACC): below 0 the stream
        wants it early, above 0 late."""
        acc = self.values("acc").mean(1)
        return {name: slope(self.places[:, i], acc) for i, name in enumerate(self.tasks)}

    def own(self) -> dict[str, Interval]:
        """By task, what each place later that it comes does to its own accuracy at the end."""
        last = self.R[:, :, -1].mean(1)  # [O, T] by place
        final_ = np.take_along_axis(last, self.places, 1)
        return {name: slope(self.places[:, i], final_[:, i]) for i, name in enumerate(self.tasks)}

    def ranked(self, measure: str = "acc") -> list[int]:
        """The orders from the best to the worst."""
        return [int(o) for o in np.argsort(-self.values(measure).mean(1), kind="stable")]


def study(
    stream: Stream,
    orders: Iterable[Sequence[int]],
    method: Method,
    net: Build | nn.Module,
    training: Training,
    *,
    seeds: Sequence[int] = (0,),
    folder: Path | None = None,
    jobs: int | Engine = 1,
    tell: Callable[[str], None] = lambda line: None,
    budget: Budget | None = None,
) -> Study:
    """Learns a stream in each of several orders with each seed.

    Args:
        stream, method, net, training: as `fit` takes them.
        folder: where each result is kept, so that a later call goes on from there.
        jobs: how many processes of one thread, or an engine (see `lifelong.runs.executor`).
        tell: is called with a line for each result.
        budget: what each may cost.

    Raises:
        DataError: an order that is none.
        RunError: the folder holds results of something else.
    """
    spec = spec_of(method, net, lambda seed: stream, seeds=seeds, training=training, budget=budget)
    return _learnt(_Runs(spec, stream, orders, tell, handed=True), folder, jobs)


def study_of(
    spec: RunSpec,
    orders: Iterable[Sequence[int]],
    *,
    folder: Path | None = None,
    jobs: int | Engine = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Study:
    """`study` of what a specification names: each process builds the stream, the method and the network by itself.

    Args:
        spec: a run of one method. The orders are those of its stream, as it is without an order.
        orders, folder, jobs, tell: see `study`.
    """
    bare = replace(spec, order=None)
    return _learnt(_Runs(bare, bare.build_stream(spec.seeds[0]), orders, tell, handed=False), folder, jobs)


def _learnt(runs: _Runs, folder: Path | None, jobs: int | Engine) -> Study:
    if folder is None:
        return runs.learnt(None, jobs)
    with leased(folder):
        _same_study(folder, runs.about)
        return runs.learnt(Results(folder.absolute() / "orders", RECORDS), jobs)


@final
class _Runs:
    """The runs of a study: a stream in each of its orders, with each seed.

    Args:
        spec: what is run; of one method.
        stream: what its orders are of.
        orders: of its tasks.
        tell: is called with a line for each result.
        handed: the stream goes along to whoever learns it; otherwise it is built there.

    Raises:
        DataError: an order that is none.
        MethodError: a budget that cannot be kept.
    """

    def __init__(
        self, spec: RunSpec, stream: Stream, orders: Iterable[Sequence[int]], tell: Callable[[str], None], handed: bool
    ) -> None:
        [method] = spec.methods
        self.stream, self.tell = stream, tell
        self.orders = tuple(tuple(o) for o in orders)
        self.streams = [stream.reorder(order) for order in self.orders]
        self.handed = handed
        if handed:  # a maker of streams need not go along
            spec = replace(spec, objects={k: v for k, v in spec.objects.items() if k != "stream"})
        self.spec = spec
        self.cells = [(o, Job(method, seed)) for o in range(len(self.orders)) for seed in spec.seeds]
        self.done = 0
        self.method, self.net, self.training = spec.build_method(method), spec.build_net(), spec.build_training()
        check_budget(spec.budget, self.method, self.net, stream, self.training)

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """All that the results depend on, besides their order and seed."""
        stream, spec = self.stream, self.spec
        found: dict[str, Any] = {
            "stream": [stream.name, stream.scenario, stream.source, json.loads(json.dumps(stream.notes))],
            "tasks": [t.name for t in stream],
            "method": str(self.method),
            "net": named(self.net),
            "training": asdict(self.training),
            "set of examples, or network": digest(stream, self.net),
        }
        if spec.budget != Budget():
            found["budget"] = asdict(spec.budget)
        usual = RunSpec()
        return found | {k: getattr(spec, k) for k in _SAID if getattr(spec, k) != getattr(usual, k)}

    def learnt(self, results: Results[Record] | None, jobs: int | Engine) -> Study:
        """All of them: read where they were learnt before, learnt where not."""
        marks = {seed: "" if results is None else self._mark(seed) for seed in self.spec.seeds}
        names = [self._name(cell, marks[cell[1].seed]) for cell in self.cells]
        places = [None if results is None else results.unfinished(name) for name in names]
        work = [(*self._job(cell), place) for cell, place in zip(self.cells, places)]
        found = gather(_learn, names, work, results, jobs, already=self._already, made=self._made)
        T, shape = len(self.stream), (len(self.orders), len(self.spec.seeds))
        R = np.array([record.matrix.R for record in found]).reshape(*shape, T + 1, T)
        return Study(tuple(t.name for t in self.stream), self.orders, self.spec.seeds, R)

    def _mark(self, seed: int) -> str:
        """A fingerprint of all that the results of a seed depend on, besides their order."""
        return fingerprint([self.about, dict(self.spec.sha256), begins(self.spec, self.stream, seed), seed])

    def _name(self, cell: tuple[int, Job], mark: str) -> Name:
        o, job = cell
        order = self.orders[o]
        return Name(f"{'-'.join(map(str, order))}.{job.seed}", fingerprint([mark, order]))

    def _job(self, cell: tuple[int, Job]) -> tuple[RunSpec, Job, Stream | None]:
        o, job = cell
        spec = replace(self.spec, order=self.orders[o], seeds=(job.seed,))
        return spec, job, self.streams[o] if self.handed else None

    def _already(self, count: int) -> None:
        self.done = count
        self.tell(f"{count} of {len(self.cells)} were there already")

    def _made(self, index: int, record: Record) -> None:
        self.done += 1
        o, job = self.cells[index]
        self.tell(f"{self.done}/{len(self.cells)}: order {o + 1}, seed {job.seed}: accuracy {record.matrix.acc:.3f}")


def _learn(spec: RunSpec, job: Job, stream: Stream | None, place: Path | None) -> Record:
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    return learn(spec, job, place, stream=stream, wait=3 * LEASE_SECONDS)


def _same_study(folder: Path, about: Mapping[str, Any]) -> None:
    """A folder belongs to one study: what it is of stands in ``study.json``."""
    path = folder / "study.json"
    if not path.exists():
        no_run(folder)
        write_atomically(path, json.dumps(about, indent=1))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [k for k in {**before, **about} if before.get(k) != about.get(k)]
    if other:
        raise RunError(f"{folder} holds orders of another {other[0]}: choose another --out, or remove this one")
