"""What every stream must obey. Each law is a function of what makes the stream of a seed, and raises `LawBroken` where it does not hold."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..core.examples import Examples
from ..core.fingerprint import same_data, trace
from ..core.random import untouched
from ..core.stream import Stream
from ..methods import Finetune, Replay
from ..training.learner import Learner
from ..training.settings import Training
from .laws import holds

__all__ = ["STREAM_LAWS", "Make"]

Make = Callable[[int], Stream]  # of a seed
FEW = 64  # examples that a law looks at closely


def makes_a_stream(make: Make) -> None:
    """It gives a `Stream` of at least one task."""
    found = make(0)
    holds(
        isinstance(found, Stream),
        f"it gives a {type(found).__name__}, expected a Stream (lifelong.stream_of makes one)",
    )


def seeds_decide(make: Make) -> None:
    """The same seed gives the same data."""
    holds(
        same_data(trace(make(0)), trace(make(0))),
        "made twice with one seed it holds other data: draw from the seed alone",
    )


def draws_nothing_global(make: Make) -> None:
    """Making it draws nothing from torch's own generator."""
    before = torch.get_rng_state()
    make(0)
    drawn = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    holds(not drawn, "making it draws from torch's own generator: use torch.Generator().manual_seed(seed)")


def labels_are_outputs(make: Make) -> None:
    """A task's labels are among its classes, and its classes among the stream's outputs."""
    stream = make(0)
    for task in stream:
        for part, examples in (("training", task.train), ("test", task.test)):
            y = examples.labels
            holds(
                not y.is_floating_point() and y.dim() == 1,
                f"task {task.name!r}: {part} labels are {y.dtype} {list(y.shape)}, expected [N] indices",
            )
            odd = sorted(set(y.unique().tolist()) - set(task.classes))
            holds(not odd, f"task {task.name!r}: {part} labels {odd} are not among its classes {task.classes}")
        if stream.announced:
            over = [c for c in task.classes if not 0 <= c < stream.outputs]
            holds(not over, f"task {task.name!r} has classes {over}, and the stream {stream.outputs} outputs")


def scenario_is_told_right(make: Make) -> None:
    """In the scenario "domain" tasks share their classes; in the scenarios "task" and "class" some differ, where there are several tasks."""
    stream = make(0)
    kinds = {task.classes for task in stream}
    if stream.scenario == "domain":
        holds(len(kinds) == 1, f"in the scenario 'domain' all tasks share their classes; these have {sorted(kinds)}")


def inputs_are_finite(make: Make) -> None:
    """No input is NaN or infinite, and all have the stream's shape."""
    stream = make(0)
    for task in stream:
        for examples in (task.train, task.test):
            for chunk in _few(examples).all():
                holds(
                    bool(chunk.x.isfinite().all()) if chunk.x.is_floating_point() else True,
                    f"task {task.name!r} has inputs that are NaN or infinite",
                )
                shape = tuple(chunk.x.shape[1:])
                holds(
                    shape == stream.shape,
                    f"task {task.name!r} has inputs {list(shape)}, and the stream says {list(stream.shape)}",
                )


def chunks_give_what_is_asked(make: Make) -> None:
    """Examples come in the order that is asked for, whatever the size of the chunks, and a subset holds those that were picked."""
    for task in make(0):
        few = _few(task.train)
        order = torch.randperm(len(few), generator=torch.Generator().manual_seed(0))
        with untouched():
            whole, parts = list(few.chunks(order, len(few))), list(few.chunks(order, 7))
        x, y = (torch.cat([getattr(c, of) for c in parts]) for of in ("x", "y"))
        holds(
            torch.equal(y, torch.cat([c.y for c in whole])),
            f"task {task.name!r}: labels differ with the size of the chunks",
        )
        holds(
            torch.equal(y.cpu(), few.labels[order].cpu()),
            f"task {task.name!r}: chunks(order) gives other labels than labels[order]",
        )
        augments = not torch.equal(x, torch.cat([c.x for c in whole]))
        if not augments:
            picked = torch.cat([c.x for c in few.subset(order[:5]).all()])
            holds(
                torch.equal(picked, x[:5]), f"task {task.name!r}: subset(index) gives other inputs than chunks(index)"
            )


def can_be_learnt(make: Make) -> None:
    """A learner takes two steps in each task, is measured, and goes on from where it was saved."""
    stream = make(0)
    stream = stream if len(stream) <= 3 else stream.subset(range(3))
    for method in (Finetune(), Replay(20)):
        learner = Learner(
            _Mean(stream.shape, stream.outputs),
            method,
            Training(lr=0.01, iterations=2, batch_size=4),
            scenario=stream.scenario,
            grows=not stream.announced,
        )
        for task in stream:
            learner.learn(task)
        found = [accuracy for accuracy, _, _ in learner.evaluate(stream)]
        holds(all(0 <= a <= 1 for a in found), f"a learner measures the accuracies {found}")


def _few(examples: Examples) -> Examples:
    return examples.subset(torch.arange(min(FEW, len(examples))))


class _Mean(torch.nn.Module):
    """A network for inputs of any shape and kind."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(max(1, int(torch.tensor(shape).prod())), outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(x.flatten(1).to(self.head.weight.dtype))
        return found


STREAM_LAWS: tuple[Callable[[Make], None], ...] = (
    makes_a_stream,
    seeds_decide,
    draws_nothing_global,
    labels_are_outputs,
    scenario_is_told_right,
    inputs_are_finite,
    chunks_give_what_is_asked,
    can_be_learnt,
)
