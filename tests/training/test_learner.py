"""The loop: what it refuses, what it measures, and what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import (
    EWC,
    DataError,
    Finetune,
    Independent,
    Joint,
    JointOnce,
    Learner,
    Method,
    MethodError,
    Replay,
    Stream,
    Task,
    Tensors,
    Training,
    TrainingError,
    chain,
    fit,
)
from lifelong.core.contexts import Spec
from lifelong.core.errors import RunError
from lifelong.core.random import generator
from lifelong.core.vector import Vector
from lifelong.nets import MLP
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights


def test_masks_of_the_three_scenarios() -> None:
    for scenario, allowed in (("task", {0, 1, 2}), ("class", set(range(6))), ("domain", {0, 1, 2})):
        stream = toy_stream(scenario)
        learner = toy_learner(Finetune(), stream)
        learner.learn(stream[0])
        learner.learn(stream[1])
        scores = learner.scores(stream[0].test.x, stream[0])
        open_ = {c for c in range(stream.outputs) if bool((scores[:, c] > float("-inf")).any())}
        assert open_ == allowed
        assert set(learner.predict(stream[0].test.x, stream[0]).tolist()) <= allowed


def test_class_scenario_before_and_beyond_what_was_seen() -> None:
    stream = toy_stream("class")
    learner = toy_learner(Finetune(), stream)
    assert all(math.isnan(a) for a, _, _ in learner.evaluate(stream))
    with pytest.raises(MethodError, match="no class has been seen"):
        learner.predict(stream[0].test.x)
    learner.learn(stream[0])
    row = [a for a, _, _ in learner.evaluate(stream)]
    assert row[0] > 0.5
    assert row[1:] == [0.0, 0.0]


def test_all_outputs_may_compete_in_training() -> None:
    stream = toy_stream("class")
    seen, every = (toy_learner(Finetune(), stream, Training(lr=0.1, batch_size=16, outputs=o)) for o in ("seen", "all"))
    for learner in (seen, every):
        before = learner.net[-1].bias[-1].item()
        learner.learn(stream[0])
        assert (learner.net[-1].bias[-1].item() == before) == (learner is seen)
        assert set(learner.predict(stream[2].test.x).tolist()) <= {0, 1, 2}


def test_accuracy_by_hand() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    learner.learn(stream[0])
    right = (learner.net(stream[1].test.x).argmax(1) == stream[1].test.y).sum().item()
    accuracy, n, seconds = learner.evaluate(stream)[1]
    assert (accuracy, n) == (right / 60, 60)
    assert seconds > 0


def test_joint_sees_everything_from_the_start() -> None:
    """Row i of joint is what one learns from tasks 1..i at once, beginning anew."""
    stream = toy_stream("domain")
    training = Training(lr=0.1, batch_size=16, epochs=8)
    run = fit(Joint(), toy_net(3), stream, training=training)
    free = fit(Finetune(), toy_net(3), stream, training=training)
    assert run.matrix().R[1].tolist() == free.matrix().R[1].tolist()
    assert run.matrix().acc > free.matrix().acc + 0.05
    once = fit(JointOnce(), toy_net(3), stream, training=training)
    assert once.matrix().acc > free.matrix().acc + 0.05
    assert bool(torch.tensor(once.matrix().R[1:-1]).isnan().all())
    [record] = run.records.values()
    assert record.forward == [0, 8 * 96, 8 * 2 * 96, 8 * 3 * 96]
    assert record.memory_bytes[-1] == 3 * 96 * (FEATURES * 4 + 8)


def test_iterations_are_steps_and_joint_gets_its_share() -> None:
    stream = toy_stream("task")
    training = Training(lr=0.1, batch_size=16, iterations=10)
    for method, steps in ((Finetune(), [0, 10, 10, 10]), (Joint(), [0, 10, 20, 30])):
        [record] = fit(method, toy_net(9), stream, training=training).records.values()
        assert record.forward == [16 * s for s in steps]


def test_independent_is_a_network_each() -> None:
    stream = toy_stream("task")
    run = fit(Independent(), toy_net(9), stream)
    R = run.matrix().R
    assert run.matrix().bwt == 0
    assert run.matrix().fwt == 0
    [record] = run.records.values()
    one = sum(p.numel() for p in toy_net(9).parameters())
    assert record.parameters == [one, one, 2 * one, 3 * one]
    assert R[3, 2] > R[0, 2]
    with pytest.raises(MethodError, match="oracle true"):
        fit(Independent(), toy_net(3), toy_stream("domain"))
    told = fit(Independent(oracle=True), toy_net(3), toy_stream("domain"))
    assert told.matrix().bwt == 0


def test_independent_that_inherits_goes_on_as_fine_tuning_and_forgets_nothing() -> None:
    stream = toy_stream("domain")
    own = fit(Independent(oracle=True, inherit=True), toy_net(3), stream).matrix().R
    tuned = fit(Finetune(), toy_net(3), stream).matrix().R
    assert np.array_equal(np.diag(own[1:]), np.diag(tuned[1:])), "each task is learnt as fine-tuning learns it"
    assert all(np.array_equal(own[k + 1 :, k], np.full(len(stream) - k, own[k + 1, k])) for k in range(len(stream)))


def test_dropout_draws_from_its_own_generator() -> None:
    stream = toy_stream("domain")
    nets = []
    for outer in (1, 2):
        torch.manual_seed(outer)
        learner = toy_learner(Finetune(), stream, dropout=0.5)
        learner.learn(stream[0])
        nets.append(weights(learner.net))
    assert same(*nets)


@pytest.mark.parametrize("optimizer", [{"momentum": 0.9}, {"optimizer": "adam", "lr": 0.003}])
def test_learning_may_pause_and_go_on_in_another_process_of_the_same_mind(optimizer) -> None:
    stream = toy_stream("domain", examples=3000)
    training = Training(**{"lr": 0.1, "batch_size": 16, "epochs": 2, **optimizer})
    whole = toy_learner(EWC(10.0), stream, training, dropout=0.3)
    for task in stream:
        whole.learn(task)
    for stop_at in (1, 3, 5):
        first = toy_learner(EWC(10.0), stream, training, dropout=0.3)
        for pause, _ in zip(first.steps(stream[0]), range(stop_at)):
            assert pause.steps == 2 * 188
        second = toy_learner(EWC(10.0), stream, training, dropout=0.3)
        second.load_state_dict(first.state_dict())
        while second.learnt < 3:
            second.learn(stream[second.learnt])
        assert same(weights(whole.net), weights(second.net))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, train=replace(t.train, y=t.train.y + 7)), r"labels 7\.\.9.*outputs 0\.\.2"),
        (lambda t: replace(t, train=replace(t.train, y=t.train.y - 1)), r"labels -1\.\.1"),
        (lambda t: replace(t, train=replace(t.train, x=_spoilt(t.train.x))), r"NaN or infinite \(rows \[4\]"),
    ],
)
def test_bad_data(change, message: str) -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    with pytest.raises(DataError, match=message):
        learner.learn(change(stream[0]))


def _spoilt(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[4, 2] = float("nan")
    return x


def test_a_loss_that_breaks_down_is_said() -> None:
    stream = toy_stream("domain")
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fit(Finetune(), toy_net(3), stream, training=Training(lr=1e25, batch_size=16, epochs=3))


def test_a_loss_that_breaks_down_is_said_with_task_and_steps() -> None:
    stream = toy_stream("domain", examples=2100)
    wild = replace(stream[1], train=replace(stream[1].train, y=stream[1].train.y))
    wild.train.x[5] = 3e38  # finite, and too large for any loss to be
    learner = toy_learner(Finetune(), stream, Training(lr=0.1, batch_size=16, epochs=1))
    learner.learn(stream[0])
    order = torch.randperm(2100, generator=generator(0, "order/1/0/0")).tolist()
    first = 1 + order.index(5) // 1024 * 64
    with pytest.raises(TrainingError, match=rf"steps {first} to {min(first + 63, 132)} of 132 \(task 2\)"):
        learner.learn(wild)


def test_test_inputs_that_are_no_numbers_are_said() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    learner.learn(stream[0])
    with pytest.raises(DataError, match="1 of the 60 test examples of task 'blobs 2'"):
        learner.evaluate([replace(stream[1], test=replace(stream[1].test, x=_spoilt(stream[1].test.x)))])


def test_only_a_tasks_own_rows_are_looked_at() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    shared = replace(stream[0].train, x=_spoilt(stream[0].train.x))
    learner.learn(replace(stream[0], train=shared.subset(torch.arange(5, 96))))
    with pytest.raises(DataError, match=r"rows \[2\]"):
        learner.learn(replace(stream[1], train=shared.subset(torch.tensor([8, 9, 4]))))


def test_large_inputs_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the numbers are the same."""
    stream, ends, read = toy_stream("domain", examples=200), [], []
    take = Tensors.take
    monkeypatch.setattr(Tensors, "take", lambda self, index: read.append(len(index)) or take(self, index))
    for bound in (2**26, 40 * 4 * FEATURES):
        monkeypatch.setattr("lifelong.training.evaluation.BYTES", bound)
        learner = toy_learner(Finetune(), stream)
        for task in stream:
            learner.learn(task)
        ends.append(weights(learner.net))
        assert max(read) == (200 if bound == 2**26 else 32)
        read.clear()
    assert same(*ends)


