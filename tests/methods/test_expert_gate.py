"""A network a task, and gates that know from the input whose it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lifelong import ExpertGate, Grow, Learner, MethodError, Training, chain
from lifelong.core.growth import Growth
from lifelong.core.random import generator
from lifelong.core.stream import Stream
from lifelong.parts.autoencoder import Autoencoder, Scale, fitted
from lifelong.parts.distillation import distance
from rehearsal_cases import batch_of, step_context
from toys import same, toy_learner, toy_net, toy_stream, weights

TRAINING = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2)
GATE = ExpertGate(code=3, gate_epochs=20, gate_lr=0.1)


def learnt(method: ExpertGate, stream: Stream) -> Learner:
    learner = toy_learner(method, stream, TRAINING)
    for task in stream:
        learner.learn(task)
    return learner


def test_the_error_is_a_divergence() -> None:
    """Σ KL(z ‖ r) by hand, and 0 where the reconstruction is perfect."""
    g = torch.Generator().manual_seed(0)
    W1, b1, W2, b2 = (torch.randn(s, generator=g) for s in ((2, 5), (2,), (5, 2), (5,)))
    gate, z = Autoencoder(W1, b1, W2, b2), torch.rand(4, 5, generator=g)
    r = torch.sigmoid(torch.relu(z @ W1.T + b1) @ W2.T + b2)
    truth = (z * (z / r).log() + (1 - z) * ((1 - z) / (1 - r)).log()).sum(1)
    torch.testing.assert_close(gate.error(z), truth)
    constant = Autoencoder(torch.zeros(2, 5), b1, torch.zeros(5, 2), torch.logit(z[0]))
    assert abs(float(constant.error(z[:1]))) < 1e-5


def test_the_scale_is_of_all_features_together() -> None:
    examples = toy_stream("task")[0].train
    scale = Scale.of(examples, torch.zeros(()))
    x = examples.x
    torch.testing.assert_close(scale.mean, x.mean())
    torch.testing.assert_close(scale.sd, x.std(unbiased=False))
    torch.testing.assert_close(scale(x), torch.sigmoid((x - x.mean()) / x.std(unbiased=False)))


def test_an_autoencoder_learns_its_task_and_no_other() -> None:
    stream = toy_stream("task", examples=400)
    scale = Scale.of(stream[0].train, torch.zeros(()))
    gates = [fitted(t.train, scale, 3, 20, 0.1, 32, generator(0, "gate")) for t in stream]
    er = torch.stack([torch.stack([g.error(scale(t.test.x)).mean() for g in gates]) for t in stream])
    assert er.argmin(1).tolist() == [0, 1, 2]
    again = fitted(stream[0].train, scale, 3, 20, 0.1, 32, generator(0, "gate"))
    assert all(torch.equal(a, b) for a, b in zip(gates[0].tensors, again.tensors))


def test_the_gate_finds_the_task_and_its_expert_answers() -> None:
    stream = toy_stream("class", examples=300)
    learner = learnt(GATE, stream)
    right = []
    for k, task in enumerate(stream):
        x = task.test.x
        p = GATE.probabilities(learner.state, x)
        torch.testing.assert_close(p.sum(1), torch.ones(len(x)))
        er = torch.stack([g.error(learner.state.scale(x)) for g in learner.state.gates], 1)
        torch.testing.assert_close(p, (-er / 2.0).softmax(1))
        right.append(float((p.argmax(1) == k).float().mean()))
        scores = learner.scores(x, None)
        for j in range(3):
            rows = p.argmax(1) == j
            own = torch.func.functional_call(learner.net, learner.state.nets[j], (x[rows],))
            assert torch.equal(scores[rows][:, 3 * j : 3 * j + 3], own[:, 3 * j : 3 * j + 3])
            assert set(scores[rows].argmax(1).tolist()) <= {3 * j, 3 * j + 1, 3 * j + 2}
    assert sum(right) / 3 > 0.75  # a third by chance
    assert learner.evaluate(stream)[0][0] > 0.6


def test_only_the_chosen_expert_is_run() -> None:
    stream = toy_stream("class", examples=300)
    learner = learnt(GATE, stream)
    x = torch.cat([t.test.x for t in stream])
    rows = []
    hook = learner.net[0].register_forward_hook(lambda module, args, output: rows.append(len(args[0])))
    learner.scores(x)
    hook.remove()
    assert sum(rows) == len(x)
    assert len(rows) == 3  # grouped by expert


def test_several_experts_weigh_in_by_their_probability() -> None:
    stream = toy_stream("domain", examples=200)
    learner = learnt(replace(GATE, min_probability=0.2, temperature=100.0), stream)
    x = stream[0].test.x
    p = learner.method.probabilities(learner.state, x)
    assert bool((p >= 0.2).all())  # at that temperature all three have their say
    f = [torch.func.functional_call(learner.net, net, (x,)).softmax(1) for net in learner.state.nets]
    truth = sum(p[:, k, None] * f[k] for k in range(3))
    torch.testing.assert_close(learner.scores(x), truth)


def test_relatedness_and_what_follows_from_it() -> None:
    """Rel = 1 − (Er_a − Er_k)/Er_k on examples that the new gate has not seen; the most related expert is where the next begins."""
    stream = toy_stream("domain", examples=200)
    tasks = (stream[0], stream[1], replace(stream[0], name="the first again"))
    stream = Stream(tasks, "domain", stream.class_names)
    learner = toy_learner(GATE, stream, TRAINING)
    learner.learn(stream[0])
    learner.learn(stream[1])
    learner.enter(stream[2])
    state = learner.state
    n = len(stream[2].train)
    order = torch.randperm(n, generator=learner.context(stream[2].train, stream[2]).generator)
    x = stream[2].train.x[order[: n // 10]]
    er = [float(g.error(state.scale(x)).mean()) for g in state.gates]
    truth = [1 - (er[a] - er[2]) / er[2] for a in (0, 1)]
    assert state.related[2].tolist() == pytest.approx(truth, rel=1e-4)
    assert state.related[2].argmax() == 0
    assert same(weights(learner.net), state.nets[0])
    assert not learner.optimizer.state  # a new expert, a new optimiser


def test_related_tasks_are_distilled_and_others_fine_tuned() -> None:
    stream = toy_stream("task", examples=200)
    never, always = replace(GATE, threshold=1e9), replace(GATE, threshold=-1e9)
    learner = toy_learner(always, stream, TRAINING)
    learner.learn(stream[0])
    learner.enter(stream[1])
    state = learner.state
    assert state.teacher == 0
    with torch.no_grad():
        for p in learner.net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    x = stream[1].train.x[:8]
    target = torch.func.functional_call(learner.net.eval(), state.nets[0], (x,))[:, :3]
    output = learner.net(x)
    y, q = (target / 2).softmax(1), (output[:, :3] / 2).log_softmax(1)
    found = always.loss(state, batch_of(stream[1], 8), output, step_context(learner))
    torch.testing.assert_close(found, -(y * q).sum(1).mean())
    every = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(
        distance(output[:, :3], target, every, 2.0).mean(), F.cross_entropy(output[:, :3] / 2, y)
    )
    ends = [weights(learnt(m, stream).net) for m in (never, always, replace(always, strength=0.0))]
    assert not same(ends[0], ends[1])
    assert same(ends[0], ends[2])


def test_its_parameters_are_experts_and_gates() -> None:
    stream = toy_stream("class")
    learner = toy_learner(GATE, stream, TRAINING)
    each = sum(p.numel() for p in learner.net.parameters())
    assert learner.parameters == each
    for k, task in enumerate(stream, start=1):
        learner.learn(task)
        assert learner.parameters == k * (each + 12 * 3 + 3 + 3 * 12 + 12)


def test_experts_follow_new_outputs_and_wider_layers() -> None:
    stream = replace(toy_stream("class"), announced=False)
    growing = Learner(toy_net(stream.outputs), GATE, TRAINING, grows=True)
    for task in stream:
        growing.learn(task)
    assert growing.evaluate(stream)[0][0] > 0.5
    learner = learnt(GATE, toy_stream("class"))
    before = learner.evaluate(toy_stream("class"))[0][0]
    learner.grow([Growth("wider", "0", 30)])
    assert learner.evaluate(toy_stream("class"))[0][0] == before
    chained = toy_learner(chain(GATE, Grow(threshold=0.01)), toy_stream("class"), TRAINING)
    chained.learn(toy_stream("class")[0])
    assert not chained.growth  # what learns was good enough


def test_what_it_refuses() -> None:
    with pytest.raises(MethodError, match="expected at least 1"):
        ExpertGate(code=0)
    with pytest.raises(MethodError, match="a probability"):
        ExpertGate(min_probability=0.0)
