"""Every method on questions about stories: what it holds, and what cannot learn from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from importance_cases import context_of
from lifelong import EWC, Finetune, Learner, MethodError, Stream, Training, chain, fit
from lifelong.core.method import Method
from lifelong.core.registry import METHODS
from lifelong.nets import MemoryNetwork, Reader
from lifelong.parts.fisher import fisher
from lifelong.streams import babi


@pytest.fixture(scope="module")
def short() -> Stream:
    return babi(tasks=(1, 4), memory=5, examples=40, test_examples=20)


# they need a plain stack of layers, or inputs that can be drawn
NOT_ON_STORIES = {"fearnet", "generative_replay", "grow", "hat", "progressive"}


@pytest.mark.parametrize("name", sorted(NOT_ON_STORIES))
def test_what_cannot_learn_from_stories_says_so(name: str, short: Stream) -> None:
    method: Method = METHODS[name].load()()
    stream = replace(short, scenario="task" if "task" in method.scenarios else "domain")
    with pytest.raises(MethodError, match=r"nn\.Sequential|words of a text"):
        fit(method, MemoryNetwork(4, 2), stream, training=Training(lr=0.1, epochs=1, batch_size=10))


@pytest.mark.parametrize("name", sorted(set(METHODS) - NOT_ON_STORIES))
def test_every_method_learns_from_stories(name: str, short: Stream) -> None:
    options = {"independent": {"oracle": True}, "gdumb": {"passes": 2}}.get(name, {})
    method: Method = METHODS[name].load()(**options)
    training = Training(lr=0.1, clip=1.25, epochs=2, batch_size=10)
    scenario = "domain" if "domain" in method.scenarios else "task"
    run = fit(method, MemoryNetwork(4, 2), replace(short, scenario=scenario), training=training)
    assert 0 <= run.matrix(method.name).acc <= 1
    torch.manual_seed(0)
    learner = Learner(MemoryNetwork(4)(short.shape, short.outputs), method, training, scenario=scenario)
    for task in short if not method.traits.once else ():
        learner.learn(task)
    memory = getattr(learner.state, "memory", None)
    if memory is not None:  # held as they came
        held = memory.slots["x"][: memory.filled]
        assert held.dtype == torch.int16
        known = {tuple(row.flatten().tolist()) for task in short for row in task.train.x}
        assert {tuple(row.flatten().tolist()) for row in held} <= known


@pytest.mark.parametrize("about", [MemoryNetwork(4, 2), MemoryNetwork(4, 2, "layerwise"), Reader("gru", 4, 3)])
def test_importance_is_of_single_questions(about, short: Stream) -> None:
    torch.manual_seed(0)
    net = about(short.shape, short.outputs).double()
    found = fisher(context_of(net, short[0].train.x[:12], short[0].train.y[:12]), "empirical").dict()
    expected = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for x, y in zip(short[0].train.x[:12], short[0].train.y[:12]):
        net.eval().zero_grad()
        F.cross_entropy(net(x[None]), y[None]).backward()
        for name, p in net.named_parameters():
            expected[name] += p.grad.square() / 12
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_a_method_holds_what_it_learnt_from_stories() -> None:
    """With a strength that is far too large the network stays where the first task left it."""
    stream = babi(tasks=(1, 4), memory=5, examples=200, test_examples=50)
    training = Training(lr=0.3, clip=1.25, epochs=10, batch_size=32)
    held, free = (
        fit(m, MemoryNetwork(10), stream, training=training).matrix()
        for m in (EWC(1e6, importance="sampled", implicit=True), Finetune())
    )
    assert held.R[1, 0] > 0.3
    assert held.R[2, 0] > held.R[1, 0] - 0.1
    assert free.R[2, 0] < 0.1


def test_chains_on_stories(short: Stream) -> None:
    both = chain(METHODS["replay"].load()(20, fill="herding"), METHODS["ewc"].load()(1.0, importance="sampled"))
    assert fit(both, MemoryNetwork(4), short, training=Training(batch_size=20)).matrix().R.shape == (3, 2)
