"""A learner taken apart for a checkpoint, and put together again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..core import state_io
from ..core.contexts import Costs, Spec
from ..core.errors import MethodError
from ..core.fingerprint import constants, differing
from ..core.growth import Growth
from ..core.stream import Task
from ..nets.growing import grow
from .first_batch import Modes
from .learning import Learning
from .plan import Allowed, Position

__all__ = ["load", "saved"]


def saved(learner: Learning) -> dict[str, Any]:
    """All that learning has changed: ``tensors`` by name, and ``meta`` that is plain JSON."""
    parts = {
        "net": dict(learner.net.state_dict()),
        "optimizer": learner.optimizer.state_dict(),
        "state": learner.state,
        "random": learner.random,
        "draws": learner.held.generator,
        "initial": learner.initial,
    }
    tensors: dict[str, Tensor] = {}
    meta: dict[str, Any] = {}
    for key, value in parts.items():
        found, meta[key] = state_io.split(value, key)
        tensors |= found
    meta |= {
        "method": learner.method.name,
        "constants": constants(learner.method),
        "scenario": learner.scenario,
        "spec": None if learner.spec is None else asdict(learner.spec),
        "learnt": learner.learnt,
        "met": list(learner.met),
        "saved_as": learner.saved_as,
        "seen": list(learner.seen),
        "known": learner.known,
        "resting": sorted(learner.modes.kept),
        "names": list(learner.outputs.named.items()),
        "at": None if learner.at is None else asdict(learner.at),
        "growth": [asdict(g) for g in learner.growth],
        "costs": asdict(learner.costs),
        "allowed": learner.allowed,
        "ending": learner.ending,
    }
    return {"tensors": {k: v.detach().clone() for k, v in tensors.items()}, "meta": meta}


def load(learner: Learning, saved: dict[str, Any], past: Iterable[Task]) -> None:
    """Brings `learner` to where `saved` was taken; see `Learner.load_state_dict`."""
    meta = saved["meta"]
    tensors = {k: v.clone() for k, v in saved["tensors"].items()}  # learning writes into them
    _check_method(learner, meta)
    _load_network(learner, meta, tensors)
    _load_method(learner, meta, tensors)
    _load_place(learner, meta)
    learner.met, learner.saved_as = list(meta.get("met", ())), meta.get("saved_as")
    learner.past = []
    if learner.method.traits.rereads:
        learner.past = [learner.own_examples(task) for task in past]
        if len(learner.past) != learner.learnt:
            raise MethodError(
                f"{learner.method.name} trains on past tasks: load_state_dict needs the {learner.learnt} met so far, got {len(learner.past)}"
            )
    if learner.learnt:
        learner.note()


def _check_method(learner: Learning, meta: dict[str, Any]) -> None:
    if meta["method"] != learner.method.name:
        raise MethodError(
            f"this was saved by the method {meta['method']!r}, not {learner.method.name!r}: build the learner with that"
        )
    others = differing(meta.get("constants"), constants(learner.method))
    others += differing({"scenario": meta.get("scenario", learner.scenario)}, {"scenario": learner.scenario})
    if others:
        raise MethodError(f"this was saved by a learner with {'; '.join(others)}: build the learner as it was")


def _load_network(learner: Learning, meta: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The network, grown as it was, and its optimiser."""
    growth = state_io.join(list[Growth], meta["growth"], {}, "growth")
    trained = state_io.join(dict[str, Tensor], meta["net"], tensors, "net")
    _check_shapes(learner, growth, trained)
    if learner.ungrown is not None:
        learner.net = copy.deepcopy(learner.ungrown)
    if growth and learner.ungrown is None:
        learner.ungrown = copy.deepcopy(learner.net)
    learner.growth = growth
    for operation in growth:
        grow(learner.net, operation)
    learner.net.to(device=learner.device, dtype=learner.dtype)
    learner.net.load_state_dict(trained)
    optimizer = dict(meta["optimizer"]["items"])
    learner.optimizer = learner.make_optimizer(learner.net)
    learner.optimizer.load_state_dict(
        {
            "state": state_io.join(dict[int, dict[str, Any]], optimizer["state"], tensors, "optimizer"),
            "param_groups": state_io.join(list[dict[str, Any]], optimizer["param_groups"], tensors, "optimizer"),
        }
    )
    learner.initial = None
    if meta["initial"] is not None:
        learner.initial = state_io.join(dict[str, Tensor], meta["initial"], tensors, "initial")
    kept = frozenset(state_io.join(list[str], meta.get("resting", []), {}, "resting"))
    for name, module in learner.net.named_modules():
        if name in kept:
            module.training = False
    learner.modes = Modes(kept)
    learner.random = tensors["random"]


def _load_method(learner: Learning, meta: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """What the method holds."""
    held = learner.held
    held.generator = torch.Generator(device=learner.device)
    held.generator.set_state(tensors["draws"])
    held.learnt, held.spec, held.state = state_io.join(int, meta["learnt"], {}, "tasks"), None, None
    learner.costs = state_io.join(Costs, meta["costs"], {}, "costs")
    learner.bind(learner.optimizer)
    if meta["spec"] is not None:
        held.spec = state_io.join(Spec, meta["spec"], {}, "spec")
        state = state_io.join(learner.method.state_type, meta["state"], tensors, "state")
        held.state = learner.method.placed(state, learner.theta.tensors[0])


def _load_place(learner: Learning, meta: dict[str, Any]) -> None:
    """How far the stream has been learnt, and what outputs stand for."""
    outputs, spec = learner.outputs, learner.spec
    outputs.seen = state_io.join(tuple[int, ...], meta["seen"], {}, "tasks")
    outputs.known = state_io.join(int | None, meta.get("known"), {}, "known")
    outputs.named = {int(c): str(name) for c, name in meta.get("names", ())}
    learner.at = state_io.join(Position | None, meta["at"], {}, "at")
    places = [] if learner.at is None else [v for v in asdict(learner.at).values() if isinstance(v, int)]
    counts = [learner.learnt, *outputs.seen, *places]
    if min(counts) < 0 or (spec is not None and max((0, *outputs.seen)) >= spec.outputs):
        raise ValueError(f"tasks, classes and places {counts} are none of this network")
    if learner.at is not None:  # steps that come without a task know no other objective
        learner.stepper.at(learner.objective(None))
    learner.allowed = None if meta.get("allowed") is None else Allowed(*meta["allowed"])
    learner.ending = meta.get("ending", 0)


def _check_shapes(learner: Learning, growth: Sequence[Growth], trained: dict[str, Tensor]) -> None:
    """Raises `MethodError` where the learner's network, grown so, has other weights than these; nothing is changed."""
    fix = "build the learner with the network as it was first built, with the outputs that it had then even if it has grown since"
    net = learner.net if learner.ungrown is None else learner.ungrown
    if growth:
        net = copy.deepcopy(net)
        for operation in growth:
            try:
                grow(net, operation)
            except MethodError as error:
                raise MethodError(f"what was saved has grown as this network cannot ({error}): {fix}") from error
    own = {name: list(t.shape) for name, t in net.state_dict().items()}
    saved = {name: list(t.shape) for name, t in trained.items()}
    for name in (*saved, *own):
        if own.get(name) != saved.get(name):
            there, here = (shapes.get(name, "missing") for shapes in (saved, own))
            raise MethodError(f"this was saved by another network ({name}: {there} there, {here} here): {fix}")
