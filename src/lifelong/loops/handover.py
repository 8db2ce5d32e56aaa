"""Whether a new guard carries on with what is held of its weights."""

from __future__ import annotations

from ..core.vector import Vector
from ..training.protected import Protected, by_a_learner, copied, known, mark, moved, same

__all__ = ["taken_over"]


def taken_over(record: Protected, theta: Vector) -> tuple[Protected, str]:
    """What a guard of the weights `theta` that would begin with `record` goes on with: that, or what a guard before holds of the same weights;
    and what must be reported of what is held of them and is not carried on, empty where that is nothing."""
    before, dropped = known(theta), ""
    for other in before:
        held = other.held
        began = held.learnt > 0 or other.steps > 0
        alike = (held.method, held.scenario, held.seed) == (record.held.method, record.held.scenario, record.held.seed)
        whole = other.weights == tuple(id(t) for t in theta.tensors)
        now = mark(theta.tensors)
        reset = other.begun is not None and same(other.begun, now)  # to where they were before its first task
        there = other.marked is None or other.open or same(other.marked, now) or not (reset or moved(other.marked, now))
        if began and alike and whole and there and not other.removed:
            record = other
        elif began and (not other.removed or (alike and there)):
            tasks = f"{held.learnt} task(s)" if held.learnt else "the task that had begun"
            dropped = (
                f"these weights were protected before, with {held.method}, and {tasks} that were held then are not held now: "
                "guard.attach(optimizer) of the guard before carries on, and so does protect with the same method and settings where the "
                "weights are the same (none frozen or replaced since); guard.load_state_dict(...) goes back to what was saved"
            )
    if before:
        return record, dropped
    learnt = by_a_learner(theta)
    if learnt is not None:
        dropped = (
            f"a learner of this model holds {learnt.tasks} task(s) with {learnt.method.name}, and this guard holds none of them: let the learner "
            "learn the next task too"
        )
    other_model = copied(theta)
    if other_model is not None:
        dropped = (
            f"this is a copy of a model that was protected with {other_model.held.method}, and the {other_model.held.learnt} task(s) that are held of "
            "that one are not held of the copy: guard.load_state_dict(guard_before.state_dict()) carries on"
        )
    return record, dropped
