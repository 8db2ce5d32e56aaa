"""What every method must obey. A method that is in the registry is held to all of it, without new test code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lifelong.checkpoint import Store
from lifelong.errors import MethodError
from lifelong.fitting import fit
from lifelong.guard import protect
from lifelong.learner import Learner
from lifelong.method import Chain, Method, chain
from lifelong.methods import L2, Finetune
from lifelong.random import generator
from lifelong.registry import METHODS
from lifelong.stream import Scenario, Stream
from lifelong.training import Training
from toys import same, toy_learner, toy_net, toy_stream, weights

NAMES = list(METHODS)
SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")
TRAININGS = {
    "momentum": Training(lr=0.02, momentum=0.9, batch_size=16, epochs=2),
    "adam": Training(optimizer="adam", lr=0.01, batch_size=10, epochs=2, weight_decay=0.01),
}


def method_of(name: str, **constants: object) -> Method:
    return METHODS[name].load()(**constants)


def fits(method: Method, scenario: Scenario) -> bool:
    try:
        method.check(scenario)
    except MethodError:
        return False
    return True


def learnt(method: Method, stream: Stream, **options: object) -> Learner:
    learner = toy_learner(method, stream, **{"training": TRAININGS["momentum"]} | options)
    for task in stream:
        if method.once and task.index + 1 < len(stream):
            learner.remember(task)
        else:
            learner.learn(task)
    return learner


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", NAMES)
def test_control(name: str, scenario: Scenario, training: str) -> None:
    """Neutral constants give fine-tuning's bits; the others do not."""
    method = method_of(name)
    if not fits(method, scenario):
        return  # held in the scenarios that it runs in; test_each_method_runs_somewhere sees to it that there are some
    stream = toy_stream(scenario)
    free = weights(learnt(Finetune(), stream, training=TRAININGS[training]).net)
    acting = weights(learnt(method, stream, training=TRAININGS[training]).net)
    if name != "finetune":
        assert not same(free, acting)
    if hasattr(method, "implicit"):
        implicit = method_of(name, **(method.neutral or {}), implicit=True)
        assert same(free, weights(learnt(implicit, stream, training=TRAININGS[training]).net))
    if method.neutral is None:
        assert method.no_neutral, f"{name} has no neutral constants and does not say why"
    else:
        assert same(free, weights(learnt(method_of(name, **method.neutral), stream, training=TRAININGS[training]).net))