def test_a_network_that_gives_no_logits_is_said() -> None:
    class Pair(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(FEATURES, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.a(x), x

    with pytest.raises(MethodError, match=r"logits \[B, C\]; got tuple"):
        Learner(Pair(), scenario="domain").learn(toy_stream("domain")[0])


def test_an_unlabelled_direction_needs_its_task() -> None:
    stream = toy_stream("task")
    learner = toy_learner(Finetune(), stream)
    learner.learn(stream[0])
    with pytest.raises(MethodError, match=r"predict\(x, task\)"):
        learner.predict(stream[0].test.x)


def test_precision() -> None:
    stream = toy_stream("domain")
    learner = Learner(toy_net(3), EWC(1.0), Training(lr=0.1), scenario="domain", dtype=torch.float64)
    learner.learn(stream[0])
    assert learner.state.A.flat().dtype == torch.float64


def test_images_are_bytes_until_a_batch_needs_them() -> None:
    x = torch.randint(0, 256, (40, 4, 4), dtype=torch.uint8)
    task = Task("bytes", Tensors(x, torch.arange(40) % 2), Tensors(x, torch.arange(40) % 2), (0, 1))
    stream = Stream((task,), "domain", ("a", "b"))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    learner = Learner(net, scenario="domain", training=Training(lr=0.1))
    learner.learn(stream[0])
    torch.testing.assert_close(learner.scores(x), net(x.float() / 255))


def test_a_saved_learner_is_of_its_method() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(Finetune(), stream)
    learner.learn(stream[0])
    with pytest.raises(MethodError, match="saved by the method 'finetune'"):
        toy_learner(EWC(1.0), stream).load_state_dict(learner.state_dict())
    joint = toy_learner(Joint(), stream)
    joint.learn(stream[0])
    with pytest.raises(MethodError, match="needs the 1 met so far"):
        toy_learner(Joint(), stream).load_state_dict(joint.state_dict())


def test_clipping_and_halving_are_those_of_a_plain_loop() -> None:
    stream = toy_stream("domain")
    training = Training(lr=0.4, batch_size=16, epochs=5, clip=0.3, halve_every=2)
    learner = toy_learner(Finetune(), stream, training)
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4)
    clipped = []
    for task in stream:
        learner.learn(task)
        for epoch in range(5):
            optimizer.param_groups[0]["lr"] = (0.4, 0.4, 0.2, 0.2, 0.1)[
                epoch
            ]  # from the beginning again with each task
            order = torch.randperm(len(task.train), generator=generator(0, f"order/{task.index}/0/{epoch}"))
            for index in order.split(16):
                optimizer.zero_grad()
                F.cross_entropy(net(task.train.x[index]), task.train.y[index]).backward()
                clipped.append(float(nn.utils.clip_grad_norm_(net.parameters(), 0.3)) > 0.3)
                optimizer.step()
    assert {True, False} == set(clipped)
    assert same(weights(learner.net), weights(net))


def test_halving_goes_on_where_a_saved_learner_stood() -> None:
    stream = toy_stream("domain", examples=2100)
    training = Training(lr=0.4, batch_size=16, epochs=3, halve_every=1)
    whole, first, second = (toy_learner(Finetune(), stream, training) for _ in range(3))
    for pause in first.steps(stream[0]):
        if pause.epoch == 1:
            break
    second.load_state_dict(first.state_dict())
    for learner in (whole, second):
        for task in stream.tasks[learner.learnt :]:
            learner.learn(task)
    assert same(weights(whole.net), weights(second.net))


@pytest.mark.parametrize("wrong", [{"clip": 0.0}, {"clip": -1.0}, {"halve_every": 0}])
def test_training_out_of_range(wrong) -> None:
    with pytest.raises(MethodError, match="expected"):
        Training(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -1},
        {"lr": float("nan")},
        {"momentum": 2},
        {"weight_decay": -1},
        {"epochs": 1.5},
        {"epochs": 0},
        {"optimizer": "foo"},
    ],
    ids=str,
)
def test_numbers_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(MethodError, match=f"{next(iter(wrong))} .*expected"):
        Training(**wrong)  # type: ignore[arg-type]


