"""`fit`: a method through a stream, from the untrained network to the last row of R."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from ..core.contexts import Costs
from ..core.errors import DataError, MethodError, RunError
from ..core.method import Method, is_method
from ..core.ranks import ALONE, Ranks
from ..core.stream import Stream
from ..core.warnings_heard import heard
from ..measures.budget import Budget
from ..training.build import Build, learner_for
from ..training.learner import Learner
from ..training.plan import Pause
from ..training.settings import Training
from .checkpoint import Store
from .generated_samples import save_samples
from .heartbeat import Note, heartbeat
from .lease import leased
from .memory_needed import check_budget
from .naming import spec_of, takes_seed
from .results import Results, json_codec
from .run import Job, Record, Run, log
from .same_run import about, about_data, about_weights, check_same, data_met, name_of, resumed
from .spec import RunSpec
from .spec_files import beside_others, write_specification
from .stream_loop import Watch, follow, graceful

__all__ = ["RECORDS", "beside", "fit", "learn", "learner_of"]

RECORDS = json_codec(Record.to_json, Record.from_json)


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
            seed then starts from (where `out` is gone on with, the same weights as before).
        stream: the tasks, the same for every seed; or what makes a stream of a seed, such as ``lambda seed: permuted(seed=seed)``, and gets it
            as ``seed=`` if it has a parameter of that name, so that intervals cover the draws of the stream as well (``--stream.seed each`` on the command line).
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
        check_budget(budget, method, net, first, training, ranks=ranks)
    spec = spec_of(
        method,
        net,
        lambda seed: _alike(make(seed), first, seed, numbers[0]),
        seeds=numbers,
        training=training,
        device=device,
        dtype=dtype,
        every=every,
        evaluate_every=evaluate_every,
        budget=budget,
        maker=None if isinstance(stream, Stream) else stream,
    )
    run = _begun(stream, first)
    folder = None if out is None else Path(out)
    if folder is not None and not (folder / "config.yaml").exists():
        spec.build_learner(
            method.name, numbers[0], first, ranks
        )  # what cannot be is refused before anything is written
    with heard(run.warnings.append, instead=False), _written(folder, spec, run, make, ranks) as note:
        for seed in numbers:
            job = Job(method.name, seed)
            run.records[job] = learn(spec, job, folder, watch=_noted(job, note, watch), ranks=ranks)
            note.results()
    return run


def _numbers(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, str) or (isinstance(seeds, int) and seeds < 1) or (isinstance(seeds, Sequence) and not seeds):
        raise MethodError(f"seeds {seeds!r}: expected how many (1 or more), or a list of them")
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def _begun(stream: Stream | Callable[[int], Stream], first: Stream) -> Run:
    """A run with nothing in it yet, which says what its seeds' streams are drawn with."""
    run = Run.of(first)
    if not isinstance(stream, Stream):
        run.notes["stream_seed"] = "each"
    elif "seed" in run.notes:
        run.notes.setdefault("stream_seed", run.notes["seed"])
    return run


def _alike(stream: Stream, first: Stream, seed: int, first_seed: int) -> Stream:
    """The stream of a seed.

    Raises:
        DataError: it has other tasks than that of the first seed, by number or scenario.
    """
    if (len(stream), stream.scenario) != (len(first), first.scenario):
        raise DataError(
            f"stream: of the seed {seed} it has {len(stream)} tasks in the scenario {stream.scenario!r}, of the seed {first_seed} "
            f"{len(first)} in {first.scenario!r}: one run has as many for every seed"
        )
    return stream


class _Notes:
    """What `fit` writes into its folder while it goes on; nothing, where it has none."""

    def __init__(self, folder: Path | None, run: Run, beside: Mapping[Job, Record], place: Note | None) -> None:
        self.folder, self.run, self.beside, self.place = folder, run, beside, place

    def at(self, job: Job, index: int, pause: Pause | None) -> None:
        """Where a job stands."""
        if self.folder is None or self.place is None:
            return
        if pause:
            self.place(job, index, *pause[:2])
        else:
            self.place(job, index + 1, 0, 0)
            log(self.folder, "task", method=job.method, seed=job.seed, after=index + 1)

    def results(self) -> None:
        """What has been measured."""
        if self.folder is not None:
            replace(self.run, records={**self.beside, **self.run.records}).write(self.folder)


@contextmanager
def _written(
    folder: Path | None, spec: RunSpec, run: Run, make: Callable[[int], Stream], ranks: Ranks
) -> Iterator[_Notes]:
    """Within it the folder of a run says what the run is, and where it stands; afterwards it has a report. Rank 0 writes."""
    if folder is None or ranks.rank:
        yield _Notes(None, run, {}, None)
        return
    others = beside(folder, make, spec.build_net())
    again = (folder / "config.yaml").exists()
    with heartbeat(folder) as place:
        write_specification(folder, beside_others(folder, spec), run)
        log(folder, "resumed" if again else "started", engine="fit", jobs=1)
        yield _Notes(folder, run, others, place)
        log(folder, "finished", failed=0)
    from ..report import write

    write(folder)


