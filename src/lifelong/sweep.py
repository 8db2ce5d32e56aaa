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

import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np
import yaml

from .checkpoint import write_atomically
from .claim import LEASE, claimed
from .config import Config
from .errors import LifelongError, MethodError, RunError, TrainingError, nearest
from .options import convert, options
from .pool import Engine, engine_of
from .random import derive
from .registry import METHODS, NETS, find
from .run import Record
from .stream import Stream

__all__ = ["PROTOCOLS", "Protocol", "Search", "Trial", "Try", "search", "with_values"]

PROTOCOLS = ("first", "held-out", "two-phase", "oracle")


# --- what is tried ------------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class Try:
    """A constant and what is tried of it: values, or a range.

    Args:
        key: as in a configuration, such as ``ewc.strength`` or ``lr``.
        values: to choose from; empty for a range.
        low, high: the range's ends, both in it.
        log: equal ratios are equally likely, not equal differences.
        whole: only whole numbers.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @staticmethod
    def read(said: str, config: Config) -> Try:
        """``ewc.strength=1e-2:1e4:log``, ``lr=0.01,0.03,0.1``, ``replay.slots=10:500``; ``strength=...`` where one method has it.

        Raises:
            MethodError: no such constant, or no such range.
        """
        known = constants(config)
        key, equals, text = said.partition("=")
        key = key.strip()
        if key not in known:
            own = [k for k in known if k.partition(".")[2] == key.removeprefix("method.")]
            if len(own) != 1:
                raise MethodError(f"nothing called {key!r} to try{nearest(key, known)}; there are: {', '.join(known)}")
            key = own[0]
        if not equals or not text.strip():
            raise MethodError(f"try {said!r}: expected {key}=LOW:HIGH, {key}=LOW:HIGH:log, or {key}=VALUE,VALUE,...")
        hint = known[key]
        if ":" not in text:
            return Try(key, tuple(convert(hint, v.strip(), key) for v in text.split(",")))
        low, high, *scale = text.split(":")
        ends = [convert(hint, end, key) for end in (low, high)]
        wrong = any(isinstance(e, bool) or not isinstance(e, int | float) for e in ends)
        if wrong or scale not in ([], ["log"]) or not ends[0] < ends[1] or (scale and not ends[0] > 0):
            raise MethodError(
                f"try {said!r}: expected numbers LOW < HIGH, as {key}=LOW:HIGH, or with LOW above 0 {key}=LOW:HIGH:log"
            )
        return Try(key, (), ends[0], ends[1], bool(scale), all(isinstance(e, int) for e in ends))

    def ask(self, trial: Any) -> Any:
        """What an Optuna trial suggests."""
        if self.values:
            return self.values[trial.suggest_categorical(self.key, list(range(len(self.values))))]
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values or ((int(self.low), int(self.high)) if self.whole else (self.low, self.high))


def constants(config: Config) -> dict[str, Any]:
    """What may be tried: the constants of the methods, of the network and of training, with their types."""
    from .training import Training

    parts = dict.fromkeys(p for m in config.methods for p in m.split("+"))
    groups = {p: find("method", METHODS, p) for p in parts} | {"net": find("net", NETS, config.net)}
    found = {f"{g}.{o.name}": o.hint for g, entry in groups.items() for o in options(entry.load(), ("scenario",))}
    return found | {o.name: o.hint for o in options(Training)}


def with_values(config: Config, method: str, values: Mapping[str, Any]) -> Config:
    """The configuration of one method with some constants."""
    training, net = dict(config.training), dict(config.net_options)
    own = {p: dict(config.method_options.get(p, {})) for p in method.split("+")}
    for key, value in values.items():
        group, dot, name = key.partition(".")
        if not dot:
            training[key] = value
        elif group == "net":
            net[name] = value
        else:
            own[group][name] = value
    return replace(config, methods=(method,), training=training, net_options=net, method_options=own)


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

    def stream(self, config: Config, seed: int) -> Stream:
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
    config: Config,
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
    spaces = {m: [t for t in tries if _concerns(t.key, m)] for m in config.methods}
    for method, space in spaces.items():
        if not space:
            own = [k for k in constants(config) if k.partition(".")[0] in method.split("+")]
            raise MethodError(
                f"nothing to try of {method}: say for instance --try {(own or ['lr'])[0]}=LOW:HIGH:log; it has {', '.join(own) or 'none'}"
            )
        for ends in itertools.product(*(t.ends for t in space)):  # raises for what a method refuses
            tried = with_values(config, method, {t.key: v for t, v in zip(space, ends)})
            tried.build_method(method), tried.build_training()
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
        scored = _scores(config, protocol, folder, [(m, v) for m, _, v in asked], seeds, jobs)
        for (method, trial, values), (score, note) in zip(asked, scored):
            refused = math.isnan(score)
            studies[method].tell(trial, None if refused else score, state=_state(optuna, refused))
            found.append(Trial(method, trial.number, values, score, note))
            said = ", ".join(f"{k} {_plain(v)}" for k, v in values.items())
            tell(f"{method} {trial.number + 1}: {said}: {note or f'{score:.3f}'}")
    order = {m: i for i, m in enumerate(config.methods)}
    return Search(protocol, tuple(sorted(found, key=lambda t: (order[t.method], t.number))))


def _concerns(key: str, method: str) -> bool:
    group, dot, _ = key.partition(".")
    return not dot or group == "net" or group in method.split("+")


def _plain(value: Any) -> str:
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


def _scores(
    config: Config,
    protocol: Protocol,
    folder: Path,
    asked: Sequence[tuple[str, Mapping[str, Any]]],
    seeds: Sequence[int],
    jobs: int | Engine,
) -> list[_Scored]:
    """Of each trial, the mean over the seeds: read where it was made before, made where not."""
    work: list[tuple[Any, ...]] = []
    cells: list[tuple[tuple[int, int], Path]] = []
    parts: dict[tuple[int, int], _Scored] = {}
    for i, (method, values) in enumerate(asked):
        tried = with_values(config, method, values)
        for s, seed in enumerate(seeds):
            place = folder.absolute() / "trials" / f"{method}-{_key(tried, protocol, seed)}.{seed}.json"
            kept = _kept(place)
            if kept is not None:
                parts[i, s] = kept
            elif place not in [p for _, p in cells]:
                work.append((tried, protocol, seed, place.with_suffix("")))
                cells.append(((i, s), place))
            else:  # the same was asked twice
                parts[i, s] = _Scored(math.inf, str(place))
    for k, scored in engine_of(jobs).each(_trial, work):
        cell, place = cells[k]
        parts[cell] = scored
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, json.dumps(scored._asdict()))
        shutil.rmtree(place.with_suffix(""), ignore_errors=True)
    for cell, scored in parts.items():
        if scored.score == math.inf:
            parts[cell] = _kept(Path(scored.note)) or scored
    every = [[parts[i, s] for s in range(len(seeds))] for i in range(len(asked))]
    return [_Scored(float(np.mean([p.score for p in row])), next((p.note for p in row if p.note), "")) for row in every]


def _key(config: Config, protocol: Protocol, seed: int) -> str:
    """A trial's name: of all that its score depends on."""
    source = config.build_stream(seed).source
    bare = replace(config, seeds=(seed,), every=0.0, tuned=None)
    return hashlib.sha256(f"{bare.to_yaml()}{protocol}{source}".encode()).hexdigest()[:16]


