"""People who protect a model in their own loop, or learn with a `Learner`, and what was held of it in silence: nothing, or twice."""

from __future__ import annotations

import copy
import json
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import (
    EWC,
    HAT,
    L2,
    MAS,
    MLP,
    SI,
    DataError,
    GenerativeReplay,
    Learner,
    LifelongWarning,
    Method,
    MethodError,
    PackNet,
    Replay,
    Stream,
    Task,
    Tensors,
    Training,
    chain,
    protect,
    tree,
)
from toys import same, toy_net, toy_stream, weights


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(64, 4, generator=draws), torch.randint(0, 2, (64,), generator=draws)


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def steps(model: nn.Module, optimizers: list[torch.optim.Optimizer], x: Tensor, y: Tensor, n: int = 3) -> None:
    for _ in range(n):
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()


# --- a new optimizer for each task ---------------------------------------------------------------------------------------
def learnt_tasks(model: nn.Module, anew: bool, method: Method = EWC(100.0)) -> int:  # noqa: B008 (frozen)
    guard = None
    for task in range(3):
        x, y = data(task)
        optimizer = sgd(model)
        if anew or guard is None:
            guard = protect(model, optimizer, method)
        else:
            guard.attach(optimizer)
        steps(model, [optimizer], x, y)
        guard.consolidate((x, y))
    assert guard is not None
    return guard.learnt


@pytest.mark.parametrize("method", [EWC(100.0), SI(1.0), MAS(0.1)], ids=lambda m: m.name)
def test_a_new_optimizer_and_a_new_protect_for_each_task(method: Method) -> None:
    """What was held of the tasks before is held on, bit for bit as with one guard that is attached to each optimizer."""
    one, other, free = net(), net(), net()
    assert learnt_tasks(one, anew=True, method=method) == learnt_tasks(other, anew=False, method=method) == 3
    learnt_tasks(free, anew=True, method=type(method)(0.0))
    assert same(weights(one), weights(other))
    assert not same(weights(one), weights(free))


def test_a_new_protect_within_a_function_where_the_guard_before_is_gone() -> None:
    model = net()

    def task(k: int) -> int:
        x, y = data(k)
        optimizer = sgd(model)
        guard = protect(model, optimizer, EWC(100.0))
        steps(model, [optimizer], x, y)
        guard.consolidate((x, y))
        return guard.learnt

    assert [task(k) for k in range(3)] == [1, 2, 3]


def test_a_replay_buffer_that_no_task_edges_fill_goes_on_as_well() -> None:
    model = net()
    for task in range(2):
        x, y = data(task)
        optimizer = sgd(model)
        guard = protect(model, optimizer, Replay(100))
        for bx, by in zip(x.split(16), y.split(16)):
            batch = guard.mix(bx, by)
            optimizer.zero_grad()
            guard.loss(model(batch.x), batch).backward()
            optimizer.step()
    assert guard.state.memory.filled == 100
    assert guard.state.memory.seen == 128


def test_another_method_or_strength_over_the_same_model_says_what_it_drops() -> None:
    model, (x, y) = net(), data()
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(100.0))
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    second = sgd(model)
    other = protect(model, second, EWC(50.0))
    with pytest.warns(LifelongWarning, match=r"protected before, with EWC.*strength=100.*1 task\(s\).*not held now"):
        steps(model, [second], x, y)
    assert other.learnt == 0
    with pytest.raises(MethodError, match="another guard has taken over"):
        steps(model, [optimizer], x, y)


def test_a_model_that_is_reset_for_a_new_experiment_is_not_held_to_the_old_one() -> None:
    model, (x, y) = net(), data()
    begin = weights(model)
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(100.0))
    steps(model, [optimizer], x, y, 200)
    guard.consolidate((x, y))
    model.load_state_dict(begin)
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(100.0))
    with pytest.warns(LifelongWarning, match="not held now"):
        steps(model, [optimizer], x, y)
    assert guard.learnt == 0


