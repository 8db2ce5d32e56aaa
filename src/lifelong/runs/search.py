"""Choosing several constants at once by search, on data that may be used for it.

Which data decide is the protocol; the field has not settled on one, and each has its reason:

==========  ==================================================================================================================
first       held-out training examples of the first tasks only: who learns for life cannot come back to choose
            (Chaudhry et al. 2019, arXiv 1812.00420, tunes on the first few tasks)
held-out    held-out training examples of each task, as `lifelong.choose` does
two-phase   another stream; what is chosen there is run once on this one (Cha & Cho 2024, arXiv 2403.09066)
oracle      the test sets themselves. This peeks: it bounds what choosing could do, and is no method's result. It is said
            wherever a number that came of it stands, ``ewc (peeking)``.
==========  ==================================================================================================================

Trials are asked of Optuna's sampler some at a time and told to it in their order, so that they are the same whatever engine does them, and
in however many processes. Each is a job, kept by what it is: said again, a sweep goes on, and a longer one begins with the shorter one's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np

from ..core.errors import MethodError, RunError, TrainingError
from ..core.random import derive
from ..core.stream import Stream
from .executor import Engine
from .lease import LEASE_SECONDS
from .results import Name, Results, gather, json_codec
from .run import Job, Record
from .search_space import Try, concerns, hyperparameters, with_values
from .spec import RunSpec

__all__ = ["PROTOCOLS", "Protocol", "Search", "Trial", "search"]

PROTOCOLS = ("first", "held-out", "two-phase", "oracle")


# --- on which data ------------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class Protocol:
    """Which data decide.

    Args:
        protocol: first, held-out, two-phase, or oracle, which peeks at the test sets.
        tasks: how many of the first tasks decide (protocol first).
        fraction: of each task's training examples, held out.
    """

    protocol: Literal["first", "held-out", "two-phase", "oracle"] = "held-out"
    tasks: int = 1
    fraction: float = 0.1

    def __post_init__(self) -> None:
        if self.tasks < 1 or not 0 < self.fraction < 1:
            raise MethodError(f"{self}: expected tasks of at least 1, a fraction between 0 and 1")

    @property
    def peeks(self) -> bool:
        return self.protocol == "oracle"

    @property
    def data(self) -> str:
        return {
            "first": f"held-out training examples of the first {self.tasks} task(s)",
            "held-out": "held-out training examples of each task",
            "two-phase": "another stream",
            "oracle": "THE TEST DATA (peeking)",
        }[self.protocol]

    def stream(self, config: RunSpec, seed: int) -> Stream:
        """What a trial learns and is scored on; `config` is that of the other stream where there is one."""
        stream = config.build_stream(seed)
        if self.protocol == "first":
            stream = stream.subset(range(min(self.tasks, len(stream))))
        return stream.hold_out(self.fraction, seed) if self.protocol in ("first", "held-out") else stream


# --- the search ---------------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class Trial:
    """What was tried, and its score: accuracy after the last task, mean over the trial's seeds; NaN where it was refused."""

    method: str
    number: int
    values: Mapping[str, Any]
    score: float
    note: str = ""


@final
@dataclass(frozen=True)
class Search:
    """All trials, by method in the order in which they were asked."""

    protocol: Protocol
    trials: tuple[Trial, ...] = field(default_factory=tuple)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t.method for t in self.trials))

    def of(self, method: str) -> list[Trial]:
        return [t for t in self.trials if t.method == method]

    def best(self, method: str) -> Trial:
        """The first of the best.

        Raises:
            RunError: all were refused.
        """
        scored = [t for t in self.of(method) if not math.isnan(t.score)]
        if not scored:
            raise RunError(f"no trial of {method} could be run: {self.of(method)[0].note}")
        return max(scored, key=lambda t: t.score)


