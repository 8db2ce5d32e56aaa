"""What a guard holds, taken apart for a checkpoint and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import state_io
from ..core.contexts import Spec
from ..core.errors import MethodError
from ..core.fingerprint import constants, differing
from ..core.objective import Classification, active_classes
from ..core.random import generator
from ..training.first_batch import plain_width
from ..training.protected import Protected, claim, mark, moved
from ..training.stepper import Held
from .guard_checks import other_weights
from .guarding import Guarding

if TYPE_CHECKING:
    from torch import Tensor


__all__ = ["load", "saved"]


def saved(guard: Guarding) -> dict[str, Any]:
    """See `Guard.state_dict`."""
    held, record = guard.held, guard.record
    tensors, skeleton = state_io.split({"state": held.state, "draws": held.generator}, "guard")
    meta = {
        "method": guard.method.name,
        "constants": constants(guard.method),
        "weights": [list(t.shape) for t in guard.theta.tensors],
        "mark": _mark(guard),
        "state": skeleton,
        "outputs": None if held.spec is None else held.spec.outputs,
        "width": record.width,
        "learnt": held.learnt,
        "seen": list(held.seen),
        "before": list(record.before),
        "open": record.open,
        "steps": record.steps,
        "scenario": guard.scenario,
        "known": guard.outputs_known,
        "classes": None if record.classes is None else list(record.classes),
    }
    active = active_classes(guard.objective)
    if active is not None:
        tensors["mask"] = active
    return {"tensors": {k: v.detach().clone() for k, v in tensors.items()}, "meta": meta}


def _mark(guard: Guarding) -> tuple[float, float]:
    return mark(guard.theta.tensors) if guard.acts else (0.0, 0.0)  # without a method the weights may be sharded


def load(guard: Guarding, saved: dict[str, Any]) -> None:
    """See `Guard.load_state_dict`."""
    if not saved.keys() >= {"meta", "tensors"}:
        raise MethodError(
            f"expected what guard.state_dict() gave, got {', '.join(map(repr, saved))[:100]}: the model loads its own"
        )
    meta = saved["meta"]
    _check(guard, meta)
    tensors = {k: v.clone() for k, v in saved["tensors"].items()}  # learning writes into them
    nodes = dict(meta["state"]["items"])
    # of its own from now on: another guard of these weights that went on with what is held would not have been loaded
    held = Held(guard.method, guard.scenario, guard.seed, generator(guard.seed, "method/0", guard.device))
    if meta["outputs"] is not None:
        held.spec = Spec((), meta["outputs"], guard.scenario, guard.seed)
        state = state_io.join(guard.method.state_type, nodes["state"], tensors, "state")
        held.state = guard.method.placed(state, guard.theta.tensors[0])
    held.generator.set_state(tensors[nodes["draws"]["tensor"]])
    held.learnt, held.seen = meta["learnt"], tuple(meta["seen"])
    guard.record = Protected(
        held,
        before=tuple(meta.get("before", ())),
        classes=None if meta.get("classes") is None else tuple(meta["classes"]),
        width=meta.get("width"),
        open=meta["open"],
        steps=meta.get("steps", 0),
    )
    guard.outputs_known = meta.get("known", guard.outputs_known)
    guard.watched.versions = sum(t._version for t in guard.theta.tensors)
    guard.objective = _objective(guard, tensors)
    guard.tried, guard.dropped = True, ""
    guard.bind()
    if guard.acts:
        claim(guard.theta, guard.record)


def _objective(guard: Guarding, tensors: dict[str, Tensor]) -> Classification:
    return Classification(tensors["mask"].to(guard.device) if "mask" in tensors else None)


def _check(guard: Guarding, meta: dict[str, Any]) -> None:
    """Raises `MethodError` where what was saved is of another method or another model."""
    if meta["method"] != guard.method.name:
        raise MethodError(f"this was saved by the method {meta['method']!r}, not {guard.method.name!r}")
    if meta.get("scenario", guard.scenario) != guard.scenario:
        raise MethodError(
            f"this was saved in the scenario {meta['scenario']!r}, and this guard is in {guard.scenario!r}: protect(..., scenario=...) as before"
        )
    if others := differing(meta.get("constants"), constants(guard.method)):
        raise MethodError(
            f"this was saved by a guard with {'; '.join(others)}: protect with the hyperparameters of before"
        )
    here = [list(t.shape) for t in guard.theta.tensors]
    if meta.get("weights", here) != here:
        raise MethodError(other_weights(meta["weights"], here))
    present = _mark(guard)
    before: tuple[float, float] = tuple(meta.get("mark", present))
    if moved(before, present):
        guard.warn(
            "the model's weights are not those that this was saved beside: load the model's first, or it will be held to another's"
        )
    now, then = plain_width(guard.model), meta.get("width")
    if meta["outputs"] is not None and None not in (now, then) and now != then:
        raise MethodError(
            f"this was saved with a network of {then} outputs, and this one has {now}: give it as many (a Learner with "
            "grows=True gets more as classes come)"
        )
