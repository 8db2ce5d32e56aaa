"""The steps of a task: the training loop of the whole library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.contexts import TaskContext
from ..core.errors import TrainingError
from ..core.examples import Chunk, Examples
from ..core.growth import Growth
from ..core.objective import Labels
from ..core.random import generator
from ..core.segments import Segment
from . import evaluation
from .learning import Learning

__all__ = ["CHUNK", "chunk_of_steps", "done", "enough", "expansion", "train"]

CHUNK = (
    1024  # examples fetched at once, and between two pauses: large enough to cost nothing, small enough to stop soon
)


def train(learner: Learning, examples: Examples, steps: int) -> Iterator[Tensor]:
    """Runs the present task's steps from where it stands, a chunk at a time."""
    assert learner.at is not None
    size = learner.training.batch_size
    rows = size * (learner.every or max(1, evaluation.rows_at_once(learner, CHUNK) // size))
    loss = torch.zeros((), device=learner.device)
    while not done(learner, steps):
        name = f"order/{learner.learnt}/{learner.at.round}/{learner.at.epoch}"
        order = torch.randperm(len(examples), generator=generator(learner.seed, name))
        _halve(learner)
        bad = torch.full((2,), -1, device=learner.device)  # the steps of the first chunk whose loss is no number
        chunks = examples.chunks(order[learner.at.chunk * rows :], rows)
        while True:
            with learner.own_random():  # around the reading as well: a data set may draw
                chunk = next(chunks, None)
                if chunk is None:
                    break
                learner.modes = learner.modes.look(learner.net)
                with learner.modes.training(learner.net), enough(f"{len(examples)} examples in batches of {size}"):
                    loss, taken = chunk_of_steps(learner, chunk, size, steps - learner.at.step)
            steps_there = torch.tensor([learner.at.step + 1, learner.at.step + taken], device=learner.device)
            bad = torch.where(loss.isfinite() | (bad[0] >= 0), bad, steps_there)
            learner.at.step += taken
            learner.at.chunk += 1
            if done(learner, steps) or learner.at.chunk * rows >= len(order):
                break
            yield loss
        learner.at.epoch, learner.at.chunk = learner.at.epoch + 1, 0
        first, last = bad.tolist()
        if learner.ranks.total(int(first >= 0)):
            where = f"in steps {first} to {last} of {steps}" if first >= 0 else "on another rank"
            raise learner.broken(f"the loss is no finite number {where}")
        yield loss


def done(learner: Learning, steps: int) -> bool:
    assert learner.at is not None
    return learner.at.step >= steps or (learner.at.step > 0 and _spent(learner))


def _spent(learner: Learning) -> bool:
    """Whether one more step would cost more than the task is allowed."""
    assert learner.at is not None
    return learner.allowed is not None and learner.costs.passes + learner.at.cost > learner.allowed.until


def _halve(learner: Learning) -> None:
    """The learning rate of the present epoch."""
    if learner.training.halve_every is not None:
        assert learner.at is not None
        for group in learner.optimizer.param_groups:
            first = group.setdefault("initial_lr", group["lr"])  # the name that torch's schedulers use
            group["lr"] = first * 0.5 ** (learner.at.epoch // learner.training.halve_every)


def chunk_of_steps(learner: Learning, chunk: Chunk, size: int, most: int) -> tuple[Tensor, int]:
    """One step for each batch of `chunk`, at most `most`; gives the last loss and how many steps were taken."""
    assert learner.at is not None
    x, y = learner.placed(chunk.x), _targets(learner, chunk)
    loss = torch.zeros(())
    done = 0
    for start in range(0, len(chunk.y), size):
        rows = slice(start, start + size)
        before = learner.costs.passes
        loss = _step(learner, Segment(x, y).take(rows))
        done += 1
        learner.at.cost = max(learner.at.cost, learner.costs.passes - before)
        if done == most or _spent(learner):
            break
    return loss.detach(), done


def _targets(learner: Learning, chunk: Chunk) -> Any:
    """What the examples are held to: each among the outputs that it knows to be active, where it does."""
    y, own = chunk.y.to(learner.device), chunk.mask
    return y if own is None else Labels(y, own.to(learner.device).expand(len(y), -1))


def _step(learner: Learning, new: Segment) -> Tensor:
    """One step; gives its loss."""
    stepper, optimizer, together = learner.stepper, learner.optimizer, learner.ranks.world > 1
    whole = stepper.batch(new)
    batch = whole.part(learner.ranks) if together else whole
    output = learner.net(batch.x)
    loss = stepper.loss(batch, output)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if batch is not whole:
        learner.ranks.mean_([p.grad for p in learner.theta.tensors if p.grad is not None])
    stepper.before()
    if learner.training.clip is not None:
        nn.utils.clip_grad_norm_(learner.theta.tensors, learner.training.clip)
    optimizer.step()
    stepper.after()
    if "observe" in stepper.acts:
        answered = output.detach()[: batch.sizes[0]]
        if batch is not whole:
            [answered] = learner.ranks.gather(answered)
        stepper.observe(new, answered)
    stepper.count(whole.sizes[0], sum(batch.sizes))
    return loss


def expansion(learner: Learning, context: TaskContext) -> list[Growth]:
    """What the method enlarges, by the accuracy on the training examples of the network that learns, whatever answers when it is done."""
    correct, n = 0, 0
    with learner.own_random():  # a data set may draw
        for chunk in context.examples.all(evaluation.rows_at_once(learner, evaluation.ROWS)):
            y = _targets(learner, chunk)
            scores = context.objective.scores(evaluation.answers(learner, chunk.x), y)
            correct, n = correct + int(scores.sum()), n + len(chunk.y)
    learner.costs.forward += n
    with torch.no_grad():
        return learner.method.expand(learner.state, context, correct / n)


@contextmanager
def enough(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"batch norm cannot train on a batch of one ({what}): choose another batch_size, or leave an example out"
        ) from error