def test_batch_norm_on_a_batch_of_one() -> None:
    net = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 9))
    learner = Learner(net, Finetune(), Training(batch_size=5))
    with pytest.raises(
        TrainingError, match=r"a batch of one \(96 examples in batches of 5\): choose another batch_size"
    ):
        learner.learn(toy_stream("class")[0])
    train = toy_stream("class")[0].train
    with pytest.raises(TrainingError, match=r"a batch of one \(one step on one example\)"):
        Learner(net, Finetune()).step(train.x[:1], train.labels[:1])


def test_what_is_predicted_of() -> None:
    """An array will do; one example alone is told."""
    stream = toy_stream("domain")
    task, learner = stream[0], Learner(toy_net(stream.outputs), Finetune())
    learner.learn(task)
    assert torch.equal(learner.predict(task.test.x.double().numpy()), learner.predict(task.test.x))
    with pytest.raises(DataError, match=r"x\[None\]"):
        learner.predict(task.test.x[0])


def test_what_is_no_network_no_method_and_no_training() -> None:
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    for make, said in (
        (lambda: Learner(MLP((8,)), EWC(1.0)), "net MLP.*expected a torch.nn.Module"),
        (lambda: Learner(net, "ewc"), "'ewc': expected a method such as"),
        (lambda: Learner(net, EWC(1.0), {"lr": 1}), r"training \{'lr': 1\}: expected Training"),
        (
            lambda: Learner(net, EWC(1.0), scenario="classes"),
            "scenario 'classes': expected one of 'task', 'domain', 'class'",
        ),
        (lambda: EWC("3"), "ewc: strength '3': expected a number"),
        (lambda: Replay(2.5), "replay: buffer_size 2.5: expected 0 or more, a whole number"),
        (lambda: fit(Finetune(), net, stream, seeds=0), "seeds 0: expected how many"),
        (lambda: fit(Finetune(), net, stream, seeds="3"), "seeds '3': expected how many"),
        (lambda: fit(Finetune(), (64,), stream), r"net \(64,\): expected a torch.nn.Module"),
    ):
        with pytest.raises(MethodError, match=said):
            make()
    assert EWC(np.float32(3)).strength == Replay(np.int64(3)).buffer_size == 3
    with pytest.raises(RunError, match="finetune seed 7 is not in this run; there are finetune seed 0"):
        fit(Finetune(), net, stream).matrix(seed=7)