def test_a_removed_guard_is_gone_and_says_so_where_the_loop_goes_on_without_it() -> None:
    model, (x, y) = net(), data()
    for _ in range(2):
        optimizer = sgd(model)
        guard = protect(model, optimizer, EWC(100.0))
        if guard.learnt == 0 and _ == 1:
            with pytest.warns(LifelongWarning, match="not held now"):
                steps(model, [optimizer], x, y)
        else:
            steps(model, [optimizer], x, y)
        guard.consolidate((x, y))
        guard.remove()
    assert guard.learnt == 1


def test_warnings_come_once_a_guard_and_not_once_a_process() -> None:
    for _ in range(2):
        model, zero = net(), torch.zeros(64, dtype=torch.int64)
        optimizer = sgd(model)
        guard = protect(model, optimizer, EWC(1.0), scenario="class")
        with warnings.catch_warnings(record=True) as came:
            warnings.simplefilter("default")
            for _ in range(2):
                guard.begin([0])
                batch = guard.mix(data()[0], zero)
                guard.loss(model(batch.x), batch).backward()
                optimizer.step()
                guard.consolidate((data()[0], zero))
        assert [w.category for w in came] == [LifelongWarning]
        assert came[0].filename == __file__


def test_a_protected_model_is_copied_and_saved_as_any_other(tmp_path: Path) -> None:
    """Before its first step as well, at which a guard looks."""
    model, (x, y) = net(), data()
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(1.0))
    average = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    read = torch.load(tmp_path / "model.pt", weights_only=False)
    for other in (average, read):
        assert same(weights(other), weights(model))
        steps(other, [sgd(other)], x, y)
    assert guard.learnt == 0
    assert guard.state is None
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    assert same(weights(copy.deepcopy(model)), weights(model))


# --- optimizers over parts of a model ------------------------------------------------------------------------------------
@pytest.mark.parametrize("implicit", [False, True])
def test_two_optimizers_each_with_a_guard_hold_each_weight_once(implicit: bool) -> None:
    ends = []
    for parts in (1, 2):
        model = net()
        halves = [model] if parts == 1 else [model[0], model[2]]
        optimizers = [sgd(half) for half in halves]
        guards = [protect(model, optimizer, EWC(50.0, implicit=implicit)) for optimizer in optimizers]
        for task in range(3):
            x, y = data(task)
            steps(model, optimizers, x, y, 5)
            for guard in guards:
                guard.consolidate((x, y))
        ends.append(weights(model))
    assert same(*ends)


def test_weights_that_train_and_that_no_guard_holds_are_named() -> None:
    model, (x, y) = net(), data()
    optimizers = [sgd(model[0]), sgd(model[2])]
    guard = protect(model, optimizers[0], EWC(50.0))
    steps(model, optimizers, x, y)
    with pytest.warns(LifelongWarning, match=r"others of the model have changed as well \(2\.weight, 2\.bias\)"):
        guard.consolidate((x, y))


def test_a_head_that_is_trained_alone_on_a_backbone_with_gradients_is_no_reason_to_warn() -> None:
    model, (x, y) = net(), data()
    optimizer = sgd(model[2])
    guard = protect(model, optimizer, EWC(50.0))
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    assert guard.theta.names == ("2.weight", "2.bias")
    with pytest.raises(MethodError, match=r"steps weights that this guard does not hold \(0\.weight"):
        guard.attach(sgd(model))


# --- nothing held --------------------------------------------------------------------------------------------------------
def test_a_task_with_one_class() -> None:
    zero = torch.zeros(64, dtype=torch.int64)
    examples = Tensors(data()[0], zero)
    learner = Learner(MLP((4,))((4,), 2), EWC(1e6))
    with pytest.warns(
        LifelongWarning, match="importance of every weight is 0 after this task, as a single class competes"
    ):
        learner.learn(Task("zeros", examples, examples, (0,)))


