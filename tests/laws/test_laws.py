"""What every method and every stream must obey. One that is in the registry is held to all of it, without new test code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.core.method import Method
from lifelong.core.random import generator
from lifelong.core.registry import METHODS, STREAMS
from lifelong.core.stream import Stream
from lifelong.methods import Augment, Finetune
from lifelong.testing import METHOD_LAWS, STREAM_LAWS, toy_net, toy_stream
from lifelong.testing.laws import same, weights
from lifelong.testing.method_laws import MOMENTUM, learnt

# at which each variant of a method's hyperparameters is tried; the others, which take longer, see the first of them
OF_ALL_VARIANTS = ("neutral_is_fine_tuning", "waits_for_no_device", "ranks_give_what_one_gives")
SMALL: dict[str, dict[str, Any]] = {
    "two_corpora": {"source": "digits", "examples": 50},
    "permuted": {"source": "digits", "tasks": 2, "examples": 50},
    "rotated": {"source": "digits", "tasks": 2, "examples": 50},
    "split": {"source": "digits"},
    "mixed": {"examples": 60},
    "turning": {"tasks": 2},
    "copying": {},
    "babi": {"tasks": (1, 2), "examples": 40},
}
ELSEWHERE = {
    "clinc150",
    "banking77",
    "folder",
    "table",
}  # read data of their user's: held to the laws where these are made


def _cases() -> list[Any]:
    cases = []
    for name, entry in METHODS.items():
        for i, given in enumerate(entry.load().examples):
            for law in METHOD_LAWS:
                if i == 0 or law.__name__ in OF_ALL_VARIANTS:
                    cases += [pytest.param(law, entry.load()(**given), id=f"{name}-{i}-{law.__name__}")]
    cases += [pytest.param(law, Augment(shift=1), id=f"augment-0-{law.__name__}") for law in METHOD_LAWS]  # in no list
    return cases


@pytest.mark.parametrize(("law", "method"), _cases())
def test_a_method_obeys(law: Callable[[Method], None], method: Method) -> None:
    law(method)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_called_as_in_the_registry(name: str) -> None:
    assert METHODS[name].load()().name == name


@pytest.mark.parametrize("law", STREAM_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", SMALL)
def test_a_stream_obeys(name: str, law: Callable[[Callable[[int], Stream]], None]) -> None:
    make = STREAMS[name]
    law(lambda seed: make.load()(**SMALL[name], **({"seed": seed} if make.takes("seed") else {})))


def test_every_stream_is_held_to_the_laws() -> None:
    assert set(STREAMS) == {*SMALL, *ELSEWHERE}


def test_finetuning_is_a_plain_loop() -> None:
    """With no method the library ends on the bits of the loop that anyone would write."""
    stream, training = toy_stream("domain"), MOMENTUM
    ours = learnt(Finetune(), stream, training)
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
