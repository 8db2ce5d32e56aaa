"""What a network's outputs stand for, and which of them are active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.errors import DataError, MethodError
from ..core.modes import evaluating
from ..core.stream import Scenario, Task

__all__ = ["Outputs", "logits", "width"]


@final
class Outputs:
    """The classes of the tasks so far.

    Args:
        scenario: which outputs are active (see `lifelong.core.stream`).
        known: how many of the first outputs stood for something before the first task; None: the tasks say it.
    """

    def __init__(self, scenario: Scenario, known: int | None) -> None:
        self.scenario = scenario
        self.known = known
        self.seen: tuple[int, ...] = tuple(range(known or 0)) if scenario != "domain" else ()  # sorted
        self.named: dict[int, str] = {}  # what outputs stand for, as the tasks say

    def adopt(self, task: Task, first: bool) -> None:
        """Counts outputs that stood for something before the stream as seen; `first`: no task was met before."""
        if self.known is None:
            self.known = task.known
            if self.scenario != "domain" and first:
                self.seen = tuple(range(self.known))

    def meet(self, task: Task, outputs: int) -> None:
        """Counts the classes of `task` as seen, and takes their names."""
        learnt = {c: name for c, name in self.named.items() if c in self.seen}
        self.named |= dict(enumerate(task.class_names[:outputs])) | learnt
        self.see(task.classes)

    def see(self, classes: Sequence[int]) -> None:
        """Counts classes as seen."""
        self.seen = tuple(sorted({*self.seen, *classes}))

    @property
    def names(self) -> tuple[str, ...]:
        """What outputs stand for, as far as the last that a task named or used; one without a name is called by its number."""
        return tuple(self.named.get(c, f"class {c}") for c in range(max([-1, *self.named, *self.seen]) + 1))

    def active(self, task: Task | None, outputs: int, every: bool, device: torch.device) -> Tensor | None:
        """The active outputs of `outputs`, ``[C]``; None: all. With `every` all are in the scenario "class"."""
        if self.scenario == "task" and task is not None:
            classes: Sequence[int] = task.classes
        elif self.scenario == "class" and not every:
            classes = self.seen
        else:
            return None
        if len(classes) == outputs:
            return None
        mask = torch.zeros(outputs, dtype=torch.bool, device=device)
        mask[list(classes)] = True
        return mask

    def check(self, task: Task) -> None:
        """Raises `DataError` where `task` means other classes by the same numbers. A stream made of new data alone would number its classes
        from 0 again. In the scenario "domain" an output may stand for other things in other tasks, but not two outputs for each other's."""
        names = task.class_names
        number = {name: c for c, name in self.named.items() if c in self.seen}
        for c in task.classes:
            if c >= len(names):
                continue
            k = number.get(names[c], c)
            if k != c and names[k : k + 1] != (names[c],):
                what = f"which this network learnt as class {k}"
            elif c in self.seen and self.scenario != "domain" and self.named.get(c, names[c]) != names[c]:
                what = f"which this network learnt as {self.named[c]!r}"
            else:
                continue
            raise DataError(
                f"task {task.name!r} calls class {c} {names[c]!r}, {what}: number the new data's classes after those it knows, with "
                "stream_of(..., classes=learner.class_names); where they are meant to be one, replace(task, class_names=())"
            )


def width(net: nn.Module, x: Tensor, of: str) -> int:
    """How many outputs a network gives to inputs, which an error calls the inputs `of`."""
    try:
        with torch.no_grad(), evaluating(net):
            output = net(x)
    except (RuntimeError, IndexError, ValueError) as error:
        numbers = "" if x.is_floating_point() else "; layers of weights take x.float(), an embedding takes indices"
        raise MethodError(
            f"the network cannot take the inputs {of}, {x.dtype} {list(x.shape[1:])} each ({str(error).splitlines()[0]}){numbers}"
        ) from error
    return int(logits(output).shape[1])


def logits(output: Any) -> Tensor:
    """What a network gave, as logits ``[B, C]``.

    Raises:
        MethodError: it is something else.
    """
    if not isinstance(output, Tensor) or output.dim() != 2:
        got = f"shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise MethodError(f"the network must give logits [B, C]; got {got}: wrap it so that it does")
    return output
