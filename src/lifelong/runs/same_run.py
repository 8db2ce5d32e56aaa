"""Which run a checkpoint is of: what it says of its settings and its data, held against those at hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ..core.errors import DataError, RunError, shortened
from ..core.fingerprint import same_data, trace, trace_of_weights, weights_digest, worded
from ..core.stream import Stream
from ..training.build import network_of
from ..training.learner import Learner
from .results import Name, fingerprint
from .run import Job, Record
from .spec import RunSpec

__all__ = [
    "about",
    "about_data",
    "about_weights",
    "begins",
    "check_same",
    "data_met",
    "name_of",
    "on_same_data",
    "resumed",
]


def about_data(stream: Stream) -> dict[str, Any]:
    """What a job learns: its tasks in words, and a trace of their examples."""
    tasks = json.dumps([[t.name, len(t.train), len(t.test)] for t in stream]).encode()
    return {
        "scenario": stream.scenario,
        "stream": f"{len(stream)} tasks, by names and sizes {hashlib.sha256(tasks).hexdigest()[:12]}",
        "data": trace(stream),
    }


def about(
    learner: Learner, data: Mapping[str, Any], given: Any = None, network: nn.Module | None = None
) -> dict[str, Any]:
    """What a checkpoint is of, in words, with traces of the data and of the weights: another run's is told from it.

    Args:
        learner: as it is before it learns.
        data: what it learns (`about_data`).
        given: the network, where it was made before and its weights are those that every seed starts from.
        network: the network before it grew, where it has.
    """
    words = {
        "method": learner.method,
        "training": learner.training,
        "precision": learner.dtype,
        "network": learner.net if network is None else network,
    }
    return {**{k: worded(v) for k, v in words.items()}, "seed": learner.seed, **data, **about_weights(given)}


def about_weights(given: Any) -> dict[str, Any]:
    """A trace of a network's weights, where one was given: what makes a network draws them of the seed."""
    return {"weights": trace_of_weights(given)} if isinstance(given, nn.Module) else {}


def name_of(spec: RunSpec, job: Job, stream: Stream, data: Mapping[str, Any], **more: Any) -> Name:
    """By which the result of a job is kept: of all that it depends on. Its data are known by their trace, rounded to six digits; a network that
    has no name among the package's own, by the weights with which it begins.

    Args:
        spec, job: which of the run's methods and seeds.
        stream, data: what it learns, and what `about_data` says of it.
        more: what it depends on besides, as plain values.
    """
    said = yaml.safe_load(spec.alone(*job).to_yaml())
    rounded = [None if part is None else [f"{x:.6g}" for x in part] for part in data["data"]]
    about = [said, {**data, "data": rounded}, begins(spec, stream, job.seed), more]
    return Name(f"{job.method}.{job.seed}", fingerprint(about))


def begins(spec: RunSpec, stream: Stream, seed: int) -> list[str]:
    """The network with which a seed begins, by its layers and weights; empty where its name and options tell it."""
    if "net" not in spec.unnamed and f"net.{spec.net}" not in spec.code:
        return []
    net = network_of(spec.build_net(), stream, seed)
    return [worded(net), weights_digest(net)]


def data_met(meta: dict[str, Any]) -> list[Any]:
    """The trace of the data of which a checkpoint is made: what was not trained on yet may have been mended since."""
    begun = 2 * (meta["learnt"] + (meta["at"] is not None))
    return [part if i % 2 or i < begun else None for i, part in enumerate(meta.get("data", []))]


def on_same_data(meta: dict[str, Any], stream: Stream, place: Path) -> None:
    """Raises `RunError` where a checkpoint, of which `meta` tells, was made on other data than the stream's."""
    check_same({"data": data_met(meta)}, {"data": trace(stream)}, place, "name the stream that this run learnt")


def check_same(
    was: dict[str, Any],
    here: Mapping[str, Any],
    place: Path,
    advice: str = "choose another --out, or say what that run said",
) -> None:
    """Raises `RunError` where a checkpoint is of another run than this one."""
    for key, value in was.items():
        if key == "data" and (not value or same_data(value, here[key])):  # none: of a version before
            continue
        if key == "weights" and same_data(value, here.get(key, value)):  # here they may not be asked for
            continue
        if key == "data":
            changed = [i for i, (a, b) in enumerate(zip(value, here[key])) if not same_data([a], [b])]
            part = (
                f"the {'test' if changed[0] % 2 else 'training'} examples of task {changed[0] // 2 + 1}"
                if changed
                else "the tasks"
            )
            what = f"its data are others ({part})"
        elif key == "weights":
            what = (
                "its network began with other weights (a network that is made again draws others, unless torch.manual_seed or what was saved of it "
                "gives it the same)"
            )
        elif value != here.get(key):
            first = next(
                ((a, b) for a, b in zip(str(value).split("\n"), str(here.get(key)).split("\n")) if a != b), None
            )
            a, b = first or (value, here.get(key))
            what = f"its {key} is {shortened(a)}, here it is {shortened(b)}"
        else:
            continue
        raise RunError(f"the checkpoint in {place} is another run's: {what}; {advice}")


def resumed(learner: Learner, stream: Stream, saved: dict[str, Any], about: dict[str, Any], place: Path) -> Record:
    """Takes `learner` to where a checkpoint was saved; gives what had been measured by then."""
    meta = saved["meta"]
    try:
        check_same({**meta.get("about", {}), "data": data_met(meta)}, about, place)
        record = Record.from_json(meta["record"])
        before = None if record.trace is None else record.trace.every
        if before != learner.every:
            raise RunError(
                f"this run was begun with evaluate_every {before}, not {learner.every}: say the same, or begin another"
            )
        learner.load_state_dict(saved, past=stream.tasks[: meta["learnt"]])
        if len(stream) != record.T or record.rows != learner.learnt + 1:
            raise ValueError(f"{record.rows} rows of {record.T} tasks after {learner.learnt} of {len(stream)}")
    except (RunError, DataError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = str(error).splitlines()[:2]
        raise RunError(
            f"the checkpoint in {place} does not fit this run ({type(error).__name__}: {' '.join(why)}): another one saved it, or it was "
            "altered; choose another --out, or remove it"
        ) from error
    return record