def test_a_deployed_model_whose_old_examples_fill_the_buffer() -> None:
    """consolidate without a step: the buffer is filled, with all kinds of filling; the old classes are replayed beside the new."""
    draws = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(12, 8, generator=draws)
    y = torch.arange(12).repeat(30)
    x = centres[y] + 0.2 * torch.randn(len(y), 8, generator=draws)
    old, new = y < 10, y >= 10
    for fill in ("reservoir", "balanced", "ring", "random"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 12))
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(model(x[old]), y[old]).backward()
            optimizer.step()
        guard = protect(model, optimizer, Replay(200, fill=fill), scenario="class")
        guard.begin(range(10))
        guard.consolidate((x[old], y[old]))
        assert guard.state.memory.filled == 200
        guard.begin([10, 11])
        for _ in range(60):
            batch = guard.mix(x[new], y[new])
            optimizer.zero_grad()
            guard.loss(model(batch.x), batch).backward()
            optimizer.step()
        guard.consolidate((x[new], y[new]))
        right = model(x).argmax(1) == y
        assert right[old].float().mean() > 0.9
        assert right[new].float().mean() > 0.9


def test_a_method_that_learns_in_steps_cannot_take_in_old_examples_without_any() -> None:
    model, (x, y) = net(), data()
    guard = protect(model, sgd(model), GenerativeReplay(hidden=(8,), code=2))
    guard.begin()
    with pytest.raises(MethodError, match="learns from each step of a task, and none was taken"):
        guard.consolidate((x.sigmoid(), y))


# --- masks ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", [EWC(100.0, implicit=True), EWC(10.0), L2(1.0, implicit=True)], ids=repr)
@pytest.mark.parametrize("mask", [PackNet(), HAT()], ids=lambda m: m.name)
def test_weights_that_a_mask_froze_stay_frozen_in_whatever_order_a_penalty_stands_beside_it(
    mask: Method, penalty: Method
) -> None:
    stream = toy_stream("task")
    training = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)
    for method in (chain(mask, penalty), chain(penalty, mask)):
        learner = Learner(toy_net(stream.outputs), method, training, scenario="task")
        learner.learn(stream[0])
        x = stream[0].test.x
        before = learner.scores(x, stream[0]).clone()
        for task in stream.tasks[1:]:
            learner.learn(task)
        assert torch.equal(learner.scores(x, stream[0]), before)


# --- batch norm ----------------------------------------------------------------------------------------------------------
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


# --- where one is in the stream ------------------------------------------------------------------------------------------
def test_a_task_that_was_left_is_not_mixed_with_the_next() -> None:
    stream = toy_stream("class", examples=2100)
    learner = Learner(toy_net(stream.outputs), EWC(1.0), Training(lr=0.05, batch_size=32))
    for _ in learner.steps(stream[0]):
        break
    with pytest.raises(MethodError, match=r"was left after step.*finish"):
        learner.learn(stream[1])
    with pytest.raises(MethodError, match="was left after step"):
        Learner.learn(learner, stream[2])
    learner.finish(stream[0].train)
    learner.learn(stream[1])
    assert learner.learnt == 2
    for _ in learner.steps(stream[2]):
        break
    learner.learn(stream[2])  # the same task goes on
    assert learner.learnt == 3


def test_two_tasks_of_the_same_name_are_told_apart_by_their_examples() -> None:
    stream = toy_stream("domain", examples=2100)
    short = Stream(
        (Task("same", stream[1].train.subset(torch.arange(99)), stream[1].test, stream[1].classes),),
        "domain",
        stream.class_names,
    )
    learner = Learner(toy_net(stream.outputs), scenario="domain")
    for _ in learner.steps(Task("same", stream[0].train, stream[0].test, stream[0].classes)):
        break
    with pytest.raises(MethodError, match="was left"):
        learner.learn(short[0])


# --- loops that go wrong on the way --------------------------------------------------------------------------------------
def test_an_optimizer_that_was_not_attached() -> None:
    """The classes are announced, so that a task has begun, and another optimizer steps: the method would not act."""
    model, (x, y) = net(), data()
    for method in (EWC(100.0), chain(EWC(1.0), Replay(20))):
        guard = protect(model, sgd(model), method, scenario="class")
        guard.begin([0, 1])
        other = sgd(model)
        batch = guard.mix(x, y)
        guard.loss(model(batch.x), batch).backward()
        other.step()
        with pytest.raises(MethodError, match=r"not by the optimizer that the guard is attached to.*guard\.attach"):
            guard.consolidate((x, y))
        guard.remove()


