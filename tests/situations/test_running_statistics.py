"""Batch norm and other running statistics, which no penalty holds: at rest, reported, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bare_loops import data, sgd, steps
from lifelong import EWC, L2, Learner, LifelongWarning, MethodError, Task, Tensors, Training, protect
from toys import same, weights


def shifted(scale: float = 1.0, shift: float = 0.0, name: str = "a") -> Task:
    x, y = data()
    examples = Tensors(shift + scale * x, y)
    return Task(name, examples, examples, (0, 1))


def test_a_penalty_beside_batch_norm_says_that_it_does_not_hold_running_statistics() -> None:
    learner = Learner(
        nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)), L2(1e6, implicit=True), scenario="domain"
    )
    learner.learn(shifted())
    with pytest.warns(LifelongWarning, match=r"l2 holds weights and not the running statistics of batch norm \(0\)"):
        learner.learn(shifted(9, 5, "b"))
    loop = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = sgd(loop)
    guard = protect(loop, optimizer, EWC(1.0))
    steps(loop, [optimizer], *data())
    guard.consolidate(data())
    with pytest.warns(LifelongWarning, match="running statistics"):
        steps(loop, [optimizer], *data(1))


@pytest.mark.parametrize("how", ["evaluation mode", "frozen weights"])
def test_a_batch_norm_that_its_user_put_to_rest_rests(how: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    if how == "evaluation mode":
        model[1].eval()
    else:
        model[1].requires_grad_(False)
    learner = Learner(model, L2(1.0), scenario="domain")
    first, second = shifted(), shifted(9, 5, "b")
    before = learner.net[1].running_mean.clone()
    learner.learn(first)
    learner.evaluate([first, second])
    learner.learn(second)
    assert torch.equal(learner.net[1].running_mean, before)
    assert learner.net[2].training  # dropout acts
    if how == "frozen weights":
        learner.net[1].requires_grad_(True)  # and learns on where it is freed
        anew = Learner(learner.net, L2(1.0), scenario="domain")
        with pytest.warns(LifelongWarning, match="an earlier learner"):
            anew.learn(second)
        assert not torch.equal(anew.net[1].running_mean, before)


def test_a_network_that_comes_in_evaluation_mode_as_loaders_give_it_is_trained() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    learner = Learner(model, scenario="domain")
    learner.learn(shifted())
    assert float(learner.net[0].num_batches_tracked) > 0
    assert all(m.training for m in learner.net.modules())


def test_batch_norm_without_running_statistics_is_refused_before_training() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2))
    learner = Learner(model, EWC(1.0), scenario="domain")
    before = weights(learner.net)
    with pytest.raises(MethodError, match="batch norm '1' keeps no running statistics"):
        learner.learn(shifted())
    assert same(before, weights(learner.net))
    optimizer = sgd(model)
    protect(model, optimizer, EWC(1.0))
    with pytest.raises(MethodError, match="keeps no running statistics"):
        steps(model, [optimizer], *data())
    assert same(before, weights(model))


def test_batch_norm_at_rest_stays_so_when_a_learner_is_loaded() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    made[0][1].eval()
    first = Learner(made[0], L2(1.0), scenario="domain")
    first.learn(shifted())
    second = Learner(made[1], L2(1.0), scenario="domain")
    second.load_state_dict(first.state_dict())
    before = second.net[1].running_mean.clone()
    second.learn(shifted(9, 5, "b"))
    assert torch.equal(second.net[1].running_mean, before)
    second.step(*data())
    second.net[1].train()
    second.step(*data())
    assert not torch.equal(second.net[1].running_mean, before)


class Centred(nn.Module):
    """Somebody's own running statistics, in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return self.layer(x - self.mean)


@pytest.mark.parametrize("how", ["protect", "Learner"])
def test_running_statistics_of_ones_own_are_reported(how: str) -> None:
    """A penalty holds weights: what else moves with a task is said, once, when the next begins."""
    model = Centred()
    x, y = data()
    if how == "protect":
        guard = protect(model, optimizer := sgd(model), L2(1.0))
        steps(model, [optimizer], x, y)
        guard.consolidate((x, y))
        with pytest.warns(LifelongWarning, match=r"not buffers.*\(mean\)"):
            steps(model, [optimizer], x, y)
    else:
        learner = Learner(model, L2(1.0), Training(epochs=1), scenario="domain")
        tasks = [Task(f"t{i}", Tensors(x, y), Tensors(x, y), (0, 1), i) for i in range(2)]
        learner.learn(tasks[0])
        with pytest.warns(LifelongWarning, match=r"not buffers.*\(mean\)"):
            learner.learn(tasks[1])