def search(
    config: RunSpec,
    tries: Sequence[Try],
    protocol: Protocol,
    folder: Path,
    *,
    trials: int = 20,
    seeds: Sequence[int] = (1000,),
    together: int = 4,
    jobs: int | Engine = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Search:
    """Tries constants of each method of `config`.

    Args:
        config: of the runs that are tried; of the other stream where the protocol asks for one.
        tries: what is tried.
        protocol: which data decide.
        folder: where each trial is kept, so that a later call goes on from there.
        trials: how many for each method; where only values are listed and they have fewer combinations, all of these.
        seeds: of each trial; they should not be those that the choice is for, unless it is an oracle's.
        together: trials that are asked before any of them is told.
        jobs: how many processes, or an engine.
        tell: is called with a line for each trial.

    Raises:
        MethodError: nothing to try, or a value that a method refuses.
    """
    optuna = _optuna()
    if trials < 1 or together < 1:
        raise MethodError(f"trials {trials}, together {together}: expected at least 1")
    spaces = _spaces(config, tries)
    scorer = _Scorer(config, protocol, folder, seeds, jobs)
    studies, left = {}, {}
    for method, space in spaces.items():
        sampler = optuna.samplers.TPESampler(seed=derive(0, f"sweep/{method}") % 2**32)
        studies[method] = optuna.create_study(direction="maximize", sampler=sampler)
        grid = math.prod(len(t.values) for t in space)
        left[method] = trials
        if 0 < grid <= trials:
            left[method] = grid
            for chosen in itertools.product(*(range(len(t.values)) for t in space)):
                studies[method].enqueue_trial({t.key: i for t, i in zip(space, chosen)})
    found: list[Trial] = []
    while any(left.values()):
        asked = []
        for method, study in studies.items():
            for _ in range(min(together, left[method])):
                trial = study.ask()
                asked.append((method, trial, {t.key: t.ask(trial) for t in spaces[method]}))
                left[method] -= 1
        scored = scorer.scores([(m, v) for m, _, v in asked])
        for (method, trial, values), (score, note) in zip(asked, scored):
            refused = math.isnan(score)
            studies[method].tell(trial, None if refused else score, state=_state(optuna, refused))
            found.append(Trial(method, trial.number, values, score, note))
            said = ", ".join(f"{k} {plain(v)}" for k, v in values.items())
            tell(f"{method} {trial.number + 1}: {said}: {note or f'{score:.3f}'}")
    order = {m: i for i, m in enumerate(config.methods)}
    return Search(protocol, tuple(sorted(found, key=lambda t: (order[t.method], t.number))))


def _spaces(config: RunSpec, tries: Sequence[Try]) -> dict[str, list[Try]]:
    """What is tried of each method.

    Raises:
        MethodError: nothing, or a value that it refuses.
    """
    spaces = {m: [t for t in tries if concerns(t.key, m)] for m in config.methods}
    for method, space in spaces.items():
        if not space:
            own = [k for k in hyperparameters(config) if k.partition(".")[0] in method.split("+")]
            raise MethodError(
                f"nothing to try of {method}: say for instance --try {(own or ['lr'])[0]}=LOW:HIGH:log; it has {', '.join(own) or 'none'}"
            )
        for ends in itertools.product(*(t.ends for t in space)):
            tried = with_values(config, method, {t.key: v for t, v in zip(space, ends)})
            tried.build_method(method), tried.build_training()
    return spaces


def plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _state(optuna: Any, refused: bool) -> Any:
    """What was refused is told as pruned: worse than whatever was scored, so that the sampler looks elsewhere."""
    return optuna.trial.TrialState.PRUNED if refused else optuna.trial.TrialState.COMPLETE


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MethodError(f"Optuna is not installed ({error}): pip install 'lifelong[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


# --- one trial ----------------------------------------------------------------------------------------------------------------
class _Scored(NamedTuple):
    score: float
    note: str = ""


_SCORES = json_codec(_Scored._asdict, lambda said: _Scored(**said))


@final
class _Scorer:
    """Gives trials their scores: of one that was scored before, the one that is kept by all that it depends on."""

    def __init__(
        self, config: RunSpec, protocol: Protocol, folder: Path, seeds: Sequence[int], jobs: int | Engine
    ) -> None:
        from .same_run import about_data

        self.config, self.protocol, self.seeds, self.jobs = config, protocol, seeds, jobs
        self.results = Results(folder.absolute() / "trials", _SCORES)
        self.streams = {seed: protocol.stream(config, seed) for seed in seeds}
        self.data = {seed: about_data(stream) for seed, stream in self.streams.items()}

    def scores(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[_Scored]:
        """Of each method with its values, the mean over the seeds."""
        tried = [(with_values(self.config, method, values), seed) for method, values in asked for seed in self.seeds]
        names = [self._name(spec, seed) for spec, seed in tried]
        work = [(spec, self.protocol, seed, self.results.unfinished(n)) for (spec, seed), n in zip(tried, names)]
        found = iter(gather(_trial, names, work, self.results, self.jobs))
        rows = [[next(found) for _ in self.seeds] for _ in asked]
        return [
            _Scored(float(np.mean([p.score for p in row])), next((p.note for p in row if p.note), "")) for row in rows
        ]

    def _name(self, spec: RunSpec, seed: int) -> Name:
        from .same_run import name_of

        stream, tasks = self.streams[seed], len(self.config.build_stream(seed))  # its budget is shared among them
        more = {"protocol": asdict(self.protocol), "source": stream.source, "tasks": tasks}
        return name_of(spec, Job(spec.methods[0], seed), stream, self.data[seed], **more)


def _trial(config: RunSpec, protocol: Protocol, seed: int, place: Path) -> _Scored:
    """One job. What breaks down scores 0; what its budget refuses has no score."""
    import torch

    from .fitting import learn
    from .memory_needed import check_budget

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    method, net, training = config.build_method(config.methods[0]), config.build_net(), config.build_training()
    stream, budget = protocol.stream(config, seed), config.budget
    if budget.compute is not None:  # as much for each task as in the whole stream
        whole = len(config.build_stream(seed))
        budget = replace(budget, compute=budget.compute * len(stream) // whole)
    try:
        check_budget(budget, method, net, stream, training)
        record: Record = learn(
            replace(config, budget_compute=budget.compute),
            Job(config.methods[0], seed),
            place,
            stream=stream,
            wait=3 * LEASE_SECONDS,
        )
    except TrainingError:
        return _Scored(0.0, "broke down")
    except (MethodError, RunError) as error:
        if isinstance(error.__cause__, OSError):  # a full disk says nothing of what was tried
            raise
        return _Scored(math.nan, str(error))
    return _Scored(record.matrix.acc)
