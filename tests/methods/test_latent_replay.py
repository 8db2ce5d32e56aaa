"""Latent replay against replay, against loops written by hand, and against what must rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lifelong.core import state_io as tree
from lifelong.core.chain import chain
from lifelong.core.errors import MethodError
from lifelong.core.method import Method
from lifelong.core.random import generator
from lifelong.loops.guard import protect
from lifelong.methods import Finetune, LatentReplay, Replay
from lifelong.nets import MLP
from lifelong.parts.activation_hooks import arriving, before
from lifelong.runs.fitting import fit
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

TRAININGS = {
    "momentum": Training(lr=0.02, momentum=0.9, weight_decay=0.01, batch_size=16, epochs=2),
    "adam": Training(optimizer="adam", lr=0.01, weight_decay=0.01, batch_size=10, epochs=2),
}


def normed(outputs: int) -> nn.Module:
    """Two blocks with normalisations and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = [nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)]
        return nn.Sequential(
            nn.Sequential(nn.Linear(FEATURES, 16), *block),
            nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()),
            nn.Linear(16, outputs),
        )


@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("training", TRAININGS)
def test_at_the_first_layer_it_is_replay(training: str, scenario: str) -> None:
    stream = toy_stream(scenario)
    ends = []
    for method in (Replay(40, fill="random", batch_size=8), LatentReplay(40, "0", batch_size=8)):
        learner = Learner(normed(stream.outputs), method, TRAININGS[training], scenario=stream.scenario)
        for task in stream:
            learner.learn(task)
        ends.append(
            (weights(learner.net), learner.memory_bytes, learner.costs.backward, learner.evaluate(stream)[0][0])
        )
    assert same(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]


@pytest.mark.parametrize("training", TRAININGS)
def test_below_everything_rests(training: str) -> None:
    """Weights, moments and what normalisations counted, from the second task on; above nothing does."""
    stream = toy_stream("class")
    learner = Learner(normed(stream.outputs), LatentReplay(40, "1"), TRAININGS[training], scenario="class")
    start = weights(learner.net)
    learner.learn(stream[0])
    first = weights(learner.net)
    learner.learn(stream[1])
    second = weights(learner.net)
    below = [k for k in start if k.startswith("0.")]
    assert len(below) == 7
    for name in below:
        assert torch.equal(first[name], second[name]), name
        assert not torch.equal(start[name], first[name]), name
    assert not any(torch.equal(first[k], second[k]) for k in start if k not in below)


