"""In which order? The effect of the order of tasks, and orders that are chosen: by difficulty, or by what transfers.

A curriculum is a function from stream to stream (``stream.reorder``). The one called *learned* is found in three steps: transfers
are measured (`lifelong.affinity`), a taxonomy is solved (`lifelong.taxonomy`), whose sources come before their targets, and among
the orders left a beam search takes the one of the best estimated transfer. The estimate is a matrix R̂ in the shape of R: a
network that has learnt o_1..o_m is for task i what the best of these tasks is, faded by each task that came since,

    R̂[m, i] = max_{k ≤ m} γ^(m−k) A[o_k, i]

where A[s, t] is the affinity of s for t over the largest there is for t. The goal is R̂'s ACC, the accuracy at the end, or its FWT,
what is brought to each coming task; the two ask for different orders, since neighbours learnt one after another help each other and
leave the rest to fade. The estimate is ours and has one constant, γ = 0.5. Whether what it recommends is better has to be measured, and is,
in ``docs/results.md``.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from torch import nn

from .affinity import Probe, Transfers, measure, name_of, planned
from .budget import Budget
from .checkpoint import write_atomically
from .claim import LEASE, claimed
from .config import Config
from .digest import digest, named
from .errors import DataError, MethodError, RunError, nearest
from .fitting import Build, learn, learner_for
from .jobs import no_run
from .matrix import Interval, RMatrix, interval
from .method import Costs, Method
from .pool import Engine, each
from .random import derive
from .run import Record
from .stream import Stream
from .taxonomy import Affinities, Taxonomy, solve
from .training import Training

__all__ = [
    "RULES",
    "Curriculum",
    "Found",
    "Study",
    "affinity_matrix",
    "best_order",
    "by_difficulty",
    "estimate",
    "from_transfers",
    "learned",
    "orders",
    "read_order",
    "recommend",
    "search",
    "settle",
    "slope",
    "study",
]

Curriculum = Callable[[Stream], Stream]
Goal = Literal["acc", "fwt"]
Order = tuple[int, ...]
RULES = ("learned", "random", "hard-first", "easy-first")
FADE = 0.5
WIDTH = 16


# --- orders ------------------------------------------------------------------------------------------------------------------
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


def read_order(path: Path, names: Sequence[str]) -> tuple[Order, Costs]:
    """An order from a file: a task's name a line, or the JSON that ``lifelong taxonomy`` and a run write (``{"order": [...]}``);
    and what it took to find, where the file says that.

    Raises:
        MethodError: it cannot be read, or does not have each task once.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree: dict[str, Any] = json.loads(text) if text.lstrip().startswith("{") else {"order": text.split("\n")}
        said = [str(name).strip() for name in tree["order"] if str(name).strip()]
        costs = Costs(**tree.get("costs", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MethodError(
            f"cannot read an order from {path} ({error}): expected one of {', '.join(RULES)}, or a file with a task's name a line"
        ) from error
    unknown = [n for n in said if n not in names]
    if unknown:
        raise MethodError(f"{path}: no task {unknown[0]!r}{nearest(unknown[0], names)}; there are: {', '.join(names)}")
    if sorted(said) != sorted(names):
        raise MethodError(f"{path}: expected each of {len(names)} tasks once, got {len(said)} ({', '.join(said)})")
    return tuple(list(names).index(n) for n in said), costs


@final
@dataclass(frozen=True)
class Found:
    """An order that was chosen: itself a curriculum. `why` is what the choice was made of, `costs` what it took."""

    order: Order
    costs: Costs
    why: Mapping[str, Any]

    def __call__(self, stream: Stream) -> Stream:
        return stream.reorder(self.order)

    def to_json(self, stream: Stream, rule: str) -> str:
        """``order.json``."""
        tree = {
            "rule": rule,
            "order": [stream[i].name for i in self.order],
            "costs": asdict(self.costs),
            "why": self.why,
        }
        return json.dumps(tree, indent=1)


def by_difficulty(
    stream: Stream,
    net: Build | nn.Module,
    training: Training,
    *,
    hardest: bool = False,
    seed: int = 0,
    fraction: float = 0.2,
) -> Found:
    """Easy tasks first, or the hardest. How hard a task is says a probe: a network that learns it alone, and its accuracy on
    training examples that were held out."""
    held, costs, score = stream.hold_out(fraction, seed), Costs(), []
    for i in range(len(held)):
        alone = held.subset([i])
        learner = learner_for(Method(), net, alone, training, seed)
        learner.learn(alone[0])
        score.append(learner.evaluate(alone)[0][0])
        costs = _sum(costs, learner.costs)
    chosen = sorted(range(len(held)), key=lambda i: score[i] if hardest else -score[i])
    return Found(tuple(chosen), costs, {"held-out accuracy alone": {t.name: s for t, s in zip(stream, score)}})


def learned(
    stream: Stream,
    net: Build | nn.Module,
    training: Training,
    *,
    probe: Probe | None = None,
    budget: float | None = None,
    seed: int = 0,
    folder: Path | None = None,
    jobs: int | Engine = 1,
    tell: Callable[[str], None] = lambda line: None,
    wait: float = 0.0,
) -> Found:
    """The order that the measured transfers recommend (see above).

    Args:
        budget: how many tasks may be sources in the taxonomy; half of them, if nothing is said.
        probe, folder, jobs, tell, wait: as `lifelong.affinity.measure` takes them.
    """
    found = measure(stream, net, training, probe, seed=seed, folder=folder, jobs=jobs, tell=tell, wait=wait)
    return from_transfers(found, budget)


def from_transfers(found: Transfers, budget: float | None = None, goal: Goal = "acc") -> Found:
    """The order that these transfers recommend."""
    table = found.affinities
    limit = math.ceil(len(found.tasks) / 2) if budget is None else budget
    taxonomy = solve(table.p, limit)
    chosen = recommend(table, taxonomy, found.tasks, goal)
    why = {
        "goal": goal,
        "budget": limit,
        "sources": list(taxonomy.sources),
        "transfers": [t.key for t in taxonomy.transfers],
    }
    return Found(chosen, found.costs, why)


def settle(
    config: Config, jobs: int | Engine = 1, tell: Callable[[str], None] = lambda line: None
) -> tuple[Config, str]:
    """A configuration whose order is the places of the tasks, in place of a rule or a file; and the text of ``order.json``, which
    says what it was made of and what it cost. A rule is applied to the stream, network and training of the first seed. Transfers that were
    measured before, of the same, are kept in the user's cache and read from there; what they cost counts all the same."""
    rule, bare = config.order, replace(config, order=None)
    seed = config.seeds[0]
    stream, net, training = bare.build_stream(seed), bare.build_net(), bare.build_training()
    if rule in ("hard-first", "easy-first"):
        tell(f"order {rule}: {len(stream)} networks are trained to see how hard each task is")
        found = by_difficulty(stream, net, training, hardest=rule == "hard-first", seed=seed)
    elif rule == "learned":
        tell(f"order learned: {planned(stream, training, Probe())}")
        import pooch

        probe = Probe()
        folder = Path(pooch.os_cache("lifelong")) / "transfers" / name_of(stream, net, training, probe, seed)
        found = learned(stream, net, training, probe=probe, seed=seed, folder=folder, jobs=jobs, tell=tell, wait=3600.0)
    elif rule == "random":
        draws = np.random.default_rng(derive(seed, "order"))
        found = Found(tuple(draws.permutation(len(stream)).tolist()), Costs(), {"seed": seed})
    elif isinstance(rule, str):
        order, costs = read_order(Path(rule), [t.name for t in stream])
        found = Found(order, costs, {"file": Path(rule).name})
    else:
        raise MethodError(f"order {rule}: expected one of {', '.join(RULES)}, or a file")
    tell(f"order {rule}: {', '.join(stream[i].name for i in found.order)}")
    return replace(config, order=found.order), found.to_json(stream, rule)


# --- the search --------------------------------------------------------------------------------------------------------------
def estimate(A: ArrayLike, order: Sequence[int], fade: float = FADE) -> RMatrix:
    """R̂ ``[T+1, T]``, columns in the order of learning, of affinities `A` ``[T, T]`` (source, target; 0..1)."""
    A = np.asarray(A, dtype=np.float64)[np.ix_(order, order)]
    R = np.zeros((len(A) + 1, len(A)))
    for m, row in enumerate(A):
        R[m + 1] = np.maximum(fade * R[m], row)
    return RMatrix(R)


def best_order(
    A: ArrayLike,
    goal: Goal = "acc",
    *,
    width: int = WIDTH,
    fade: float = FADE,
    before: Collection[tuple[int, int]] = (),
) -> Order:
    """The order of the greatest estimated ACC or FWT that a beam finds, of affinities `A` ``[T, T]`` (source, target).

    ACC is searched from the last task, which matters most, to the first; FWT from the first to the last.
    """
    A = np.asarray(A, dtype=np.float64)
    T = len(A)

    def kept(backwards: Order) -> float:
        return float(np.max([fade**k * A[i] for k, i in enumerate(backwards)], 0).mean())

    def brought(order: Order) -> float:
        return float(np.diagonal(estimate(A, order, fade).R[1:], offset=1).sum())

    if goal == "fwt":
        return search(brought, T, width=width, before=before)
    return search(kept, T, width=width, before=[(b, a) for a, b in before])[::-1]


def search(
    value: Callable[[Order], float], T: int, *, width: int = 1, before: Collection[tuple[int, int]] = ()
) -> Order:
    """The best order that a beam finds: all continuations of the `width` best beginnings, of which the best are kept, and so on.
    A width of 1 is the greedy choice.

    Args:
        value: how good an order is, or the beginning of one.
        T: of how many tasks.
        width: beginnings kept.
        before: pairs (a, b): a comes before b.

    Raises:
        DataError: `before` goes in a circle.
    """
    kept: list[Order] = [()]
    for _ in range(T):
        longer = [
            (*start, i)
            for start in kept
            for i in range(T)
            if i not in start and all(a in start for a, b in before if b == i)
        ]
        if not longer:
            raise DataError(f"the pairs {sorted(before)} go in a circle: no order has each first before its second")
        kept = sorted(longer, key=value, reverse=True)[:width]
    return kept[0]


def affinity_matrix(table: Affinities, tasks: Sequence[str]) -> NDArray[np.float64]:
    """A ``[T, T]``: the affinity of each task (row) for each (column), by single sources, over the largest of the column.

    Raises:
        DataError: a task has no affinity to or from any other.
    """
    T = len(tasks)
    A = np.zeros((T, T))
    for transfer, p in table.p.items():
        if len(transfer.needs) == 1 and transfer.target in tasks and transfer.needs[0] in tasks:
            s, t = tasks.index(transfer.needs[0]), tasks.index(transfer.target)
            A[s, t] = max(A[s, t], p)
    alone = [name for name, column in zip(tasks, A.T) if not column.any()]
    if alone:
        raise DataError(f"task {alone[0]!r} has no affinity: measure its transfers, or leave it out")
    return np.asarray(A / A.max(0))


def recommend(
    table: Affinities,
    taxonomy: Taxonomy | None,
    tasks: Sequence[str],
    goal: Goal = "acc",
    *,
    width: int = WIDTH,
    fade: float = FADE,
) -> Order:
    """The order of `tasks` whose estimated transfer is best, sources before targets. Where sources and targets of a taxonomy go in
    a circle, the circle's own order is left to the search.

    Raises:
        DataError: a task has no affinity to or from any other.
    """
    T, A = len(tasks), affinity_matrix(table, tasks)
    before = set()
    if taxonomy is not None:
        pairs = [(tasks.index(s), tasks.index(t)) for s, t in taxonomy.before if s in tasks and t in tasks]
        graph = np.zeros((T, T))
        for s, t in pairs:
            graph[s, t] = 1
        _, circle = connected_components(graph, connection="strong")
        before = {(s, t) for s, t in pairs if circle[s] != circle[t]}
    return best_order(A, goal, width=width, fade=fade, before=before)


# --- the effect of order -----------------------------------------------------------------------------------------------------


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
        jobs: how many processes of one thread, or an engine (see `lifelong.pool`).
        tell: is called with a line for each result.
        budget: what each may cost.

    Raises:
        DataError: an order that is none.
        RunError: the folder holds results of something else.
    """
    listed = tuple(tuple(o) for o in orders)
    for order in listed:
        stream.reorder(order)  # raises
    budget = budget or Budget()
    budget.check(method, net, stream, training)
    if folder is None:
        return _study(stream, listed, method, net, training, tuple(seeds), None, jobs, tell, budget)
    with claimed(folder):
        _same_study(folder, stream, method, net, training, budget)
        return _study(stream, listed, method, net, training, tuple(seeds), folder.absolute(), jobs, tell, budget)


def _study(
    stream: Stream,
    listed: tuple[Order, ...],
    method: Method,
    net: Build | nn.Module,
    training: Training,
    seeds: tuple[int, ...],
    folder: Path | None,
    jobs: int | Engine,
    tell: Callable[[str], None],
    budget: Budget,
) -> Study:
    R = np.full((len(listed), len(seeds), len(stream) + 1, len(stream)), np.nan)
    work, cells = [], []
    for (o, order), (s, seed) in itertools.product(enumerate(listed), enumerate(seeds)):
        place = None if folder is None else folder / "orders" / f"{'-'.join(map(str, order))}.{seed}.json"
        kept = None if place is None else _kept(place)
        if kept is not None:
            R[o, s] = kept.matrix.R
            continue
        work.append((stream, order, method, net, training, seed, budget, place))
        cells.append((o, s, place))
    total = len(listed) * len(seeds)
    if len(work) < total:
        tell(f"{total - len(work)} of {total} were there already")
    for n, (k, record) in enumerate(each(_learn, work, jobs), start=total - len(work) + 1):
        o, s, place = cells[k]
        R[o, s] = record.matrix.R
        if place is not None:
            write_atomically(place, json.dumps(record.to_json()))
            shutil.rmtree(place.with_suffix(""), ignore_errors=True)
        tell(f"{n}/{total}: order {o + 1}, seed {seeds[s]}: accuracy {record.matrix.acc:.3f}")
    return Study(tuple(t.name for t in stream), listed, seeds, R)


def _learn(
    stream: Stream,
    order: Order,
    method: Method,
    net: Build | nn.Module,
    training: Training,
    seed: int,
    budget: Budget,
    place: Path | None,
) -> Record:
    checkpoints = None if place is None else place.with_suffix("")  # beside the result
    return learn(method, net, stream.reorder(order), training, seed, checkpoints, budget=budget, wait=3 * LEASE)


def _kept(place: Path) -> Record | None:
    """A result that was written before; None where there is none, or it cannot be read: then it is made again."""
    try:
        return Record.from_json(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _same_study(
    folder: Path, stream: Stream, method: Method, net: Build | nn.Module, training: Training, budget: Budget
) -> None:
    about = {
        "stream": [stream.name, stream.scenario, stream.source, json.loads(json.dumps(stream.notes))],
        "tasks": [t.name for t in stream],
        "method": str(method),
        "net": named(net),
        "training": asdict(training),
        "set of examples, or network": digest(stream, net),
    }
    if budget != Budget():
        about["budget"] = asdict(budget)
    path = folder / "study.json"
    if not path.exists():
        no_run(folder)
        write_atomically(path, json.dumps(about, indent=1))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [k for k in {**before, **about} if before.get(k) != about.get(k)]
    if other:
        raise RunError(f"{folder} holds orders of another {other[0]}: choose another --out, or remove this one")


def _sum(a: Costs, b: Costs) -> Costs:
    return Costs(*(x + y for x, y in zip(asdict(a).values(), asdict(b).values())))
