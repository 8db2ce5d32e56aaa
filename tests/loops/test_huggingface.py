"""Methods in transformers' Trainer: the numbers of `fit`, or of a plain loop with `protect`, on the same batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import AGEM, EWC, GEM, HAT, L2, SI, Finetune, Joint, LwF, MethodError, Replay, chain, protect
from lifelong.core.errors import DataError, RunError
from lifelong.core.method import Method
from lifelong.loops.packed import Packed
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from other_trainers import (
    EACH,
    LENGTH,
    METHODS,
    TASKS,
    WORDS,
    Drawing,
    Sentences,
    bert,
    keeper,
    loop,
    lora,
    sentences,
    train,
)
from toys import same, weights

# what these libraries warn of (a missing GPU, few workers, names to come) is not this package's
pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_cannot_end_is_not_begun(tmp_path: Path) -> None:
    """A language model's logits are of words: an importance of classes cannot be, and that is said before a step is taken."""
    from transformers import GPT2Config, GPT2LMHeadModel

    net = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    ids = sentences("domain").tasks[0].train.x[:, 0]

    class Texts(Sentences):
        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return {"input_ids": ids[i], "attention_mask": torch.ones_like(ids[i]), "labels": ids[i]}

    task, before = sentences("domain").tasks[0], [p.clone() for p in net.parameters()]
    refused, optimizer = keeper(EWC(1.0), scenario="domain"), torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(MethodError, match=r"logits \[B, C\]"):
        train(net, tmp_path, task, refused, dataset=Texts, optimizer=optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    train(net, tmp_path, task, keeper(SI(1.0), scenario="domain"), dataset=Texts, optimizer=optimizer)  # it is free
    train(bert(EACH), tmp_path, task, refused)  # and so is the callback
    assert refused.guard.learnt == 1
    assert not all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_trainer_ends_on_the_weights_of_fit(method: Method, adapter: bool, tmp_path: Path) -> None:
    stream = sentences("class")
    make: Callable[[], Any] = lambda: lora(bert(stream.outputs)) if adapter else bert(stream.outputs)  # noqa: E731
    training = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=2)
    by_fit = Learner(Packed(make()), method, training, scenario="class")
    model = make()
    before = weights(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    own = keeper(method)
    for task in stream:
        by_fit.learn(task)
        train(model, tmp_path, task, own, optimizer=optimizer)
    after = weights(model)
    assert same({name.removeprefix("model."): t for name, t in weights(by_fit.net).items()}, after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    trained = {name.removeprefix("model.") for name in own.guard.theta.names}
    assert moved
    assert moved <= trained
    assert not adapter or all("lora" in name or "classifier" in name for name in trained)


def test_a_method_that_only_adds_segments_takes_part(tmp_path: Path) -> None:
    """Stored examples that a task's end has chosen: nothing is observed at a step, no outputs are masked."""
    stream, method = sentences("domain"), Replay(20, fill="random")
    assert method.acts & {"segments", "loss", "observe"} == {"segments"}
    own, ends = keeper(method, "domain"), []
    for keepers in ([own], [keeper(Finetune(), "domain")]):
        model = bert(stream.outputs)
        for task in stream:
            train(model, tmp_path, task, *keepers)
        ends.append(weights(model))
    assert own.guard.state.memory.filled == 20
    assert not same(*ends)  # what was stored of the first task was learnt from in the second


@pytest.mark.parametrize("method", [Finetune(), EWC(0.0), chain(SI(0.0), L2(0.0))], ids=lambda m: m.name)
def test_a_neutral_method_leaves_the_trainer_its_bits(method: Method, tmp_path: Path) -> None:
    """Dropout, shuffling, clipping and all: what the callback does draws nothing from torch's own generator."""
    stream = sentences("domain")
    ends = []
    for callbacks in ([], [keeper(method, "domain")]):
        model = bert(stream.outputs, dropout=0.1)
        for task in stream:
            train(model, tmp_path, task, *callbacks, ordered=False, max_grad_norm=0.1, dataset=Drawing)
        ends.append({**weights(model), "random": torch.get_rng_state()})
    assert callbacks[0].guard.learnt == TASKS
    assert same(*ends)


def test_sentences_that_are_padded_by_the_collation_or_by_length(tmp_path: Path) -> None:
    packed = Packed(bert(4), length=8)
    short = {"input_ids": torch.ones(3, 5, dtype=torch.int64), "attention_mask": torch.ones(3, 5, dtype=torch.int64)}
    x = packed.pack(short)
    assert x.shape == (3, 2, 8)
    assert x[:, :, 5:].eq(0).all()
    packed.model.config.pad_token_id = 7
    assert packed.pack(short)[:, 0, 5:].eq(7).all()
    with pytest.raises(DataError, match="at most 4 were expected"):
        Packed(bert(4), length=4).pack(short)
    with pytest.raises(DataError, match="no pixel_values"):
        Packed(bert(4), ["pixel_values"]).pack(short)
    one = Packed(nn.Linear(5, 2), ["input"])
    x = torch.randn(3, 5)
    assert torch.equal(one(one.pack({"input": x, "labels": None})), one.model(x))


def test_the_examples_gradient_is_clipped_and_then_changed(tmp_path: Path) -> None:
    """So the optimiser gets a penalty whole, however tight the clipping."""
    stream, ends = sentences("class"), []
    for way in ("loop", "trainer", "without"):
        model = bert(stream.outputs)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = Packed(model)
        method = L2(0.5) if way != "without" else L2(0.0)
        guard = protect(net, optimizer, method, scenario="class") if way == "loop" else None
        own = keeper(method)
        for task in stream:
            if guard is not None:
                guard.begin(task.classes)
                loop(model, optimizer, guard, task, clip=0.05)
            else:
                train(model, tmp_path, task, own, optimizer=optimizer, max_grad_norm=0.05)
        ends.append(weights(model))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.parametrize(
    "method",
    [EWC(5.0, importance="sampled"), SI(5.0, xi=1e-3), LwF(2.0), AGEM(400, batch_size=16), GEM(24)],
    ids=lambda m: m.name,
)
def test_two_batches_accumulated_are_one_step(method: Method, tmp_path: Path) -> None:
    stream, ends = sentences("class"), []
    for size, accumulated in ((16, 1), (8, 2)):
        model = bert(stream.outputs)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        own = keeper(method)
        for task in stream:
            train(
                model,
                tmp_path,
                task,
                own,
                optimizer=optimizer,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulated,
            )
        ends.append(weights(model))
    for name, t in ends[0].items():
        torch.testing.assert_close(t, ends[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "method", [EWC(5.0, importance="sampled"), AGEM(40, batch_size=16), LwF(2.0)], ids=lambda m: m.name
)
def test_half_precision(method: Method, tmp_path: Path) -> None:
    """Near what whole precision gives, and not it."""
    stream, ends = sentences("class"), []
    for half in (False, True):
        model = lora(bert(stream.outputs))
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        own = keeper(method)
        for task in stream:
            train(model, tmp_path, task, own, optimizer=optimizer, bf16=half)
        ends.append(weights(model))
        assert all(p.dtype == torch.float32 for p in own.guard.theta.tensors)
    assert not same(*ends)
    for name, t in ends[0].items():
        torch.testing.assert_close(t, ends[1][name], rtol=0.1, atol=0.02)


def test_the_same_trainer_again(tmp_path: Path) -> None:
    from transformers.trainer_utils import set_seed

    stream, ends = sentences("class"), []
    for again in (False, True):
        model = bert(stream.outputs)
        own = keeper(chain(EWC(5.0, importance="sampled"), Replay(40)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = train(model, tmp_path, stream[0], own, optimizer=optimizer, ordered=False)
        if again:
            trainer.train_dataset = Sentences(stream[1].train)
            set_seed(42)  # as a new one does
            trainer.train()
        else:
            train(model, tmp_path, stream[1], own, optimizer=optimizer, ordered=False)
        assert own.guard.learnt == TASKS
        ends.append(weights(model))
    assert same(*ends)


def test_resumed_it_ends_where_it_would_have(tmp_path: Path) -> None:
    stream = sentences("class")
    method = chain(EWC(2.0, importance="sampled"), Replay(40))
    model, own = bert(stream.outputs, dropout=0.1), keeper(method)
    first, second = tmp_path / "first", tmp_path / "second"
    train(model, first, stream[0], own, ordered=False)
    own.save(tmp_path / "between")
    between = weights(model)
    train(model, second, stream[1], own, ordered=False, save_strategy="steps", save_steps=4)
    whole, state = weights(model), own.guard.state_dict()["tensors"]

    for checkpoint in (None, str(second / "checkpoint-4")):
        model, own = bert(stream.outputs, dropout=0.1), keeper(method)
        if checkpoint is None:  # another process between the tasks
            model.load_state_dict(between)
            own.load(tmp_path / "between")
        train(model, second, stream[1], own, ordered=False, save_strategy="steps", save_steps=4, resume=checkpoint)
        assert same(whole, weights(model))
        assert same(state, own.guard.state_dict()["tensors"])

    with pytest.raises(MethodError, match="no task has ended"):
        keeper(method).save(tmp_path / "nothing")
    with pytest.raises(RunError, match="holds nothing of the method"):
        keeper(method).load(tmp_path / "nothing")


def test_what_the_trainer_cannot_carry(tmp_path: Path) -> None:
    for method in (Joint(), HAT()):
        with pytest.raises(MethodError, match=f"{method.name} needs a training loop of its own"):
            keeper(method, "task")
    stream = sentences("class")
    with pytest.raises(
        MethodError, match="replay takes part in the loss, but the Trainer calls the model without labels"
    ):
        train(bert(4), tmp_path, stream[0], keeper(Replay(10)), label_smoothing_factor=0.1)
    with pytest.raises(MethodError, match="torch_compile would trace through"):
        train(bert(4), tmp_path, stream[0], keeper(Replay(10)), torch_compile=True)
    with pytest.raises(MethodError, match=r"inputs 'input_ids': expected the names"):
        keeper(EWC(1.0), inputs="input_ids")

    class Ragged(Sentences):
        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return {k: t[..., : 6 - int(self.y[i] > 1)] if t.dim() else t for k, t in super().__getitem__(i).items()}

    own = keeper(Replay(10))
    train(bert(4), tmp_path, stream[0], own, dataset=Ragged)
    with pytest.raises(DataError, match=r"inputs of \[2, 5\] beside stored ones of \[2, 6\]: pad all to one shape"):
        train(bert(4), tmp_path, stream[1], own, dataset=Ragged)
    own = keeper(EWC(1.0))
    train(bert(4), tmp_path, stream[0], own)
    with pytest.raises(MethodError, match="other trainable weights than in the task before"):
        train(lora(bert(4)), tmp_path, stream[1], own)


def test_any_loss_where_the_method_asks_for_none(tmp_path: Path) -> None:
    """A language model, guarded by SI: it needs no logits ``[B, C]``."""
    from transformers import GPT2Config, GPT2LMHeadModel

    class Words(Sentences):
        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return {"input_ids": self.x[i, 0], "attention_mask": self.x[i, 1], "labels": self.x[i, 0]}

    from transformers import Trainer, TrainingArguments

    stream, ends = sentences("domain"), []
    for strength in (0.0, 10.0):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2))
        own = keeper(SI(strength, xi=1e-3), "domain")
        for task in stream:
            args = TrainingArguments(
                str(tmp_path), report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no"
            )
            Trainer(model, args, train_dataset=Words(task.train), callbacks=[own]).train()
        ends.append(weights(model))
    assert not same(*ends)


def test_a_loss_of_ones_own_that_passes_over_the_methods_is_refused(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    class Own(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **given: Any) -> Tensor:
            return F.cross_entropy(model(**inputs)["logits"], inputs["labels"])

    stream = sentences("class")
    args = TrainingArguments(str(tmp_path), report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no")
    with pytest.raises(MethodError, match="what was differentiated is another"):
        Own(bert(stream.outputs), args, train_dataset=Sentences(stream[0].train), callbacks=[keeper(LwF())]).train()