def _noted(job: Job, notes: _Notes, watch: Watch | None) -> Watch:
    """Writes down where a job stands, and tells it to `watch`."""

    def look(index: int, pause: Pause | None) -> None:
        notes.at(job, index, pause)
        if watch is not None:
            watch(index, pause)

    return look


def _maker(stream: Stream | Callable[..., Stream]) -> Callable[[int], Stream]:
    """What gives the stream of a seed."""
    if isinstance(stream, Stream):
        return lambda seed: stream
    if not callable(stream):
        raise DataError(
            f"stream {stream!r}: expected a Stream, such as permuted(), or a function that makes one of a seed"
        )

    by_name = takes_seed(stream)

    @functools.lru_cache(maxsize=2)
    def make(seed: int) -> Stream:
        found = stream(seed=seed) if by_name else stream(seed)
        if not isinstance(found, Stream):
            raise DataError(f"stream: of the seed {seed} it makes {found!r}, expected a Stream")
        return found

    return make


def beside(folder: Path, make: Callable[[int], Stream], net: Build | nn.Module) -> dict[Job, Record]:
    """What other methods and seeds have measured in this directory, each on the stream of its seed.

    Raises:
        RunError: on other data; from other weights.
    """
    found, weights = {}, about_weights(net)
    for place in sorted((folder / "checkpoint").glob("*/*")):
        told = Store(place).told() if place.name.isdigit() else None
        if told is None:
            continue
        try:
            record = Record.from_json(told["record"])
            other = {**told["about"], "data": data_met(told)}
        except (LookupError, TypeError, ValueError, RunError):
            continue  # of another version; going on from it says what is wrong
        was = {k: other[k] for k in ("scenario", "stream", "data", "weights") if k in other}
        check_same(was, {**about_data(make(int(place.name))), **weights}, place)
        found[Job(place.parent.name, int(place.name))] = record
    return found


def learn(
    spec: RunSpec,
    job: Job,
    folder: Path | None = None,
    *,
    stream: Stream | None = None,
    watch: Watch | None = None,
    after: Callable[[Record], None] = lambda record: None,
    damaged: Callable[[str], None] = lambda text: None,
    ranks: Ranks = ALONE,
    wait: float = 0.0,
) -> Record:
    """One method with one seed of a run: a job that any process can do. One that is done is read, one that is not goes on.

    Args:
        spec: the run.
        job: which of its methods and seeds.
        folder: the run's, in which the job has a place of its own for its record and checkpoints.
        stream: in place of the specification's.
        watch, ranks: see `fit`.
        after: is called after each task, with what was measured so far.
        damaged: is called with the name of each checkpoint that was passed over.
        wait: seconds that it waits for another process to leave the place.

    Raises:
        RunError: another process holds the place; what is there is another run's.
        KeyboardInterrupt: stopped; what was learnt is saved.
    """
    stream = spec.build_stream(job.seed) if stream is None else stream
    if folder is None:
        with graceful() as stop:
            learner = spec.build_learner(job.method, job.seed, stream, ranks)
            return follow(learner, stream, spec=spec, watch=watch, stop=stop, after=after)
    place, data = folder / job.folder, about_data(stream)
    spent = _spent(folder)
    results, name = Results(place, RECORDS), name_of(spec, job, stream, data, spent=asdict(spent))
    kept = _done(results.read(name), Store(place))
    if not ranks.total(kept is None):  # they all have it
        assert kept is not None
        return kept
    learner = spec.build_learner(job.method, job.seed, stream, ranks)  # refused before anything is made
    learner.costs = spent

    def measured(record: Record) -> None:
        if not ranks.rank:
            save_samples(folder, job, learner, stream)
        after(record)

    with graceful() as stop, ExitStack() as stack:
        store = Store(place, None if ranks.rank else stack.enter_context(leased(place, wait)))
        try:
            record = follow(learner, stream, store, spec, watch=watch, stop=stop, after=measured, data=data)
        finally:
            for damage in store.damaged:
                damaged(damage)
        if not ranks.rank:
            results.write(name, record)
    return record


def _done(record: Record | None, store: Store) -> Record | None:
    """The record of a job that has all that it leaves: a record is not asked for alone, its network is exported from the last checkpoint."""
    if record is None or not record.complete:
        return None
    last = store.sealed()
    return record if last is not None and last["learnt"] == record.T else None


def _spent(folder: Path) -> Costs:
    """What a run costs before its first task: what its order took to find."""
    path = folder / "order.json"
    return Costs(**json.loads(path.read_text(encoding="utf-8"))["costs"]) if path.exists() else Costs()


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
    resumed(learner, stream, saved, about(learner, about_data(stream)), place)  # its weights are replaced
    return learner
