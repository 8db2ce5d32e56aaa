"""What the estimators share: labels become outputs as they come, and the learner is made for the first examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ..core import state_io as tree
from ..core.errors import DataError, MethodError
from ..core.examples import Tensors
from ..core.method import Method
from ..core.stream import Stream, Task
from ..training.build import Build, learner_for
from ..training.learner import Learner
from ..training.settings import Training

__all__ = ["Incremental", "checked"]


def checked(labels: Sequence[Any]) -> list[Any]:
    """The labels, each of which names a class.

    Raises:
        DataError: one is missing (None, NaN, pandas' NA), a fraction, or nothing that can be a key.
    """
    for i, label in enumerate(labels):
        try:
            fraction = (
                isinstance(label, float | np.floating) and not float(label).is_integer()
            )  # NaN and infinity are none either
            named = label is not None and bool(label == label) and not fraction and hash(label) is not None
        except (TypeError, ValueError):  # NA is neither equal nor unequal; an array is no key
            named = False
        if not named:
            raise DataError(
                f"label {label!r} (example {i}) names no class: leave out examples whose label is missing; fractions are targets of a "
                "regression, which this does not learn"
            )
    return list(labels)


@final
@dataclass
class Incremental:
    """A learner in the scenario "class" whose labels are anything that can be a key; output c is the c-th that came.

    Args:
        task: how many examples make a task where they come in steps; None: a task ends where a class comes that was not met.
    """

    method: Method
    net: Build | nn.Module
    training: Training
    seed: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    task: int | None = None
    labels: dict[Any, int] = field(default_factory=dict)
    learner: Learner | None = None
    _kept: list[Tensors] = field(default_factory=list)  # the present task, for a method that looks at it when it ends
    _count: int = 0
    _shape: tuple[int, ...] = ()  # of an input, and the outputs, that the learner began with
    _outputs: int = 0

    def announce(self, labels: Iterable[Any]) -> None:
        """Outputs for labels that have none; examples of them may come later or never."""
        for label in labels:
            self.labels.setdefault(label, len(self.labels))

    def learn(self, x: Tensor, labels: Sequence[Any]) -> None:
        """One task: ``x [N, ...]`` with N labels."""
        task = self._task(x, labels)
        self._made(task).learn(task)

    def step(self, x: Tensor, labels: Sequence[Any]) -> None:
        """One step on a batch ``x [B, ...]`` with B labels.

        Raises:
            MethodError: the method needs whole tasks, or what a task is.
        """
        ends = "end" in self.method.acts
        if (ends or self.method.traits.later) and self.task is None and self.method.portable:
            raise MethodError(
                f"{self.method.name} acts when a task has ended, and nobody says where that is: say what makes a task (task=1000, "
                "calls='tasks'), or choose a method that needs no ends (replay, der, agem with fill reservoir)"
            )
        task = self._task(x, labels)
        learner = self._made(task)
        if self._count and not set(task.classes) <= set(learner.seen):
            self._finish(learner)
        learner.step(x, task.train.labels)
        self._count += len(labels)
        if ends:
            assert isinstance(task.train, Tensors)
            self._kept.append(task.train)
        if self.task is not None and self._count >= self.task:
            self._finish(learner)

    def _finish(self, learner: Learner) -> None:
        kept = self._kept
        learner.finish(Tensors(torch.cat([k.x for k in kept]), torch.cat([k.y for k in kept])) if kept else None)
        self._kept, self._count = [], 0

    def probabilities(self, x: Tensor) -> Tensor:
        """``[B, labels]``, in float64 and in the order of the labels; 0 for what was announced and has not come."""
        assert self.learner is not None
        p = self.learner.scores(x).double().softmax(1)
        return torch.nn.functional.pad(p, (0, len(self.labels) - p.shape[1]))

    # --- pickling: the learner as in a checkpoint, the rest as it is --------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        found = {**self.__dict__, "learner": None}
        if self.learner is not None:
            saved = self.learner.state_dict()
            tensors = {k: v.contiguous().cpu() for k, v in saved["tensors"].items()}
            found["saved"] = (self._shape, self._outputs, save(tensors), json.dumps(saved["meta"]), self.learner.past)
        return found

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state.pop("saved", None)
        self.__dict__.update(state)
        if saved is not None:
            shape, outputs, tensors, meta, past = saved
            self.learner = self._fresh(shape, outputs)
            met = [Task("", e, e, tuple(e.labels.unique().tolist())) for e in past]
            self.learner.load_state_dict({"tensors": load(tensors), "meta": json.loads(meta)}, past=met)

    @property
    def nbytes(self) -> int:
        """Bytes of the network, its optimiser, the method's state and the examples kept."""
        if self.learner is None:
            return 0
        kept = sum(t.numel() * t.element_size() for k in self._kept for t in (k.x, k.y))
        return tree.nbytes(self.learner.state_dict()["tensors"]) + kept

    def _task(self, x: Tensor, labels: Sequence[Any]) -> Task:
        self.announce(labels)
        y = torch.tensor([self.labels[label] for label in labels])
        examples = Tensors(x, y)
        number = 1 if self.learner is None else self.learner.learnt + 1
        return Task(f"task {number}", examples, examples, tuple(sorted(set(y.tolist()))))

    def _made(self, task: Task) -> Learner:
        if self.learner is None:
            self.learner = self._fresh(task.train.shape, len(self.labels))
        return self.learner

    def _fresh(self, shape: tuple[int, ...], outputs: int) -> Learner:
        """The learner before its first task."""
        self._shape, self._outputs = shape, outputs
        nothing = Tensors(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))
        task = Task("", nothing, nothing, tuple(range(outputs)))
        stream = Stream((task,), "class", tuple(map(str, range(outputs))), announced=False)
        return learner_for(self.method, self.net, stream, self.training, self.seed, self.device, self.dtype)
