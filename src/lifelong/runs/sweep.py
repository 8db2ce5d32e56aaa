"""``lifelong sweep``: a search, the best of each method run on the test sets, and the command that says it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import yaml

from ..core.errors import LifelongError, MethodError, RunError
from ..core.files import write_atomically
from ..core.stream import Stream
from ..core.yaml_io import flatten, read_yaml
from .executor import Engine
from .lease import leased
from .search import Protocol, Search, Trial, plain, search
from .search_space import Try, concerns, with_values
from .spec import RunSpec

__all__ = ["as_text", "command", "sweep"]


@final
@dataclass(frozen=True)
class _Best:
    """The best trial of a method, and its run on the test sets."""

    trial: Trial
    command: str
    run: Path


def sweep(
    config: RunSpec,
    other: RunSpec | None,
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
    from .. import report

    stream = _checked(config, other, protocol)
    searched = config if other is None else other
    space = [Try.read(said, searched) for said in tries]
    path = folder / "sweep.json"
    if not path.exists() and folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise RunError(f"{folder} is there already, and holds no sweep: choose another --out")
    say(f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks\ndata     {stream.source}")
    say(f"protocol {protocol.protocol}: {protocol.data} decide\nout      {folder}")
    with leased(folder):
        if not path.exists():
            write_atomically(path, json.dumps({"protocol": protocol.protocol, "peeks": protocol.peeks}))
        found = search(
            searched, space, protocol, folder, trials=trials, seeds=seeds, together=together, jobs=engine, tell=say
        )
        best = {method: _run_best(config, found, method, folder, engine, say) for method in found.methods}
        table = report.compare([b.run for b in best.values()], folder / "sweep.html")
        write_atomically(path, json.dumps(_tree(found, space, seeds, best), indent=1, default=str))
    return "\n\n".join([as_text(found, space), table.rstrip(), *(b.command for b in best.values())])


def _checked(config: RunSpec, other: RunSpec | None, protocol: Protocol) -> Stream:
    """The stream that is tuned for.

    Raises:
        MethodError: what the protocol, the order or a scenario does not allow.
    """
    if (protocol.protocol == "two-phase") != (other is not None):
        raise MethodError("the protocol two-phase needs another stream (--on stream=NAME), and no other protocol does")
    if isinstance(config.order, str):
        raise MethodError(f"order {config.order!r}: a sweep takes the stream's order, or that of its places (0,2,1)")
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:
        config.build_method(name).check(stream.scenario)
    return stream


def _run_best(
    config: RunSpec, found: Search, method: str, folder: Path, engine: Engine, say: Callable[[str], None]
) -> _Best:
    """Runs the best trial of a method on the test sets, from wherever that was left."""
    from .. import report
    from .jobs import execute

    trial = found.best(method)
    chosen = replace(with_values(config, method, trial.values), tuned=found.protocol.protocol)
    place = folder / f"{method}-{trial.number}"
    again = (place / "config.yaml").exists()
    if again and read_yaml(place / "config.yaml") != _keys(chosen):
        raise RunError(f"{place} holds a run of something else: choose another --out")
    say(f"{method}: its best, trial {trial.number + 1}, is run on the test sets: {place}")
    _, failed = execute(chosen, place, engine, again=again)
    if failed:
        raise RunError(f"{method} with {dict(trial.values)}: {failed[0].text}")
    report.write(place)
    return _Best(trial, command(chosen), place)


def _keys(config: RunSpec) -> dict[str, Any]:
    return flatten(yaml.safe_load(config.to_yaml()))


def _tree(found: Search, space: Sequence[Try], seeds: Sequence[int], best: Mapping[str, _Best]) -> dict[str, Any]:
    """``sweep.json``."""
    return {
        "protocol": found.protocol.protocol,
        "peeks": found.protocol.peeks,
        "scored on": found.protocol.data,
        "seeds": list(seeds),
        "tried": {t.key: list(t.values) or [t.low, t.high, "log" if t.log else "linear"] for t in space},
        "trials": [
            {
                "method": t.method,
                "trial": t.number + 1,
                "values": dict(t.values),
                "score": None if math.isnan(t.score) else t.score,
                "note": t.note,
            }
            for t in found.trials
        ],
        "best": {
            method: {
                "trial": b.trial.number + 1,
                "values": dict(b.trial.values),
                "score": b.trial.score,
                "command": b.command,
                "run": b.run.name,
            }
            for method, b in best.items()
        },
    }


def as_text(found: Search, space: Sequence[Try]) -> str:
    """The trials from the best to the worst, and what should be known of them."""
    peeking = " (peeking)" if found.protocol.peeks else ""
    blocks = []
    for method in found.methods:
        keys = [t.key for t in space if concerns(t.key, method)]
        ranked = sorted(found.of(method), key=lambda t: -math.inf if math.isnan(t.score) else t.score, reverse=True)
        head = ["trial", *keys, f"accuracy{peeking}"]
        rows = [
            [str(t.number + 1), *(plain(t.values[k]) for k in keys), t.note[:60] or f"{t.score:.3f}"] for t in ranked
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


def command(config: RunSpec) -> str:
    """The command that says a configuration of one method."""

    def where(kind: str, name: str) -> str:
        """As it is typed: the code, where it is named by that."""
        return "+".join(config.code.get(f"{kind}.{part}", part) for part in name.split("+"))

    named = {"stream": where("stream", config.stream), "method": where("method", config.methods[0])}
    usual_net = RunSpec.from_keys(named).net
    net = where("net", config.net)
    usual = _keys(RunSpec.from_keys({**named, "net": net}))
    words = ["lifelong run", *(f"--{key} {name}" for key, name in named.items())]
    words += [f"--net {net}"] if config.net != usual_net else []
    for key, value in _keys(config).items():
        if key in (*named, "net") or key.startswith(("code.", "sha256.")) or usual.get(key, LifelongError) == value:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        flag = key.replace("_", "-") if key.startswith("budget") else key
        words.append(f"--{flag} {text}")
    return " ".join(words)
