"""What is held of the tasks before where an optimizer, a guard, a model or its weights are new: carried on, or reported as dropped."""

from __future__ import annotations

import copy
import json
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bare_loops import data, net, sgd, steps
from lifelong import (
    EWC,
    L2,
    MAS,
    SI,
    Learner,
    LifelongWarning,
    Method,
    MethodError,
    Replay,
    Task,
    Tensors,
    Training,
    protect,
)
from lifelong.core import state_io as tree
from toys import same, toy_net, toy_stream, weights


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