def test_a_step_by_hand() -> None:
    """In float64: the gradient of the mean over new examples and remembered features, by two explicit halves of the network."""
    stream = toy_stream("class")
    training = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=1)
    method = LatentReplay(30, "2", batch_size=5)
    learner = Learner(toy_net(stream.outputs), method, training, scenario="class", dtype=torch.float64)
    learner.learn(stream[0])
    memory = learner.state.past.memory
    net = toy_net(stream.outputs).double()
    net.load_state_dict(learner.net.state_dict())
    below, above = net[:2], net[2:]
    # what is held is what arrives there of the first task's own examples
    held = memory.slots["x"][: memory.filled]
    arrived = below(stream[0].train.x.double()).detach()
    assert memory.filled == 30
    assert all((arrived - h).abs().sum(1).min() < 1e-12 for h in held)

    optimizer = torch.optim.SGD(above.parameters(), lr=0.1, momentum=0.9)
    by_name = dict(learner.net.named_parameters())
    for name, p in net.named_parameters():
        if not name.startswith("0."):
            optimizer.state[p]["momentum_buffer"] = learner.optimizer.state[by_name[name]]["momentum_buffer"].clone()
    draws = generator(0, "method/1")
    order = torch.randperm(len(stream[1].train), generator=generator(0, "order/1/0/0"))
    mask = torch.arange(stream.outputs) < 6
    for index in order.split(16):
        rows = torch.randint(30, (5,), generator=draws)
        h, y = memory.slots["x"][rows], memory.slots["y"][rows]
        logits = torch.cat([above(below(stream[1].train.x[index].double()).detach()), above(h)])
        each = F.cross_entropy(
            logits.masked_fill(~mask, -torch.inf), torch.cat([stream[1].train.y[index], y]), reduction="none"
        )
        optimizer.zero_grad()
        each.mean().backward()
        optimizer.step()
    learner.learn(stream[1])
    for name, p in net.named_parameters():
        torch.testing.assert_close(by_name[name].detach(), p.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_a_slower_rate_is_a_smaller_learning_rate_below(rate: float) -> None:
    """Without a memory it is a loop with two parameter groups."""
    stream = toy_stream("domain", tasks=2)
    training = Training(lr=0.1, batch_size=16, epochs=2)
    learner = toy_learner(LatentReplay(0, "2", rate=rate), stream, training)
    for task in stream:
        learner.learn(task)
    net = toy_net(stream.outputs)
    for task in stream:
        groups = [
            {"params": net[:2].parameters(), "lr": 0.1 * (rate if task.index else 1)},
            {"params": net[2:].parameters()},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        for epoch in range(2):
            order = torch.randperm(len(task.train), generator=generator(0, f"order/{task.index}/0/{epoch}"))
            for index in order.split(16):
                optimizer.zero_grad()
                F.cross_entropy(net(task.train.x[index]), task.train.y[index]).backward()
                optimizer.step()
    for name, p in learner.net.named_parameters():
        torch.testing.assert_close(p, net.get_parameter(name))


def test_memory_is_counted() -> None:
    """A slot: 16 features of 4 bytes, a label and a key of 8; one row more than slots. Beside it a generator."""
    stream = toy_stream("class")
    learner = toy_learner(LatentReplay(50), stream)
    learner.learn(stream[0])
    past = learner.state.past
    assert past.memory.slots["x"].shape == (51, 16)
    assert tree.nbytes(past.memory) == 51 * (16 * 4 + 8 + 8)
    assert learner.memory_bytes == tree.nbytes(past.memory) + tree.nbytes(past.draws)


def test_what_lies_before_a_layer() -> None:
    net = normed(3)
    assert before(net, "0")[1] == ()
    assert before(net, "1")[1] == ("0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias")
    assert before(net, "1.1")[1][-2:] == ("1.0.weight", "1.0.bias")
    x = torch.randn(4, FEATURES)
    net.eval()
    assert torch.equal(arriving(net, "1.1", x), net[1][0](net[0](x)))


def test_an_evaluation_between_mixing_and_the_step_disturbs_nothing() -> None:
    stream = toy_stream("domain", tasks=2)
    ends = []
    for peeks in (False, True):
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, LatentReplay(20, "2"))
        for task in stream:
            for index in torch.arange(len(task.train)).split(16):
                batch = guard.mix(task.train.x[index], task.train.y[index])
                if peeks:
                    net.eval()
                    assert len(net(task.test.x)) == len(task.test)
                    net.train()
                    batch = guard.mix(task.train.x[index], task.train.y[index]) if task.index == 0 else batch
                loss = guard.loss(net(batch.x), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            guard.consolidate(task.train)
        ends.append(weights(net))
        assert not any(m._forward_pre_hooks for m in net.modules())
    assert same(*ends)


def test_it_rests_where_gradients_are_zero_and_not_none() -> None:
    """In a loop that keeps zeros, momentum and weight decay would move what rests."""
    stream = toy_stream("domain", tasks=2)
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    guard = protect(net, optimizer, LatentReplay(20, "2"))
    ends = []
    for task in stream:
        for index in torch.arange(len(task.train)).split(16):
            batch = guard.mix(task.train.x[index], task.train.y[index])
            loss = guard.loss(net(batch.x), batch)
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
        guard.consolidate(task.train)
        ends.append(weights(net[:2]))
    assert same(*ends)


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    stream = toy_stream("class")
    with pytest.raises(MethodError, match=r"no layer '7'.*it has 0, 1, 2"):
        fit(LatentReplay(layer="7"), toy_net(stream.outputs), stream, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(MethodError, match="rate 2"):
        LatentReplay(rate=2.0)


def test_what_it_remembers_joins_behind_the_others_wherever_it_stands_in_a_chain() -> None:
    stream = toy_stream("class")
    ends = []
    for method in (chain(Replay(20), LatentReplay(20)), chain(LatentReplay(20), Replay(20))):
        learner = toy_learner(method, stream)
        for task in stream:
            learner.learn(task)
        ends.append(weights(learner.net))
    assert same(*ends)


def test_it_helps() -> None:
    """Classes that come one task after another are kept, which fine-tuning loses."""
    stream = toy_stream("class", examples=300)
    training = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=5)
    acc: dict[str, float] = {}
    methods: list[Method] = [Finetune(), LatentReplay(100, "2")]
    for method in methods:
        acc[method.name] = fit(method, MLP((32, 32)), stream, training=training).matrix().acc
    assert acc["latent_replay"] > acc["finetune"] + 0.2
