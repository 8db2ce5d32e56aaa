"""A method of one's own that answers in the network's place, in one's own loop and in other people's trainers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lifelong.core.chain import chain
from lifelong.core.contexts import Spec, StepContext
from lifelong.core.errors import MethodError
from lifelong.core.method import Method
from lifelong.core.segments import Segment
from lifelong.core.vector import Vector
from lifelong.methods import EWC, Finetune
from other_trainers import bert, keeper, lightning_fit, lightning_keeper, lit, sentences, train
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights
from two_loops import TRAINING, guarded, steps


@dataclass(frozen=True)
class Means:
    sums: Tensor  # [C, d]
    counts: Tensor  # [C]


@dataclass(frozen=True)
class Centres(Method):
    """Answers with the class whose mean input is nearest; the network only trains."""

    name: ClassVar[str] = "centres"

    def init(self, theta: Vector, spec: Spec) -> Means:
        return Means(torch.zeros(9, FEATURES), torch.zeros(9))

    def observe(self, state: Means, new: Segment, output: Tensor, context: StepContext) -> Means:
        return Means(state.sums.index_add(0, new.y, new.x), state.counts + new.y.bincount(minlength=9))

    def predict(self, state: Means | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        assert not net.training
        if state is None:
            return net(x)
        means = state.sums / state.counts[:, None].clamp(min=1)
        scores = -torch.cdist(x, means)
        return scores.masked_fill(state.counts == 0, float("-inf")) if task is None else scores + task


def test_a_method_that_answers_works_in_somebodys_own_loop() -> None:
    stream, method = toy_stream("class"), Centres()
    assert method.acts == {"init", "observe", "predict"}
    assert method.portable
    guard = guarded(method, stream)
    x = torch.cat([t.test.x for t in stream])
    guard.model.train()
    before = guard.scores(x)
    assert torch.equal(before, guard.model(x))
    assert guard.model.training
    for task in stream:
        guard.begin(task.classes)
        steps(guard, task.train.x, task.train.y)
        guard.consolidate(task.train)
    means = [t.train.x[t.train.y == c].mean(0) for t in stream for c in t.classes]
    by_hand = [min(range(9), key=lambda c: float((row - means[c]).norm())) for row in x]
    assert guard.predict(x).tolist() == by_hand
    torch.testing.assert_close(guard.scores(x).amax(1), -torch.stack([(x - m).norm(dim=1) for m in means]).amin(0))
    torch.testing.assert_close(guard.scores(x, task=2), guard.scores(x) + 2)
    assert not guard.scores(x).requires_grad
    again = guarded(method, stream)
    with torch.no_grad():
        for p, q in zip(again.model.parameters(), guard.model.parameters()):
            p.copy_(q)
    again.load_state_dict(guard.state_dict())
    assert torch.equal(again.scores(x), guard.scores(x))
    learner = toy_learner(method, stream, TRAINING)
    for task in stream:
        learner.learn(task)
    torch.testing.assert_close(learner.scores(x), guard.scores(x))  # the mean knows no order


def test_one_that_answers_goes_with_one_that_holds_weights() -> None:
    stream = toy_stream("domain", tasks=2)
    both, alone = guarded(chain(EWC(5.0), Centres()), stream), guarded(EWC(5.0), stream)
    for task in stream:
        for guard in (both, alone):
            guard.begin()
            steps(guard, task.train.x, task.train.y)
            guard.consolidate(task.train)
    assert same(weights(both.model), weights(alone.model))
    x = stream[0].test.x
    assert torch.equal(both.scores(x), Centres().predict(both.state[1], both.model.eval(), x, None))
    assert torch.equal(alone.scores(x), alone.model(x))
    with pytest.raises(MethodError, match="both claim the slot 'predict'"):
        chain(Centres(), Centres())


@dataclass(frozen=True)
class Majority(Method):
    """Answers with the label that came most often."""

    name: ClassVar[str] = "majority"

    def init(self, theta: Vector, spec: Spec) -> Tensor:
        return torch.zeros(spec.outputs)

    def observe(self, state: Tensor, new: Segment, output: Any, context: StepContext) -> Tensor:
        return state + new.y.bincount(minlength=len(state))

    def predict(self, state: Tensor, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        return state.expand(len(x), -1)


@pytest.mark.filterwarnings("ignore")  # of these libraries
@pytest.mark.parametrize("library", ["transformers", "lightning"])
def test_a_method_of_ones_own_answers(library: str, tmp_path: Path) -> None:
    """In the model's place, which learns as it would without the method."""
    stream = sentences("class") if library == "transformers" else toy_stream("class", tasks=2)
    ends, counts = [], torch.cat([t.train.y for t in stream]).repeat(2).bincount()
    for method in (Majority(), Finetune()):
        if library == "transformers":
            net, own = bert(stream.outputs), keeper(method)
            for task in stream:
                train(net, tmp_path, task, own)
        else:
            net, own = toy_net(stream.outputs), lightning_keeper(method)
            for task in stream:
                lightning_fit(lit(net, own), task, own)
        ends.append(weights(net))
        if isinstance(method, Majority):
            assert own.guard.state.tolist() == counts.tolist()  # two epochs
            assert own.guard.predict(stream[0].test.x).unique().tolist() == [int(counts.argmax())]
    assert same(*ends)
