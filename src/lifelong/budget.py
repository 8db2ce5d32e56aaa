"""What a run may cost, so that methods are compared at equal cost.

*Compute* is counted in passes of examples while training, forward and backward together, through the network that learns or another (a teacher, a
generator), estimates of importance included (`Costs`). Each task has an equal share of it; what one leaves the next may use, and what the end of a task cost (an importance, for
instance) is set aside in the next. Where a share does not suffice for all steps of a task its training ends sooner, and the run says so
(fixed compute a task: Prabhu et al. 2023, arXiv 2303.11165).

*Memory* is in bytes kept because of past tasks, as ``memory_bytes`` of a run: a method's state, and past examples where it trains on them.
A method that would need more is refused before anything is made. What that is says a rehearsal: the method goes through the stream with one
step and few examples a task, since what is kept depends on shapes and numbers, not on values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from .errors import MethodError, RunError

if TYPE_CHECKING:
    from torch import nn

    from .fitting import Build
    from .method import Method
    from .run import Record
    from .stream import Stream
    from .training import Training

__all__ = ["Budget", "amount", "memory_needed"]

SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@final
@dataclass(frozen=True)
class Budget:
    """What a run of one method with one seed may cost.

    Args:
        compute: passes of examples in training, forward and backward together; default: no limit.
        memory: bytes kept because of past tasks; default: no limit.
    """

    compute: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if (self.compute is not None and self.compute < 1) or (self.memory is not None and self.memory < 0):
            raise MethodError(f"{self}: expected compute of at least 1, memory of 0 or more")

    def share(self, index: int, T: int) -> int | None:
        """What the costs may come to when task `index` of T is learnt."""
        return None if self.compute is None else self.compute * (index + 1) // T

    def check(self, method: Method, net: Build | nn.Module, stream: Stream, training: Training, spent: int = 0) -> None:
        """Raises `MethodError` where a run cannot keep within it; `spent` are passes made before the first task."""
        if self.compute is not None:
            least = spent + 2 * sum(min(training.batch_size, len(task.train)) for task in stream)
            if self.compute < least:
                before = f" and {spent:,} are spent before the first" if spent else ""
                raise MethodError(
                    f"a budget of {self.compute:,} passes: one step in each of {len(stream)} tasks takes {least - spent:,}{before}: raise it "
                    "(--budget-compute), or lower the batch size"
                )
        if self.memory is not None:
            need = memory_needed(method, net, stream, training)
            if need > self.memory:
                raise MethodError(
                    f"{method.name} would keep {need:,} bytes because of past tasks, and the budget is {self.memory:,}: lower what it keeps "
                    "(such as its slots), leave it out, or raise --budget-memory"
                )

    def keep(self, record: Record, method: str) -> None:
        """Raises `RunError` where a run has gone beyond it: what nobody could foresee, or cut."""
        spent, kept = sum(record.forward) + sum(record.backward), record.memory_bytes[-1]
        if self.compute is not None and spent > self.compute:
            raise RunError(
                f"{method} has spent {spent:,} passes after task {record.rows - 1} of {record.T}, more than its budget of {self.compute:,}: "
                "what it does besides its steps (estimates at a task's end) cannot be cut; raise --budget-compute, or let it estimate on fewer "
                "examples (of EWC: fisher_examples)"
            )
        if self.memory is not None and kept > self.memory:
            raise RunError(
                f"{method} keeps {kept:,} bytes after task {record.rows - 1} of {record.T}, more than its budget of {self.memory:,}: raise "
                "--budget-memory, or let it keep less"
            )


def memory_needed(method: Method, net: Build | nn.Module, stream: Stream, training: Training) -> int:
    """The most bytes that a run would keep because of past tasks. Two rehearsals, one with twice the examples, tell what grows with them. What
    depends on how well the network learns (growth on demand) is not foreseen."""
    (few, small), (more, larger) = (_rehearsed(method, net, stream, training, each) for each in (2, 4))
    whole = sum(len(task.train) for task in stream)
    return small if more == few else round(small + (larger - small) * (whole - few) / (more - few))


def _rehearsed(
    method: Method, net: Build | nn.Module, stream: Stream, training: Training, each: int
) -> tuple[int, int]:
    """With `each` examples of a class and one step a task: how many examples that are, and the most bytes that were kept."""
    import torch

    from .fitting import learner_for

    few = []
    for task in stream:
        labels = task.train.labels
        rows = torch.cat([(labels == c).nonzero().flatten()[:each] for c in labels.unique().tolist()])
        few.append(replace(task, train=task.train.subset(rows)))
    short = replace(training, epochs=1, iterations=1)
    learner = learner_for(method, net, replace(stream, tasks=tuple(few)), short, 0)
    most = 0
    for task in few:
        if method.once and task.index + 1 < len(few):
            learner.remember(task)
            continue
        learner.learn(task)
        most = max(most, learner.memory_bytes)
    return sum(len(task.train) for task in few), most


def amount(said: Any, name: str) -> int | None:
    """A number as people write it: ``50000``, ``2e6``, ``2M``, ``64kB``.

    Raises:
        MethodError: it is none.
    """
    if said is None or said == "none":
        return None
    found = re.fullmatch(r"\s*([\d.]+(?:e\+?\d+)?)\s*([kMGT]?)B?\s*", str(said), re.I)
    try:
        assert found is not None
        unit = {"k": "k", "m": "M", "g": "G", "t": "T", "": ""}[found[2].lower()]
        return round(float(found[1]) * SIZES[unit])
    except (AssertionError, ValueError):
        raise MethodError(f"{name} {said!r}: expected a number such as 50000, 2e6, 2M or 64kB") from None
