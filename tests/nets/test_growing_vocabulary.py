"""A vocabulary that grows with the stream, in the networks that read stories and in what methods keep of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lifelong import EWC, GEM, SI, Finetune, Learner, LwF, Replay, Stream, Training
from lifelong.core.growth import Growth
from lifelong.core.method import Method
from lifelong.nets import MemoryNetwork, Reader
from lifelong.nets.growing import grow
from lifelong.runs.checkpoint import Store
from lifelong.streams import babi

NETS = [MemoryNetwork(units=10), MemoryNetwork(units=10, tying="layerwise"), Reader(units=10)]


def growing() -> Stream:
    return babi(tasks=(1, 4, 2), examples=60, test_examples=20, memory=6, scenario="class", announced=False)


@pytest.mark.parametrize("net", NETS, ids=["adjacent", "layerwise", "reader"])
def test_a_vocabulary_that_grows_leaves_what_was_said_as_it_was(net: MemoryNetwork | Reader) -> None:
    stream = growing()
    sizes = [t.outputs for t in stream]
    assert stream.outputs == sizes[0] < sizes[1] < sizes[2] == len(stream.class_names)
    assert all(int(t.train.x.max()) <= t.outputs for t in stream)
    built = net(stream.shape, stream.outputs).eval()
    x, later = stream[0].test.x, stream[2].test.x
    with torch.no_grad():
        before, unknown = built(x), built(later)
        assert torch.equal(unknown, built(torch.where(later > stream.outputs, 0, later)))  # no words yet
        mapping = grow(built, Growth("outputs", size=sizes[2], seed=1))
        after = built(x)
    assert mapping.outputs == sizes[2] == after.shape[1]
    torch.testing.assert_close(after[:, : before.shape[1]], before)
    assert not torch.equal(built(later)[:, : before.shape[1]], unknown)  # now they are
    grown = {n for n, p in built.named_parameters() if sizes[2] in (len(p), len(p) - 1)}
    assert grown >= set(built.vocabulary)  # type: ignore[arg-type]
    assert all(p.requires_grad for p in built.parameters())


@pytest.mark.parametrize("net", NETS, ids=["adjacent", "layerwise", "reader"])
@pytest.mark.parametrize(
    "method", [Finetune(), EWC(1.0, importance="sampled"), SI(0.1), Replay(20), GEM(10), LwF()], ids=lambda m: m.name
)
def test_methods_follow_a_vocabulary_and_so_does_a_checkpoint(
    method: Method, net: MemoryNetwork | Reader, tmp_path: Path
) -> None:
    stream, training = growing(), Training("adam", lr=0.01, batch_size=20, epochs=1)

    def learner(seed: int) -> Learner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Learner(net(stream.shape, stream.outputs), method, training, scenario="class", grows=True)

    whole = learner(0)
    for task in stream.tasks[:2]:
        whole.learn(task)
    Store(tmp_path).save(whole.state_dict())
    other = learner(0)
    saved = Store(tmp_path).newest()
    assert saved is not None
    other.load_state_dict(saved)
    for each in (whole, other):
        each.learn(stream[2])
        assert each.spec is not None
        assert each.spec.outputs == len(stream.class_names)
    for (name, p), (_, q) in zip(whole.net.named_parameters(), other.net.named_parameters()):
        assert torch.equal(p, q), name