def _kept(place: Path) -> _Scored | None:
    try:
        return _Scored(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _trial(config: Config, protocol: Protocol, seed: int, place: Path) -> _Scored:
    """One job. What breaks down scores 0; what its budget refuses has no score."""
    import torch

    from .fitting import learn

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    method, net, training = config.build_method(config.methods[0]), config.build_net(), config.build_training()
    stream, budget = protocol.stream(config, seed), config.budget
    if budget.compute is not None:  # as much for each task as in the whole stream
        whole = len(config.build_stream(seed))
        budget = replace(budget, compute=budget.compute * len(stream) // whole)
    try:
        budget.check(method, net, stream, training)
        record: Record = learn(
            method, net, stream, training, seed, place, every=config.every, budget=budget, wait=3 * LEASE
        )
    except TrainingError:
        return _Scored(0.0, "broke down")
    except (MethodError, RunError) as error:
        return _Scored(math.nan, str(error))
    return _Scored(record.matrix.acc)


# --- the command --------------------------------------------------------------------------------------------------------------
def sweep(
    config: Config,
    other: Config | None,
    tries: Sequence[str],
    protocol: Protocol,
    folder: Path,
    *,
    trials: int,
    seeds: Sequence[int],
    together: int,
    engine: Engine,
    say: Callable[[str], None],
) -> str:
    """What ``lifelong sweep`` does: searches, runs the best of each method on the test sets, and writes and gives what came out."""
    from . import report
    from .jobs import execute

    if (protocol.protocol == "two-phase") != (other is not None):
        raise MethodError("the protocol two-phase needs another stream (--on stream=NAME), and no other protocol does")
    if isinstance(config.order, str):
        raise MethodError(f"order {config.order!r}: a sweep takes the stream's order, or that of its places (0,2,1)")
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:
        config.build_method(name).check(stream.scenario)
    searched = config if other is None else other
    space = [Try.read(said, searched) for said in tries]
    path = folder / "sweep.json"
    if not path.exists() and folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise RunError(f"{folder} is there already, and holds no sweep: choose another --out")
    say(f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks\ndata     {stream.source}")
    say(f"protocol {protocol.protocol}: {protocol.data} decide\nout      {folder}")
    with claimed(folder):
        if not path.exists():
            write_atomically(path, json.dumps({"protocol": protocol.protocol, "peeks": protocol.peeks}))
        found = search(
            searched, space, protocol, folder, trials=trials, seeds=seeds, together=together, jobs=engine, tell=say
        )
        runs, best = [], {}
        for method in found.methods:
            trial = found.best(method)
            chosen = replace(with_values(config, method, trial.values), tuned=protocol.protocol)
            place = folder / f"{method}-{trial.number}"
            again = (place / "config.yaml").exists()
            if again and Config.load(place / "config.yaml") != chosen:
                raise RunError(f"{place} holds a run of something else: choose another --out")
            say(f"{method}: its best, trial {trial.number + 1}, is run on the test sets: {place}")
            _, failed = execute(chosen, place, engine, again=again)
            if failed:
                raise RunError(f"{method} with {dict(trial.values)}: {failed[0].text}")
            report.write(place)
            runs.append(place)
            best[method] = trial, command(chosen), place
        table = report.compare(runs, folder / "sweep.html")
        tree = {
            "protocol": protocol.protocol,
            "peeks": protocol.peeks,
            "scored on": protocol.data,
            "seeds": list(seeds),
            "tried": {t.key: list(t.values) or [t.low, t.high, "log" if t.log else "linear"] for t in space},
            "trials": [
                {
                    "method": t.method,
                    "trial": t.number + 1,
                    "values": dict(t.values),
                    "score": _json(t.score),
                    "note": t.note,
                }
                for t in found.trials
            ],
            "best": {
                m: {
                    "trial": t.number + 1,
                    "values": dict(t.values),
                    "score": t.score,
                    "command": said,
                    "run": place.name,
                }
                for m, (t, said, place) in best.items()
            },
        }
        write_atomically(path, json.dumps(tree, indent=1, default=str))
    return "\n\n".join([as_text(found, space), table.rstrip(), *(said for _, said, _ in best.values())])


def _json(score: float) -> float | None:
    return None if math.isnan(score) else score


def as_text(found: Search, space: Sequence[Try]) -> str:
    """The trials from the best to the worst, and what should be known of them."""
    peeking = " (peeking)" if found.protocol.peeks else ""
    blocks = []
    for method in found.methods:
        keys = [t.key for t in space if _concerns(t.key, method)]
        ranked = sorted(found.of(method), key=lambda t: -math.inf if math.isnan(t.score) else t.score, reverse=True)
        head = ["trial", *keys, f"accuracy{peeking}"]
        rows = [
            [str(t.number + 1), *(_plain(t.values[k]) for k in keys), t.note[:60] or f"{t.score:.3f}"] for t in ranked
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in (head, *rows)]
        blocks.append(f"{method}{peeking}, scored on {found.protocol.data}\n" + "\n".join(lines))
        blocks += _remarks(method, found, space)
    return "\n\n".join(blocks)


def _remarks(method: str, found: Search, space: Sequence[Try]) -> list[str]:
    scores = {t.score for t in found.of(method)}
    best = found.best(method)
    if len(found.of(method)) > 1 and len(scores) == 1:
        more = "; with --tasks 2 or more they may" if found.protocol.protocol == "first" else ""
        return [f"All trials of {method} scored the same: here these constants decide nothing{more}."]
    said = []
    for t in space:
        if t.key not in best.values or t.values:
            continue
        near = (
            (math.log(best.values[t.key] / t.low) / math.log(t.high / t.low))
            if t.log
            else ((best.values[t.key] - t.low) / (t.high - t.low))
        )
        if not 0.02 < near < 0.98:
            said.append(f"The best {t.key} of {method} lies at an end of what was tried: a better one may lie beyond.")
    return said


def command(config: Config) -> str:
    """The command that says a configuration of one method."""
    said = Config.flatten(yaml.safe_load(config.to_yaml()))
    usual = Config.flatten(
        yaml.safe_load(
            Config.from_keys({"stream": config.stream, "method": config.methods[0], "net": config.net}).to_yaml()
        )
    )
    words = ["lifelong run", f"--stream {config.stream}", f"--method {config.methods[0]}"]
    for key, value in said.items():
        if key in ("stream", "method") or usual.get(key, LifelongError) == value:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        flag = key.replace("_", "-") if key.startswith("budget") else key
        words.append(f"--{flag} {text}")
    return " ".join(words)
