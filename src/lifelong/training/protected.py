"""What guards and learners have learnt of weights, kept for as long as the weights exist.

A guard is made for an optimiser, and many loops make a new optimiser for each task. What a method holds of earlier tasks belongs to the
weights: a guard that is made anew for them carries on with it. One guard acts on a weight, the one that was made last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..core.method import Method
from ..core.stream import Scenario
from ..core.vector import Vector
from .stepper import Held

__all__ = [
    "Learnt",
    "Protected",
    "by_a_guard",
    "by_a_learner",
    "claim",
    "copied",
    "known",
    "mark",
    "moved",
    "note",
    "owner",
    "same",
]


@dataclass(eq=False)
class Protected:
    """What one guard after another has learnt of some weights."""

    held: Held
    before: tuple[int, ...] = ()  # those of the classes seen that earlier tasks had
    classes: tuple[int, ...] | None = None  # of the present task
    width: int | None = None  # outputs, where the model has been seen to give them
    open: bool = False  # whether a task has begun
    steps: int = 0  # of it
    begun: tuple[float, float] | None = None  # the weights as they came
    marked: tuple[float, float] | None = None  # as they were when the last task ended
    removed: bool = False  # whether its user removed the guard
    weights: tuple[int, ...] = ()  # of which, in order


_held: Any = WeakTensorKeyDictionary()  # weight -> Protected


def known(theta: Vector) -> list[Protected]:
    """What is known of any of these weights."""
    found: list[Protected] = []
    for t in theta.tensors:
        held = _held.get(t)
        if held is not None and all(held is not other for other in found):
            found.append(held)
    return found


def claim(theta: Vector, held: Protected) -> None:
    """From now on these weights are `held`'s."""
    held.weights = tuple(id(t) for t in theta.tensors)
    held.begun = held.begun or mark(theta.tensors)
    for t in theta.tensors:
        _held[t] = held


@dataclass(eq=False)
class Learnt:
    """What a learner holds of some weights. It owns none of them: whoever steps them acts on them."""

    method: Method
    scenario: Scenario
    tasks: int = 0
    grown: bool = False
    marked: tuple[float, float] = (0.0, 0.0)  # the weights as its last task left them


_learnt: Any = WeakTensorKeyDictionary()  # weight -> Learnt


def note(theta: Vector, held: Learnt) -> None:
    """A learner has ended a task with these weights."""
    held.marked = mark(theta.tensors)
    for t in theta.tensors:
        _learnt[t] = held


def by_a_learner(theta: Vector, own: Learnt | None = None) -> Learnt | None:
    """What a learner other than `own` holds of these weights, as they are now; None: nothing, or of others than they are."""
    every: list[Learnt] = [_learnt[t] for t in theta.tensors if t in _learnt]
    for held in {id(found): found for found in every}.values():
        of_it = [t for t in theta.tensors if _learnt.get(t) is held]
        if held is not own and same(held.marked, mark(of_it)):
            return held
    return None


def by_a_guard(theta: Vector) -> Protected | None:
    """What a guard holds of these weights, as they are now."""
    for held in known(theta):
        acts = held.held.learnt and not held.removed and held.held.method.acts
        if acts and held.marked is not None and same(held.marked, mark(theta.tensors)):
            return held
    return None


def copied(theta: Vector) -> Protected | None:
    """What is held of weights of which these are a copy, to the last bit of what a mark knows; None: they are of none."""
    shapes, here = [t.shape for t in theta.tensors], mark(theta.tensors)
    every: list[Protected] = list({id(h): h for h in _held.values()}.values())
    for held in every:
        own = [t for t in _held if _held[t] is held]
        if (
            held.held.learnt
            and not held.removed
            and held.begun != held.marked == here
            and sorted(t.shape for t in own) == sorted(shapes)
        ):
            return held
    return None


def owner(t: Tensor) -> Protected | None:
    """Who holds a weight."""
    found: Protected | None = _held.get(t)
    return found


def mark(tensors: list[Tensor]) -> tuple[float, float]:
    """Σ ±θ with signs in turn, and ‖θ‖: by which weights are told from others of the same shapes."""
    if not tensors:
        return 0.0, 0.0
    signed, lengths = [], []
    for t in (t.detach().reshape(-1) for t in tensors):
        kind = torch.promote_types(t.dtype, torch.float32)
        signed.append((t[::2].sum(dtype=kind) - t[1::2].sum(dtype=kind)).float())
        lengths.append(torch.linalg.vector_norm(t, dtype=kind).float())
    return float(torch.stack(signed).cpu().double().sum()), float(torch.stack(lengths).cpu().double().norm())


def same(before: tuple[float, float], now: tuple[float, float]) -> bool:
    """Whether two marks are of the same weights, but for the order of sums."""
    return abs(before[0] - now[0]) + abs(before[1] - now[1]) <= 1e-6 * (1e-6 + now[1])


def moved(before: tuple[float, float], now: tuple[float, float]) -> bool:
    """Whether two marks are of other weights; what half precision rounds off does not count."""
    return abs(before[0] - now[0]) > 0.02 * now[1]
