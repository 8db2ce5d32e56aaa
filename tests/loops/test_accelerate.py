"""Methods in a loop of accelerate's: the numbers of `fit` on the same batches."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lifelong import protect
from lifelong.core.method import Method
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from other_trainers import (
    METHODS,
    Order,
)
from toys import same, toy_net, toy_stream, weights

# what these libraries warn of (a missing GPU, few workers, names to come) is not this package's
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_accelerate_ends_on_the_weights_of_fit(method: Method) -> None:
    from accelerate import Accelerator

    stream = toy_stream("class", tasks=2)
    training = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2)
    by_fit = Learner(toy_net(stream.outputs), method, training, scenario="class")
    net = toy_net(stream.outputs)
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    guard = protect(model, optimizer, method, scenario="class")
    for task in stream:
        by_fit.learn(task)
        order = Order(task.index, len(task.train))
        loader = accelerator.prepare(
            DataLoader(TensorDataset(task.train.x, task.train.y), batch_size=16, sampler=order)
        )
        guard.begin(task.classes)
        for epoch in range(2):
            loader.set_epoch(epoch)
            order.set_epoch(epoch)
            for x, y in loader:
                batch = guard.mix(x, y)
                optimizer.zero_grad()
                accelerator.backward(guard.loss(model(batch.x), batch))
                optimizer.step()
        guard.consolidate(task.train)
    assert same(weights(by_fit.net), weights(net))
