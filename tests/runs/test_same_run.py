"""A directory of results holds what was measured on one stream: it tells other data and other networks, and keeps what others measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lifelong import EWC, L2, Finetune, Learner, RunError, Training, fit
from lifelong.core.examples import Chunk, Tensors
from lifelong.core.fingerprint import same_data, trace
from lifelong.core.stream import Stream
from lifelong.runs.checkpoint import Store
from lifelong.runs.stream_loop import follow
from toys import FEATURES, toy_net, toy_stream

TRAINING = Training(batch_size=16)


def with_task(stream: Stream, index: int, **changes: object) -> Stream:
    tasks = [replace(t, **changes) if t.index == index else t for t in stream.tasks]
    return replace(stream, tasks=tuple(tasks))


def noise(examples: Tensors) -> Tensors:
    return Tensors(torch.randn(examples.x.shape, generator=torch.Generator().manual_seed(9)), examples.y)


OTHERS: dict[str, tuple[Callable[[Stream], Stream], str]] = {
    "training": (lambda s: with_task(s, 1, train=noise(s[1].train)), "the training examples of task 2"),
    "test": (lambda s: with_task(s, 2, test=noise(s[2].test)), "the test examples of task 3"),
    "labels": (
        lambda s: with_task(s, 0, train=Tensors(s[0].train.x, 2 - s[0].train.y)),
        "the training examples of task 1",
    ),
    "one example": (
        lambda s: with_task(s, 0, test=Tensors(s[0].test.x + torch.eye(len(s[0].test.x))[:, 5:6], s[0].test.y)),
        "the test examples of task 1",
    ),
    "order": (lambda s: replace(s, tasks=(s[1], s[0], s[2])), "another run's"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_data(other: str, tmp_path: Path) -> None:
    stream = toy_stream("domain")
    fit(Finetune(), toy_net(stream.outputs), stream, training=TRAINING, out=tmp_path)
    before = (tmp_path / "results.csv").read_text()
    change, said = OTHERS[other]
    for method in (Finetune(), L2(1.0)):  # nor beside it
        with pytest.raises(RunError, match=f"{said}.*choose another --out"):
            fit(method, toy_net(stream.outputs), change(stream), training=TRAINING, out=tmp_path)
    assert (tmp_path / "results.csv").read_text() == before
    again = fit(Finetune(), toy_net(stream.outputs), toy_stream("domain"), training=TRAINING, out=tmp_path)
    assert again.results() == before


def test_another_network(tmp_path: Path) -> None:
    stream = toy_stream("domain")
    layers = [nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, stream.outputs)]
    fit(Finetune(), nn.Sequential(*layers), stream, training=TRAINING, out=tmp_path)
    with pytest.raises(RunError, match=r"(?s)another specification \(net.unnamed: .*ReLU.*Tanh"):
        fit(Finetune(), nn.Sequential(layers[0], nn.Tanh(), layers[2]), stream, training=TRAINING, out=tmp_path)


def test_what_others_measured_is_kept(tmp_path: Path) -> None:
    stream = toy_stream("domain")
    for method, seeds in ((EWC(1.0), [0]), (Finetune(), [3]), (EWC(1.0), [1])):
        run = fit(method, toy_net(stream.outputs), stream, seeds=seeds, training=TRAINING, out=tmp_path)
        assert [(job.method, job.seed) for job in run.records] == [(method.name, *seeds)]
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert {(r["method"], r["seed"]) for r in rows} == {("ewc", "0"), ("ewc", "1"), ("finetune", "3")}


def test_data_that_are_not_learnt_yet_may_be_mended(tmp_path: Path) -> None:
    stream = toy_stream("domain")

    def stopped(after: int) -> Callable[[], bool]:
        return lambda: learner.learnt >= after

    learner = Learner(toy_net(stream.outputs), Finetune(), TRAINING)
    with pytest.raises(KeyboardInterrupt):
        follow(learner, stream, Store(tmp_path), stop=stopped(1))
    mended = with_task(stream, 2, train=noise(stream[2].train))
    record = follow(Learner(toy_net(stream.outputs), Finetune(), TRAINING), mended, Store(tmp_path))
    assert record.rows == 4


class Augmented(Tensors):
    """Other inputs each time they are read: by draws from everybody's generators, or from its own."""

    own: torch.Generator | None = None

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        for chunk in super().chunks(order, rows):
            yield chunk._replace(x=chunk.x + torch.randn(chunk.x.shape, generator=self.own) + np.random.rand())  # noqa: NPY002


def test_what_a_trace_tells_apart() -> None:
    stream = toy_stream("domain")
    found = trace(stream)
    assert same_data(found, trace(stream))
    rounded = [replace(t, train=Tensors(t.train.x * (1 + 1e-6), t.train.y)) for t in stream.tasks]
    assert same_data(found, trace(replace(stream, tasks=tuple(rounded))))
    permuted = [replace(t, train=Tensors(t.train.x.roll(1, 1), t.train.y)) for t in stream.tasks]
    assert not same_data(found, trace(replace(stream, tasks=tuple(permuted))))

    drawing, own = Augmented(stream[0].train.x, stream[0].train.y), Augmented(stream[0].train.x, stream[0].train.y)
    own.own = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    first, second = (trace(with_task(stream, 0, train=part)) for part in (drawing, own))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert same_data(first, trace(with_task(stream, 0, train=drawing)))
    assert first[0] is not None
    assert second[0] is None
    assert same_data(second, found)  # it cannot be told
