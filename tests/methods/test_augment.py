"""Augmentation, held against all the images that it may give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lifelong.core.errors import MethodError
from lifelong.methods import Augment, Finetune
from lifelong.nets import MLP
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from toys import same, toy_learner, toy_stream, weights


def test_by_brute_force() -> None:
    """Every image is one of the shifts and flips that it may be, all of them come, and each image has its own."""
    x = torch.rand(1, 2, 5, 4)
    pad = F.pad(x[0], (1, 1, 1, 1))
    allowed = [
        (pad[:, 1 + dy : 6 + dy, 1 + dx : 5 + dx].flip(-1) if flip else pad[:, 1 + dy : 6 + dy, 1 + dx : 5 + dx])
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        for flip in (False, True)
    ]
    method = Augment(shift=1)
    found = method.changed(x.expand(400, -1, -1, -1), torch.Generator().manual_seed(0))
    which = torch.tensor([[torch.equal(image, one) for one in allowed] for image in found])
    assert (which.sum(1) == 1).all()
    assert (which.sum(0) > 5).all()
    grey = method.changed(x[:, 0].expand(7, -1, -1), torch.Generator().manual_seed(0))
    assert torch.equal(grey, found[:7, 0]) or grey.shape == (7, 5, 4)


def test_it_is_part_of_what_a_step_learns() -> None:
    assert Augment(shift=0, flip=False).acts == frozenset()
    stream = toy_stream("class")
    learner = toy_learner(Augment(), stream)
    with pytest.raises(MethodError, match="images"):
        learner.learn(stream[0])
    images = toy_stream("class", inputs=(1, 3, 4))
    ends = []
    for method in (Augment(shift=1), Augment(shift=1), Finetune()):
        learner = Learner(MLP((16,))((1, 3, 4), stream.outputs), method, Training(batch_size=16), scenario="class")
        torch.manual_seed(0)
        learner.net.load_state_dict(MLP((16,))((1, 3, 4), stream.outputs).state_dict())
        learner.learn(images[0])
        ends.append(weights(learner.net))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
