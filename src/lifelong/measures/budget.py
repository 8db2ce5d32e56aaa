"""What a run may cost, so that methods are compared at equal cost.

*Compute* is counted in passes of examples while training, forward and backward together, through the network that learns or another (a teacher, a
generator), estimates of importance included (`Costs`). Each task has an equal share of it; what one leaves the next may use, and what the end of a task cost (an importance, for
instance) is set aside in the next. Where a share does not suffice for all steps of a task its training ends sooner, and the run says so
(fixed compute a task: Prabhu et al. 2023, arXiv 2303.11165).

*Memory* is in bytes kept because of past tasks, as ``memory_bytes`` of a run: a method's state, and past examples where it trains on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, final

from ..core.errors import MethodError, RunError

__all__ = ["Budget", "amount"]

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

    def keep(self, spent: int, kept: int, method: str, after: int, T: int) -> None:
        """Raises `RunError` where a run that has `spent` passes and keeps `kept` bytes has gone beyond it: what nobody could foresee, or cut."""
        if self.compute is not None and spent > self.compute:
            raise RunError(
                f"{method} has spent {spent:,} passes after task {after} of {T}, more than its budget of {self.compute:,}: "
                "what it does besides its steps (estimates at a task's end) cannot be cut; raise --budget-compute, or let it estimate on fewer "
                "examples (of EWC: fisher_examples)"
            )
        if self.memory is not None and kept > self.memory:
            raise RunError(
                f"{method} keeps {kept:,} bytes after task {after} of {T}, more than its budget of {self.memory:,}: raise "
                "--budget-memory, or let it keep less"
            )


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