@pytest.mark.parametrize(("change", "said"), [(Tensor.long, "x.float"), (lambda x: x[:, :-1], "mat1 and mat2 shapes")])
def test_inputs_that_the_network_cannot_take(change: Callable[[Tensor], Tensor], said: str) -> None:
    stream = toy_stream("domain")
    parts = {
        name: Tensors(change(getattr(stream[0], name).x), getattr(stream[0], name).y) for name in ("train", "test")
    }
    with pytest.raises(MethodError, match=f"cannot take the inputs of task .*{said}"):
        Learner(toy_net(stream.outputs), EWC(1.0)).learn(replace(stream[0], **parts))


def test_a_task_that_is_gone_on_with_is_the_same() -> None:
    """Classes under other names are told in its middle too."""
    stream = toy_stream("class", tasks=2)
    first, second = (replace(task, class_names=tuple("abcdefghij"[: stream.outputs])) for task in stream)
    learner = Learner(toy_net(stream.outputs), Finetune(), Training(batch_size=4, epochs=100))
    learner.learn(first)
    next(learner.steps(second))
    assert learner.at is not None
    with pytest.raises(DataError, match="learnt as class"):
        next(learner.steps(replace(second, class_names=second.class_names[::-1])))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (EWC(0.0), "ewc with strength 0.0 is fine-tuning bit for bit"),
        (Replay(0), "replay with buffer_size 0 is fine-tuning bit for bit"),
        (chain(EWC(0.0), Replay(9)), "ewc with strength 0.0 is fine-tuning bit for bit"),
        (Finetune(), ""),
        (Independent(), ""),
        (Replay(1), ""),
    ],
    ids=str,
)
def test_what_equals_fine_tuning_says_so(method: Method, said: str) -> None:
    assert method.advice("class") == said


def test_a_state_that_could_not_be_read_back_is_refused_before_training() -> None:
    @dataclass(frozen=True)
    class Undeclared(Method):
        name: ClassVar[str] = "undeclared"

        def init(self, theta, spec):  # type: ignore[no-untyped-def]
            return theta.zeros()

    @dataclass(frozen=True)
    class Other(Method):
        name: ClassVar[str] = "other"

        def init(self, theta: Vector, spec: Spec) -> int:
            return theta.zeros()  # type: ignore[return-value]

    stream = toy_stream()
    for method, message in (
        (Undeclared(), "Undeclared.init has no return type"),
        (Other(), "gives what its return type does not say"),
    ):
        with pytest.raises(MethodError, match=message):
            toy_learner(method, stream).learn(stream[0])
