"""Methods in Lightning's Trainer: the numbers of `fit`, or of a plain loop with `protect`, on the same batches."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lifelong import EWC, L2, SI, Joint, MethodError, Replay, chain, protect
from lifelong.core.method import Method
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from other_trainers import (
    METHODS,
    lightning_fit,
    lightning_keeper,
    lit,
    loop,
)
from toys import same, toy_net, toy_stream, weights

# what these libraries warn of (a missing GPU, few workers, names to come) is not this package's
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_lightning_ends_on_the_weights_of_fit(method: Method) -> None:
    stream = toy_stream("class", tasks=2)
    training = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2, reset_optimizer=True)
    by_fit = Learner(toy_net(stream.outputs), method, training, scenario="class")
    net, own = toy_net(stream.outputs), lightning_keeper(method)
    module = lit(net, own)
    for task in stream:
        by_fit.learn(task)
        lightning_fit(module, task, own)
    assert same(weights(by_fit.net), weights(net))


def test_a_callback_is_copied_without_its_guard() -> None:
    """Averaging of weights copies the module, and with it a callback that the module keeps: the copy has what was carried, and goes on."""
    stream = toy_stream("class")
    net, own = toy_net(stream.outputs), lightning_keeper(EWC(10.0))
    for i, task in enumerate(stream):
        if i:
            own = pickle.loads(pickle.dumps(copy.deepcopy(own)))
            assert own.guard is None
        lightning_fit(lit(net, own), task, own)
        assert own.guard.learnt == i + 1


def test_a_lightning_trainer_that_has_had_its_epochs_is_refused() -> None:
    from lightning.pytorch import Trainer

    stream = toy_stream("class")
    own = lightning_keeper(EWC(1.0))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=[own], **quiet)  # type: ignore[arg-type]
    loaders = [DataLoader(TensorDataset(t.train.x, t.train.y), batch_size=16) for t in stream.tasks[:2]]
    module = lit(toy_net(stream.outputs), own)
    trainer.fit(module, loaders[0])
    with pytest.raises(MethodError, match="make a new one for each task"):
        trainer.fit(module, loaders[1])
    with pytest.raises(MethodError, match="was removed"):
        own.mix(stream[1].train.x, stream[1].train.y)


def test_lightning_accumulates_and_clips_before_the_method_acts() -> None:
    stream, ends = toy_stream("domain", tasks=2), []
    for way in ("loop", "lightning"):
        net = toy_net(stream.outputs)
        own = lightning_keeper(chain(L2(0.5), SI(0.5)), "domain")
        module = lit(net, None)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for task in stream:
            if way == "lightning":
                lightning_fit(module, task, own, batch_size=8, accumulate_grad_batches=2, gradient_clip_val=0.1)
                continue
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
            guard = protect(net, optimizer, chain(L2(0.5), SI(0.5)))
            if task.index:
                guard.load_state_dict(saved)  # noqa: F821
            loop(net, optimizer, guard, task, clip=0.1)
            saved = guard.state_dict()  # noqa: F841
            guard.remove()
        ends.append(weights(net))
    for name, t in ends[0].items():
        torch.testing.assert_close(t, ends[1][name])


def test_lightning_resumed_ends_where_it_would_have(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    stream, method = toy_stream("class", tasks=2), chain(EWC(2.0), Replay(40))
    net, own = toy_net(stream.outputs), lightning_keeper(method)
    module = lit(net, own)
    lightning_fit(module, stream[0], own)
    lightning_fit(
        module, stream[1], own, ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    )
    whole = weights(net)
    net, own = toy_net(stream.outputs), lightning_keeper(method)
    lightning_fit(lit(net, own), stream[1], own, resume=tmp_path / "epoch=0.ckpt")
    assert same(whole, weights(net))
    with pytest.raises(MethodError, match="joint needs a training loop of its own"):
        lightning_keeper(Joint())
