"""Generators against their definitions, and generative replay against its equation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from lifelong import Finetune, GenerativeReplay, Learner, Task, Tensors, Training, fit
from lifelong.core.errors import MethodError
from lifelong.core.random import generator
from lifelong.core.vector import Vector
from lifelong.parts.distillation import answers, distance
from lifelong.parts.generators import VAE, WGANGP, Adam, Learnt
from lifelong.report.page import write
from lifelong.report.pictures import load_samples
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec
from rehearsal_cases import batch_of, step_context
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)
SMALL = {"hidden": (24,), "code": 4}


# --- generators ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit", [True, False])
def test_the_evidence_bound_is_its_definition(unit: bool) -> None:
    vae = VAE((10,), code=3)
    x = torch.rand(5, 2, 4)
    learnt = vae.begin((2, 4), x, seed=0)
    found = vae.bound(learnt.weights, x, unit, generator(0, "z"))
    networks = vae.networks((2, 4))
    networks.load_state_dict(learnt.weights.dict())
    mean, log_var = networks["encoder"](x.flatten(1)).chunk(2, 1)
    q = Normal(mean, (0.5 * log_var).exp())
    z = mean + q.stddev * torch.randn(mean.shape, generator=generator(0, "z"))
    output = networks["generator"](z)
    p = Bernoulli(logits=output, validate_args=False) if unit else Normal(output, 1.0)
    expected = (kl_divergence(q, Normal(0.0, 1.0)).sum(1) - p.log_prob(x.flatten(1)).sum(1)) / 8
    torch.testing.assert_close(found, expected)


def test_the_critics_penalty_in_closed_form() -> None:
    """A linear critic w·x has the slope w everywhere: the penalty is λ(‖w‖ − 1)²."""
    gan = WGANGP(hidden=(), code=3)
    x, drawn = torch.rand(6, 8), torch.rand(6, 8)
    learnt = gan.begin((8,), x, seed=0)
    w, b = learnt.weights["critic.1.weight"][0], learnt.weights["critic.1.bias"]
    found = gan.critic_loss(learnt.weights, x, drawn, torch.full((6,), 1 / 6), torch.rand(6))
    expected = (drawn @ w + b).mean() - (x @ w + b).mean() + 10 * (w.norm() - 1) ** 2
    torch.testing.assert_close(found.detach(), expected)


def test_a_step_is_adams() -> None:
    vae, x = VAE((10,), code=3, lr=0.01), torch.rand(7, 8)
    learnt = vae.begin((8,), x, seed=0)
    networks = vae.networks((8,))
    networks.load_state_dict(learnt.weights.dict())
    optimizer = torch.optim.Adam(networks.parameters(), lr=0.01)
    ours, theirs = generator(0, "z"), generator(0, "z")
    weight = torch.linspace(0.0, 1.0, 7)
    for _ in range(3):
        vae.step(learnt, x, weight, True, ours)
        loss = (vae.bound(Vector.of(networks), x, True, theirs) * weight).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, p in networks.named_parameters():
        torch.testing.assert_close(learnt.weights[name], p.detach())


def test_a_step_of_some_networks_leaves_the_others() -> None:
    learnt = Learnt.begin(Vector.from_dict({"a.w": torch.ones(3), "b.w": torch.ones(2)}))
    Adam().step(learnt, [torch.ones(2)], ["b.w"])
    assert torch.equal(learnt.weights["a.w"], torch.ones(3))
    torch.testing.assert_close(learnt.weights["b.w"], torch.full((2,), 1 - 0.001))
    assert (float(learnt.steps["a.w"]), float(learnt.steps["b.w"])) == (0, 1)


@pytest.mark.parametrize("kind", [VAE((32,), code=4, lr=0.01), WGANGP((32,), code=4, lr=0.002)])
def test_what_is_drawn_is_like_what_was_seen(kind: VAE | WGANGP) -> None:
    draws = generator(0, "x")
    pattern = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    x = (pattern + 0.1 * torch.randn(256, 6, generator=draws)).clamp(0, 1)
    learnt = kind.begin((6,), x, seed=0)
    before = kind.draw(learnt.weights, 200, (6,), True, draws).mean(0)
    for _ in range(150):
        rows = torch.randint(256, (32,), generator=draws)
        kind.step(learnt, x[rows], torch.full((32,), 1 / 32), True, draws)
    after = kind.draw(learnt.weights, 200, (6,), True, draws).mean(0)
    assert (after - pattern).abs().mean() < 0.25 < (before - pattern).abs().mean()


# --- generative replay --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("targets", ["hard", "soft"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_step_is_the_papers_equation(scenario: str, targets: str) -> None:
    """In task 3: r = 1/3 on new examples, 1 − r on those drawn, which the last solver answers."""
    method, stream = GenerativeReplay(targets=targets, batch_size=9, **SMALL), toy_stream(scenario, tasks=3)
    learner = toy_learner(method, stream, TRAINING)
    for task in stream.tasks[:2]:
        learner.learn(task)
    solver = toy_net(learner.spec.outputs)
    solver.load_state_dict(weights(learner.net))
    learner.enter(stream[2])
    with torch.no_grad():
        for p in learner.net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    state = learner.state
    new, context = batch_of(stream[2], 6), step_context(learner, generator(0, "d"))
    batch = method.segments(state, new, context)
    draws = generator(0, "d")
    x = VAE(**SMALL).draw(state.last, 9, (FEATURES,), state.unit, draws)
    assert torch.equal(batch.x[6:], x)
    asked = torch.randint(len(state.solver.heads), (9,), generator=draws)
    heads = {"task": [[0, 1, 2], [3, 4, 5]], "domain": [[0, 1, 2]], "class": [list(range(6))]}[scenario]
    present = {"task": [6, 7, 8], "domain": [0, 1, 2], "class": list(range(9))}[scenario]
    z = learner.net(batch.x)
    expected = 1 / 3 * F.cross_entropy(z[:6, present], new.y - present[0])
    with torch.no_grad():
        said = solver(x)
    for b in range(9):
        head = heads[asked[b]]
        if targets == "hard":
            competing = head if scenario == "task" else present
            label = competing.index(head[int(said[b, head].argmax())])
            expected = expected + 2 / 3 / 9 * F.cross_entropy(z[6 + b, competing], torch.tensor(label))
        else:
            y = (said[b, head] / 2).softmax(0)
            expected = expected - 2 / 3 / 9 * (y * (z[6 + b, head] / 2).log_softmax(0)).sum()
    found = batch.loss(context.objective, z)
    if targets == "soft":
        found = found + method.loss(state, batch, z, context)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_soft_targets_may_sum_over_all_that_compete() -> None:
    method, stream = GenerativeReplay(targets="soft", normaliser="all", **SMALL), toy_stream("class")
    learner = toy_learner(method, stream, TRAINING)
    learner.learn(stream[0])
    learner.enter(stream[1])
    context = step_context(learner, generator(0, "d"))
    batch = method.segments(learner.state, batch_of(stream[1], 6), context)
    z = learner.net(batch.x)
    target = answers(learner.net, learner.state.solver.weights, batch.x[6:])
    expected = 0.5 * distance(z[6:], target, torch.arange(9) < 3, 2.0, torch.arange(9) < 6).mean()
    torch.testing.assert_close(method.loss(learner.state, batch, z, context), expected)


def test_a_scholar_needs_the_last_one_and_no_data() -> None:
    """What is kept does not grow with the tasks, and holds no example; the last scholar does not move while the next learns."""
    stream = toy_stream("domain", tasks=4)
    learner = toy_learner(GenerativeReplay(**SMALL), stream, TRAINING)
    learner.learn(stream[0])
    learner.learn(stream[1])
    size = learner.memory_bytes
    before = learner.state.learnt.weights.clone()
    learner.learn(stream[2])
    assert learner.memory_bytes == size
    assert same(learner.state.last.dict(), before.dict())
    assert not same(learner.state.learnt.weights.dict(), before.dict())
    held = torch.cat([t.flatten() for t in learner.state.learnt.weights.tensors])
    assert not any((held == v).any() for v in stream[0].train.x[:20].flatten() if float(v))


def test_it_keeps_what_fine_tuning_loses() -> None:
    stream = toy_stream("class", tasks=2, examples=600)
    training = Training(lr=0.05, batch_size=16, epochs=8)
    acc = {}
    for method in (Finetune(), GenerativeReplay(generator_lr=0.01, **SMALL)):
        acc[method.name] = fit(method, toy_net(stream.outputs), stream, training=training).matrix().R[-1, 0]
    assert acc["finetune"] < 0.3
    assert acc["generative_replay"] > 0.5


def test_images_in_0_to_1_are_drawn_so_and_others_are_not() -> None:
    stream = toy_stream("domain", tasks=2)
    inside = [
        replace(t, train=replace(t.train, x=t.train.x.sigmoid()), test=replace(t.test, x=t.test.x.sigmoid()))
        for t in stream
    ]
    for tasks, unit in ((inside, True), (stream.tasks, False)):
        learner = toy_learner(GenerativeReplay(**SMALL), replace(stream, tasks=tuple(tasks)), TRAINING)
        learner.learn(tasks[0])
        drawn = learner.method.sample(learner.state, 50, generator(0, "x"))
        assert drawn.shape == (50, FEATURES)
        assert learner.state.unit is unit
        assert bool(((drawn >= 0) & (drawn <= 1)).all()) is unit


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"batch_size": -1}, "batch_size -1"),
        ({"new": 1.0}, "new 1.0"),
        ({"temperature": 0.0}, "temperature"),
        ({"code": 0}, "code"),
    ],
)
def test_constants_out_of_range(constants: dict[str, float], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        GenerativeReplay(**constants)


def test_words_cannot_be_drawn() -> None:
    net = nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 2))
    words = Tensors(torch.randint(9, (20, 5)), torch.randint(2, (20,)))
    with pytest.raises(MethodError, match="words of a text"):
        Learner(net, GenerativeReplay()).learn(Task("t", words, words, (0, 1)))


def test_the_report_shows_what_is_drawn_beside_real_images(tmp_path) -> None:
    said = {
        **{
            "stream": "split",
            "stream.tasks": "2",
            "scenario": "class",
            "method": "generative_replay",
            "iterations": "10",
        },
        **{
            "generative_replay.hidden": "16",
            "generative_replay.code": "4",
            "net.hidden": "16",
            "generative_replay.generator": "wgan-gp",
        },
    }
    execute(RunSpec.from_keys(said), tmp_path / "run")
    found = load_samples(tmp_path / "run", "generative_replay")
    assert sorted(found) == [1, 2]
    drawn, real = found[2]
    assert drawn.shape == real.shape == (12, 28, 28)
    assert math.isfinite(float(drawn.sum()))
    page = write(tmp_path / "run").read_text()
    assert "What is drawn" in page
    assert "Images drawn by generative_replay after each of 2 tasks" in page


def test_a_network_beside_the_network_is_in_the_checkpoint() -> None:
    stream = toy_stream("domain", tasks=2)
    learner = toy_learner(GenerativeReplay(**SMALL), stream, TRAINING)
    learner.learn(stream[0])
    names = set(learner.state_dict()["tensors"])
    assert {f"state/learnt/weights/{n}" for n, _ in VAE(**SMALL).networks((FEATURES,)).named_parameters()} <= names
    assert isinstance(VAE(**SMALL).networks((FEATURES,))["generator"], nn.Module)