@pytest.mark.parametrize("name", NAMES)
def test_each_method_runs_somewhere(name: str) -> None:
    assert any(fits(method_of(name), scenario) for scenario in SCENARIOS)


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_of_one_is_the_method(name: str) -> None:
    method, stream = method_of(name), toy_stream("task")
    assert chain(method) is method
    assert chain(Finetune(), method) == method
    if method.acts:
        alone, chained = learnt(method, stream), learnt(Chain((method,)), stream)
        assert same(weights(alone.net), weights(chained.net))
        assert alone.evaluate(stream)[0][0] == chained.evaluate(stream)[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_answers_before_its_first_task(name: str) -> None:
    stream = toy_stream("task")
    alone, chained = toy_learner(method_of(name), stream), toy_learner(chain(method_of(name), L2(0.0)), stream)
    assert alone.evaluate(stream)[0][0] == chained.evaluate(stream)[0][0]
    assert (alone.parameters, alone.memory_bytes) == (chained.parameters, chained.memory_bytes)


@pytest.mark.parametrize("name", NAMES)
def test_a_neutral_companion_changes_nothing(name: str) -> None:
    method, stream = method_of(name), toy_stream("task")
    both = chain(method, L2(0.0))
    assert same(weights(learnt(method, stream).net), weights(learnt(both, stream).net))


@pytest.mark.parametrize("name", NAMES)
def test_three_ways_in_agree(name: str) -> None:
    method, stream = method_of(name), toy_stream("task")
    training = TRAININGS["momentum"]
    by_hand = learnt(method, stream, training=training)
    run = fit(method, toy_net(stream.outputs), stream, training=training)
    assert run.matrix().R[-1].tolist() == [a for a, _, _ in by_hand.evaluate(stream)]
    if not method.portable:
        with pytest.raises(MethodError, match="loop of its own"):
            protect(by_hand.net, by_hand.optimizer, method)
        return
    net = toy_net(stream.outputs)
    optimizer = training.build(net)
    guard = protect(net, optimizer, method, scenario="task")
    for task in stream:
        guard.begin(task.classes)
        mask = torch.zeros(stream.outputs, dtype=torch.bool)
        mask[list(task.classes)] = True
        for epoch in range(training.epochs):
            order = torch.randperm(len(task.train), generator=generator(0, f"order/{task.index}/0/{epoch}"))
            for index in order.split(training.batch_size):
                batch = guard.mix(task.train.x[index], task.train.y[index])
                loss = guard.loss(net(batch.x), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        guard.consolidate(task.train)
    assert same(weights(by_hand.net), weights(net))


@pytest.mark.parametrize("moment", ["between tasks", "within a task"])
@pytest.mark.parametrize("name", NAMES)
def test_state_survives_saving(name: str, moment: str, tmp_path) -> None:
    method, stream = method_of(name), toy_stream("task", examples=2100)  # more than one chunk, so that a task pauses
    # over so many steps FearNet's reconstruction diverges at 0.02 for half of the seeds, and rounding decides for which
    training = replace(TRAININGS["momentum"], epochs=1, lr=0.005)
    whole = learnt(method, stream, training=training, dropout=0.3)
    first = toy_learner(method, stream, training, dropout=0.3)
    if method.once:
        for task in stream.tasks[:-1]:
            first.remember(task)
    else:
        first.learn(stream[0])
    if moment == "within a task":
        pause = next(first.steps(stream[first.learnt]), None)
        if pause is None:
            return  # it takes no steps in this task
        assert 0 < pause.step < pause.steps
    Store(tmp_path).save(first.state_dict())
    second = toy_learner(method, stream, training, seed=0, dropout=0.3)
    with torch.no_grad():
        for p in second.net.parameters():
            p.add_(1.0)  # whatever was there before must not matter
    saved = Store(tmp_path).newest()
    assert saved is not None
    second.load_state_dict(saved, past=stream.tasks[: first.learnt])
    while second.learnt < len(stream):
        second.learn(stream[second.learnt])
    assert same(weights(whole.net), weights(second.net))
    assert second.costs.forward == whole.costs.forward
    again = Store(tmp_path).newest()
    assert again is not None
    assert same(saved["tensors"], again["tensors"])  # going on did not write into what was loaded
    assert [a for a, _, _ in whole.evaluate(stream)] == [a for a, _, _ in second.evaluate(stream)]


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    method, stream = method_of(name), toy_stream("task")
    ends = []
    for seed in (3, 3, 4):
        learner = Learner(toy_net(stream.outputs), method, TRAININGS["momentum"], scenario="task", seed=seed)
        for task in stream:
            if method.once and task.index + 1 < len(stream):
                learner.remember(task)
            else:
                learner.learn(task)
        ends.append(weights(learner.net))  # the same initial weights: what differs is the order and the draws
    assert same(ends[0], ends[1])
    if not same(ends[0], weights(toy_net(stream.outputs))):  # it trains the network
        assert not same(ends[0], ends[2])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_global_changes(name: str) -> None:
    method, stream = method_of(name), toy_stream("task")
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    learner = learnt(method, stream, dropout=0.2)
    learner.evaluate(stream)
    after = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_constants(name: str) -> None:
    """Frozen, comparable, and described: a run can be told from its printed method."""
    method = method_of(name)
    assert method == method_of(name)
    assert method.name == name
    assert (type(method).__doc__ or "").strip()
    with pytest.raises(AttributeError):
        method.anything = 1


def test_finetuning_is_a_plain_loop() -> None:
    """With no method the library ends on the bits of the loop that anyone would write."""
    stream, training = toy_stream("domain"), TRAININGS["momentum"]
    ours = learnt(Finetune(), stream, training=training)
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=training.lr, momentum=training.momentum)
    for task in stream:
        for epoch in range(training.epochs):
            order = torch.randperm(len(task.train), generator=generator(0, f"order/{task.index}/0/{epoch}"))
            for index in order.split(training.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(net(task.train.x[index]), task.train.y[index]).backward()
                optimizer.step()
    assert same(weights(ours.net), weights(net))