def test_bytes_are_what_the_model_is_called_with_in_ones_own_loop() -> None:
    """The library's own streams divide images by 255; nobody's loop does so by itself."""

    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.says = nn.Embedding(256, 4), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.says(self.embed(x.long()).flatten(1))

    words = torch.randint(0, 256, (64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for x in (words, words.long()):
        torch.manual_seed(0)
        model = Bytes()
        guard = protect(model, sgd(model), EWC(1.0))
        guard.begin()
        guard.consolidate((x, data()[1]))
        found.append(guard.state.A.flat())
    assert torch.equal(*found)
    model = Bytes()
    keeper = protect(model, sgd(model), Replay(10, fill="random"))
    keeper.begin()
    keeper.consolidate([(words, data()[1])])
    assert keeper.state.memory.slots["x"].dtype == torch.uint8


def test_a_copy_of_a_protected_model_is_another_model_and_says_so() -> None:
    """Early stopping keeps the best weights as a copy."""
    model, (x, y) = net(), data()
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(100.0))
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    best = copy.deepcopy(model)
    second = sgd(best)
    after = protect(best, second, EWC(100.0))
    with pytest.warns(LifelongWarning, match="a copy of a model that was protected"):
        steps(best, [second], x, y)
    assert after.learnt == 0
    again = copy.deepcopy(model)
    third = sgd(again)
    carried = protect(again, third, EWC(100.0))
    carried.load_state_dict(guard.state_dict())
    steps(again, [third], x, y)
    assert carried.learnt == 1


def test_best_weights_that_are_restored_after_the_task_was_consolidated() -> None:
    model, (x, y) = net(), data()
    begin = weights(model)
    optimizer = sgd(model)
    guard = protect(model, optimizer, EWC(100.0))
    steps(model, [optimizer], x, y, 200)
    guard.consolidate((x, y))
    model.load_state_dict(begin)
    with pytest.warns(LifelongWarning, match="replaced or trained since the last task ended"):
        steps(model, [optimizer], x, y)


def test_some_weights_are_frozen_between_tasks_and_the_model_is_protected_anew() -> None:
    for part in ("0.weight", "2.bias"):
        model, (x, y) = net(), data()
        optimizer = sgd(model)
        guard = protect(model, optimizer, L2(1.0))
        steps(model, [optimizer], x, y)
        guard.consolidate((x, y))
        model.get_parameter(part).requires_grad_(False)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        anew = protect(model, optimizer, L2(1.0))
        with pytest.warns(LifelongWarning, match="none frozen or replaced since"):
            steps(model, [optimizer], x, y)
        anew.consolidate((x, y))
        assert anew.learnt == 1


def test_layers_that_are_frozen_after_the_learner_was_made() -> None:
    stream = toy_stream("domain")
    learner = Learner(toy_net(3), EWC(1.0), scenario="domain")
    learner.learn(stream[0])
    learner.net[0].requires_grad_(False)
    with pytest.raises(MethodError, match=r"other trainable weights.*0\.bias.*before Learner"):
        learner.learn(stream[1])


def test_saved_within_a_task_and_gone_on_with() -> None:
    """The steps taken are known: what came in them is not offered to the buffer once more."""
    model, (x, y) = net(), data()
    optimizer = sgd(model)
    guard = protect(model, optimizer, Replay(200))
    batch = guard.mix(x, y)
    guard.loss(model(batch.x), batch).backward()
    optimizer.step()
    saved = guard.state_dict()
    other = net()
    other.load_state_dict(model.state_dict())
    second = protect(other, sgd(other), Replay(200))
    second.load_state_dict(saved)
    second.consolidate((x, y))
    assert second.state.memory.seen == 64
    with pytest.raises(MethodError, match="saved in the scenario 'domain'"):
        protect(other, sgd(other), Replay(200), scenario="class").load_state_dict(saved)


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


def test_labels_of_classes_that_were_not_named_do_not_enter_the_buffer() -> None:
    model = nn.Linear(4, 4)
    guard = protect(model, sgd(model), Replay(20), scenario="class")
    guard.begin([0, 1])
    with pytest.raises(DataError, match=r"labels \[2, 3\] are not among the task's classes"):
        guard.consolidate((data()[0], torch.arange(64) % 4))


def test_attention_of_hat_is_trained_as_without_a_penalty_beside_it() -> None:
    """The factor that frees its gradient of s's annealing falls on the gradient of the examples alone."""
    stream = toy_stream("task")
    training = Training(lr=0.03, batch_size=16, epochs=8)
    shares = []
    for method in (HAT(), chain(HAT(), EWC(5.0)), chain(EWC(5.0), HAT())):
        learner = Learner(toy_net(stream.outputs), method, training, scenario="task")
        for task in stream:
            learner.learn(task)
        e = torch.cat([t.detach().flatten() for t in learner.net.embeddings])
        shares.append(float((e.abs() > 5.9).float().mean()))
    assert max(shares) < 0.5, shares


def test_a_buffer_that_was_saved_on_another_device_goes_on() -> None:
    """Off the CPU its keys are in single precision."""
    stream = toy_stream("domain")
    for method in (Replay(20, fill="balanced"), Replay(20, fill="random")):
        learner = Learner(toy_net(3), method, Training(lr=0.05, batch_size=16), scenario="domain")
        learner.learn(stream[0])
        learner.state = tree.mapped(
            learner.state, lambda t: t.float() if isinstance(t, Tensor) and t.dtype == torch.float64 else t
        )
        learner.learn(stream[1])
        assert learner.state.memory.slots["key"].dtype == torch.float32


def test_a_new_learner_for_each_task_says_what_it_does_not_hold() -> None:
    """A learner is made once. One that is made anew for the same network holds nothing of the tasks before, and said nothing."""
    stream = toy_stream("task")
    model = toy_net(stream.outputs)
    training = Training(lr=0.1, epochs=1)
    first = Learner(model, L2(1.0), training, scenario="task")
    first.learn(stream[0])
    second = Learner(model, L2(1.0), training, scenario="task")
    with pytest.warns(LifelongWarning, match=r"holds 1 task\(s\) with l2.*load_state_dict"):
        second.learn(stream[1])
    guarded = protect(model, sgd(model), EWC(1.0))
    with pytest.warns(LifelongWarning, match="a learner of this model holds"):
        guarded.begin()


def test_a_learner_that_carries_on_says_nothing() -> None:
    stream = toy_stream("task")
    training = Training(lr=0.1, epochs=1)
    for carry in (True, False):  # of weights that somebody replaced there is nothing to hold
        model = toy_net(stream.outputs)
        first = Learner(model, L2(1.0), training, scenario="task")
        first.learn(stream[0])
        second = Learner(model, L2(1.0), training, scenario="task")
        if carry:
            second.load_state_dict(first.state_dict())
        else:
            with torch.no_grad():
                for p in model.parameters():
                    p.normal_()
        with warnings.catch_warnings():
            warnings.simplefilter("error", LifelongWarning)
            second.learn(stream[1])


def test_what_a_learner_saved_goes_into_one_with_the_same_constants() -> None:
    stream = toy_stream("task")
    saved = Learner(toy_net(stream.outputs), L2(1.0), scenario="task").state_dict()
    other = Learner(toy_net(stream.outputs), L2(2.0), scenario="task")
    with pytest.raises(MethodError, match=r"strength 1 there, 2 here"):
        other.load_state_dict(saved)
    other = Learner(toy_net(stream.outputs), L2(1.0), scenario="domain")
    with pytest.raises(MethodError, match=r"scenario 'task' there, 'domain' here"):
        other.load_state_dict(saved)


def test_a_guard_is_not_copied() -> None:
    """A copy has no hooks: training on with the copied model and its guard held nothing."""
    model = net()
    guard = protect(model, sgd(model), L2(1.0))
    with pytest.raises(MethodError, match="neither copied nor pickled"):
        copy.deepcopy(guard)


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


def test_a_closure_that_is_called_several_times_shows_each_example_once() -> None:
    """LBFGS asks for the loss many times in a step: the buffer counted each example as often."""
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    guard = protect(model, optimizer, Replay(8, fill="reservoir"))
    x, y = data()
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        batch = guard.mix(x, y)
        loss = guard.loss(model(batch.x), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    assert calls > 1
    assert guard.state.memory.seen == len(x)


def test_weights_that_are_reset_between_experiments_are_nobodys() -> None:
    """Methods are compared on one model, whose first weights are loaded again before each: at a small rate no weight is far from them."""
    stream = toy_stream("task")
    model = toy_net(stream.outputs)
    first = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error", LifelongWarning)
        for method in (L2(1.0), SI(1.0), L2(1.0)):
            model.load_state_dict(first)
            Learner(model, method, Training(lr=0.001, epochs=1), scenario="task").learn(stream[0])
    x, y = data()
    model = net()
    first = copy.deepcopy(model.state_dict())
    for says in (False, True):
        model.load_state_dict(first)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        guard = protect(model, optimizer, L2(1.0))
        with pytest.warns(LifelongWarning, match="were protected before") if says else nullcontext():
            steps(model, [optimizer], x, y)
        assert guard.learnt == 0  # the experiment before is over
        guard.consolidate((x, y))


def test_a_task_that_hardly_moved_the_weights_is_carried_on_with() -> None:
    """They are where the experiment began, and where its first task left them."""
    model = net()
    x, y = data()
    for learnt in (0, 1, 2):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
        guard = protect(model, optimizer, L2(1.0))
        assert guard.learnt == learnt
        steps(model, [optimizer], x, y)
        guard.consolidate((x, y))


def test_a_learner_of_guarded_weights_stops_no_guard() -> None:
    """The guard goes on; the learner has said that it holds nothing of the guard's tasks."""
    model = net()
    optimizer = sgd(model)
    guard = protect(model, optimizer, L2(1.0))
    x, y = data()
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    learner = Learner(model, Replay(8), Training(epochs=1), scenario="domain")
    with pytest.warns(LifelongWarning, match=r"a guard of this network holds 1 task"):
        learner.learn(Task("t", Tensors(x, y), Tensors(x, y), (0, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LifelongWarning)  # the weights were trained without the guard
        steps(model, [optimizer], x, y)


def test_a_refused_guard_leaves_the_one_before_as_it_was() -> None:
    model = net()
    optimizer = sgd(model)
    guard = protect(model, optimizer, L2(1.0))
    x, y = data()
    steps(model, [optimizer], x, y)
    guard.consolidate((x, y))
    with pytest.raises(MethodError, match="guarded by l2 already"):
        protect(model, optimizer, EWC(1.0))
    steps(model, [optimizer], x, y)
    assert guard.learnt == 1


def test_equal_methods_are_equal_however_their_numbers_are_spelt() -> None:
    """A strength of 1 and one of 1.0, a list and a tuple: what one saved loads into the other."""
    x, y = data()
    spellings = [EWC(1), EWC(1.0), EWC(np.float64(1)), EWC(1e0)]
    first = net()
    guard = protect(first, optimizer := sgd(first), spellings[0])
    steps(first, [optimizer], x, y)
    guard.consolidate((x, y))
    saved = guard.state_dict()
    json.dumps(saved["meta"])
    for method in spellings[1:]:
        other = copy.deepcopy(first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LifelongWarning)
            again = protect(other, sgd(other), method)
        again.load_state_dict(saved)
        assert again.learnt == 1
    del saved["meta"]["constants"]["normalise"]  # a version before this hyperparameter
    other = copy.deepcopy(first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LifelongWarning)
        again = protect(other, sgd(other), EWC(1.0))
    again.load_state_dict(saved)
    other = net(1)
    with pytest.raises(MethodError, match="strength 1 there, 2 here"):
        protect(other, sgd(other), EWC(2.0)).load_state_dict(saved)
