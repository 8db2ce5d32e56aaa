"""Two ranks give what one gives, for a method that says so.

The ranks are threads of this process, of which one runs at a time and hands over where the ranks say something to one another. So the law
needs no processes that could import the method.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.errors import MethodError
from ..core.method import Method
from ..core.ranks import ALONE
from ..training.learner import Learner
from ..training.settings import Training
from .laws import holds
from .toys import toy_net, toy_stream

__all__ = ["ranks_give_what_one_gives"]

WORLD = 2
WAIT = 120.0  # seconds after which a rank that says nothing counts as gone


def ranks_give_what_one_gives(method: Method) -> None:
    """With `Traits(ranks=True)` two ranks end on the weights of one, to rounding, and in step to the last bit; without it they are refused."""
    if not method.traits.ranks:
        if method.acts:
            try:
                _learnt(method, _Table(1).ranks(0, world=WORLD))
            except MethodError:
                return
            holds(False, "it does not say that it works on several ranks, and is not refused there")
        return
    random = torch.get_rng_state()
    try:
        alone, (first, second) = _learnt(method, ALONE), _together(lambda ranks: _learnt(method, ranks))
    finally:
        torch.set_rng_state(random)
    apart = float((first - alone).abs().max())
    holds(torch.equal(first, second), "two ranks are not in step: draw the same on all of them, from context.generator")
    holds(apart < 1e-6, f"two ranks end on other weights than one with the same global batch: up to {apart:.1e} apart")


def _learnt(method: Method, ranks: Any) -> Tensor:
    """The weights after two tasks, and the scores."""
    scenario = method.scenarios[0]
    stream = toy_stream(scenario, tasks=2, inputs=method.inputs)
    training = Training(lr=0.05, momentum=0.9, batch_size=16, iterations=20, clip=2.0)
    net = toy_net(stream.outputs, inputs=stream.shape)
    learner = Learner(net, method, training, scenario=scenario, dtype=torch.float64, ranks=ranks)
    for task in stream:
        if method.traits.once and task.index + 1 < len(stream):
            learner.remember(task)
        else:
            learner.learn(task)
    scores = [
        learner.scores(task.test.all(60).__next__().x.double(), task).clamp(min=-1e9).flatten() for task in stream
    ]
    return torch.cat([learner.theta.flat(), *scores])


class _Table:
    """Where the ranks meet: what each brings, and whose turn it is."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.turn = threading.Condition()
        self.now = 0  # the rank that runs
        self.brought: list[Any] = [None] * world
        self.over = [False] * world

    def ranks(self, rank: int, world: int | None = None) -> _ThreadRanks:
        return _ThreadRanks(self, rank, world or self.world)

    def wait(self, rank: int) -> None:
        """Until it is this rank's turn."""
        with self.turn:
            if not self.turn.wait_for(lambda: self.now == rank, WAIT):
                raise TimeoutError(f"rank {rank} waits for another that says nothing")

    def hand_over(self, rank: int) -> None:
        """To the next rank that is not done."""
        with self.turn:
            left = [(rank + k) % self.world for k in range(1, self.world + 1)]
            self.now = next((r for r in left if not self.over[r]), rank)
            self.turn.notify_all()

    def meet(self, rank: int, given: Any) -> list[Any]:
        """What all ranks bring, in order of their ranks."""
        self.brought[rank] = given
        self.hand_over(rank)
        self.wait(rank)
        found = list(self.brought)
        self.hand_over(rank)  # nobody brings anything new before all have read
        self.wait(rank)
        return found


class _ThreadRanks:
    """`lifelong.core.ranks.Ranks` among threads."""

    group = None

    def __init__(self, table: _Table, rank: int, world: int) -> None:
        self.table, self.rank, self.world = table, rank, world

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        every = self.table.meet(self.rank, [t.detach().clone() for t in tensors])
        for i, t in enumerate(tensors):
            t.detach().copy_(torch.stack([own[i] for own in every]).sum(0))

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        self.sum_(tensors)
        torch._foreach_div_([t.detach() for t in tensors], self.world)

    def total(self, n: int) -> int:
        return sum(self.table.meet(self.rank, n))

    def gather(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        every = self.table.meet(self.rank, [t.detach().clone() for t in tensors])
        return tuple(torch.cat([own[i] for own in every]) for i in range(len(tensors)))

    def agree_(self, tensors: Sequence[Tensor]) -> None:
        every = self.table.meet(self.rank, [t.detach().clone() for t in tensors])
        for t, first in zip(tensors, every[0]):
            t.detach().copy_(first)


def _together(work: Callable[[Any], Tensor]) -> list[Tensor]:
    """What `work` gives to each of the ranks."""
    table = _Table(WORLD)
    found: list[Any] = [None] * WORLD

    def one(rank: int) -> None:
        try:
            table.wait(rank)
            found[rank] = work(table.ranks(rank))
        except BaseException as error:  # it is raised where the law is
            found[rank] = error
        finally:
            table.over[rank] = True
            table.hand_over(rank)

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(WORLD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
