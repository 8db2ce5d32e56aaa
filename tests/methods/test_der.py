"""Dark experience replay, with and without labels, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.core.contexts import Spec
from lifelong.core.growth import IndexMap
from lifelong.core.objective import Classification
from lifelong.core.random import generator
from lifelong.core.segments import Segment
from lifelong.core.vector import Vector
from lifelong.methods import DER, DERpp
from lifelong.training.settings import Training
from rehearsal_cases import after, batch_of, step_context
from toys import toy_learner, toy_stream


@pytest.mark.parametrize("make", [DER, DERpp])
def test_der_by_hand(make) -> None:
    method = make(40, alpha=0.7, batch_size=6)
    learner, stream = after(method, 1)
    new = batch_of(stream[1])
    context = step_context(learner, generator(0, "x"))
    batch = method.segments(learner.state, new, context)
    output = learner.net(batch.x)
    total = batch.loss(Classification(), output) + method.loss(learner.state, batch, output, context)
    draws = generator(0, "x")
    second = learner.state.memory.sample(6, draws) if make is DERpp else None
    first = learner.state.memory.sample(6, draws)
    by_hand = F.cross_entropy(learner.net(new.x), new.y) + 0.7 * F.mse_loss(learner.net(first["x"]), first["logits"])
    if second is not None:
        by_hand = by_hand + 0.5 * F.cross_entropy(learner.net(second["x"]), second["y"])
    assert torch.allclose(total, by_hand, rtol=1e-5)


def test_the_answers_kept_are_those_of_the_moment() -> None:
    stream = toy_stream("domain")
    learner = toy_learner(DER(400), stream, Training(lr=0.05, batch_size=16, epochs=1))
    seen: dict[tuple[float, ...], Tensor] = {}
    hook = learner.net.register_forward_hook(
        lambda m, args, out: seen.update({tuple(x.tolist()): o.detach().clone() for x, o in zip(args[0][:16], out)})
    )
    steps = learner.steps(stream[0])
    for _ in steps:
        pass
    hook.remove()
    memory = learner.state.memory
    answers = {tuple(x.tolist()): z for x, z in zip(memory.slots["x"][: memory.filled], memory.slots["logits"])}
    assert len(answers) == 96
    # the last batch was met with the weights that are one step old; all others with older ones
    now = learner.net(memory.slots["x"][: memory.filled])
    assert not torch.allclose(now, memory.slots["logits"][: memory.filled])
    assert all(torch.allclose(seen[x], z) for x, z in answers.items() if x in seen)


def test_answers_of_more_outputs_than_a_short_number_counts() -> None:
    """The width of an answer is stored once the network has grown."""
    theta = Vector(("w",), [torch.zeros(1)])
    method = DER(2)
    state = method.init(theta, Spec((1,), 3, "class"))
    stored = state.memory.allocated(
        {"x": torch.zeros(1, 1), "y": torch.zeros(1, dtype=torch.int64), "logits": torch.zeros(1, 3)}
    )
    state = method.resize(replace(state, memory=stored), IndexMap({}, outputs=40_000), theta)
    context: Any = SimpleNamespace(objective=None)
    kept = method.kept(
        state, Segment(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)), torch.zeros(1, 40_000), context
    )
    assert kept["width"].tolist() == [40_000]
    assert state.memory.slots["width"].dtype == kept["width"].dtype == torch.int32
