"""People who protect a model in their own loop, or learn with a `Learner`, and what was held of it in silence: nothing, or twice."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bare_loops import data, net, sgd, steps
from lifelong import (
    EWC,
    HAT,
    L2,
    MLP,
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
)
from toys import same, toy_net, toy_stream, weights


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


def test_layers_that_are_frozen_after_the_learner_was_made() -> None:
    stream = toy_stream("domain")
    learner = Learner(toy_net(3), EWC(1.0), scenario="domain")
    learner.learn(stream[0])
    learner.net[0].requires_grad_(False)
    with pytest.raises(MethodError, match=r"other trainable weights.*0\.bias.*before Learner"):
        learner.learn(stream[1])


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


def test_a_guard_is_not_copied() -> None:
    """A copy has no hooks: training on with the copied model and its guard held nothing."""
    model = net()
    guard = protect(model, sgd(model), L2(1.0))
    with pytest.raises(MethodError, match="neither copied nor pickled"):
        copy.deepcopy(guard)


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
