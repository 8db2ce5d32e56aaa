"""A column a task: what it computes, what rests, and what is counted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import Finetune, Learner, Progressive, Training, fit
from lifelong.core.errors import MethodError
from lifelong.core.examples import Tensors
from lifelong.core.growth import Growth
from lifelong.core.stream import Stream, Task
from lifelong.nets import MLP, ResNet18
from lifelong.nets.columns import Columns
from toys import same, toy_learner, toy_net, toy_stream, weights

HARD = Training("sgd", lr=0.05, momentum=0.9, weight_decay=0.05, batch_size=16, epochs=1)


def test_the_third_column_by_hand() -> None:
    """Equation 2, spelled out for two hidden layers."""
    torch.manual_seed(0)
    net = Columns(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
    for seed in (1, 2):
        net.grow(Growth("column", seed=seed))
    w = net.state_dict()
    x = torch.randn(7, 4)

    def layer(k: int, i: int, h: Tensor) -> Tensor:
        return F.linear(h, w[f"columns.{k}.{i}.weight"], w[f"columns.{k}.{i}.bias"])

    def lateral(k: int, i: int, before: list[Tensor]) -> Tensor:
        name = f"laterals.{k}.{i}"
        scaled = torch.cat([w[f"{name}.alpha"][j] * h for j, h in enumerate(before)], 1)
        projected = F.relu(F.linear(scaled, w[f"{name}.V.weight"], w[f"{name}.V.bias"]))
        return projected @ w[f"{name}.U.weight"].T

    one = [F.relu(layer(k, 0, x)) for k in range(3)]
    two = [F.relu(layer(0, 2, one[0]))]
    two += [F.relu(layer(k, 2, one[k]) + lateral(k, 2, one[:k])) for k in (1, 2)]
    truth = [layer(0, 4, two[0]), *(layer(k, 4, two[k]) + lateral(k, 4, two[:k]) for k in (1, 2))]
    for k in range(3):
        torch.testing.assert_close(net.column(x, k), truth[k])
    assert torch.equal(net(x), net.column(x, 2))
    assert w["laterals.2.2.V.weight"].shape == (5, 2 * 3)  # projected to as many dimensions as the layer has units
    assert w["laterals.2.4.U.weight"].shape == (2, 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_tasks_leave_the_first_columns_bits(optimizer: str) -> None:
    stream = toy_stream("task", tasks=10, each=2)
    training = Training(optimizer, lr=0.02, momentum=0.9, weight_decay=0.05, batch_size=16)
    learner = toy_learner(Progressive(), stream, training, dropout=0.3)
    kept: dict[str, Tensor] = {}
    answers: list[Tensor] = []
    for task in stream:
        learner.learn(task)
        answers.append(learner.scores(task.test.x, task))
        kept |= {n: t for n, t in weights(learner.net).items() if n not in kept}
        now = weights(learner.net)
        assert same({n: now[n] for n in kept}, kept)
    assert all(torch.equal(learner.scores(t.test.x, t), a) for t, a in zip(stream, answers))
    assert len(learner.net.columns) == 10
    assert learner.parameters == sum(p.numel() for p in learner.net.parameters())


def test_the_first_task_is_fine_tuning() -> None:
    stream = toy_stream("task", tasks=1)
    ours, free = toy_learner(Progressive(), stream, HARD), toy_learner(Finetune(), stream, HARD)
    for learner in (ours, free):
        learner.learn(stream[0])
    assert all(a.equal(b) for a, b in zip(weights(ours.net).values(), weights(free.net).values()))
    assert ours.parameters == free.parameters


def images(tasks: int) -> Stream:
    g = torch.Generator().manual_seed(0)
    made = []
    for t in range(tasks):
        x, y = torch.randn(48, 1, 6, 6, generator=g), torch.arange(48) % 2
        x[y == 1, :, : t + 2] += 1.0
        made.append(Task(f"t{t}", Tensors(x, y), Tensors(x, y), (0, 1)))
    return Stream(tuple(made), "task", ("a", "b"))


def test_convolutions_with_batch_norm_rest_as_well() -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    net = nn.Sequential(
        nn.Sequential(*body), nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )
    stream = images(3)
    learner = Learner(net, Progressive(), HARD, scenario="task")
    learner.learn(stream[0])
    kept, answer = weights(learner.net), learner.scores(stream[0].test.x, stream[0])
    learner.learn(stream[1])
    learner.learn(stream[2])
    now = weights(learner.net)
    assert same({n: now[n] for n in kept}, kept)  # the running statistics among them
    assert torch.equal(learner.scores(stream[0].test.x, stream[0]), answer)
    assert now["laterals.2.4.V.weight"].shape == (6, 2 * 4, 1, 1)
    assert now["laterals.2.4.U.weight"].shape == (6, 6, 3, 3)


def test_a_later_column_reads_the_earlier_ones() -> None:
    stream = toy_stream("task")
    learner = toy_learner(Progressive(), stream, HARD)
    for task in stream:
        learner.learn(task)
    before = learner.scores(stream[2].test.x, stream[2])
    with torch.no_grad():
        learner.net.columns[0][0].weight.mul_(0)
    assert not torch.equal(learner.scores(stream[2].test.x, stream[2]), before)


def test_parameters_after_each_task_are_in_the_run() -> None:
    run = fit(Progressive(), MLP((8,)), toy_stream("task"), training=HARD)
    [record] = run.records.values()
    one, U = 12 * 8 + 8 + 8 * 9 + 9, 9 * 9
    second = one + 1 + (8 * 9 + 9) + U
    third = one + 2 + (2 * 8 * 9 + 9) + U
    assert record.parameters == [one, one, one + second, one + second + third]


def test_what_it_refuses() -> None:
    with pytest.raises(MethodError, match="needs to know the task"):
        toy_learner(Progressive(), toy_stream("class"))
    with pytest.raises(MethodError, match=r"expected an nn\.Sequential"):
        Learner(ResNet18(2)((8, 8), 3), Progressive(), scenario="task")
    with pytest.raises(MethodError, match="kind 'column'"):
        Columns(toy_net(3)).grow(Growth("wider", "0", 20))
    with pytest.raises(MethodError, match="in groups"):
        Columns(nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(8, 2)))
    stream = toy_stream("task")
    with pytest.raises(MethodError, match="needs to know the task"):
        toy_learner(Progressive(), stream).scores(stream[0].test.x)
    layer = nn.Linear(12, 12)
    with pytest.raises(MethodError, match="stands twice"):
        Columns(nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(12, 2)))
