"""Methods in other people's trainers: the numbers of `fit`, or of a plain loop with `protect`, on the same batches."""

from __future__ import annotations

import copy
import os
import pickle
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from lifelong import AGEM, EWC, GEM, HAT, L2, SI, DERpp, Finetune, Joint, LwF, MethodError, Replay, chain, protect
from lifelong.errors import DataError, RunError
from lifelong.learner import Learner
from lifelong.method import Method
from lifelong.random import generator
from lifelong.stream import Scenario, Stream, Task, Tensors
from lifelong.trainers.loaded import Loaded
from lifelong.trainers.packed import Packed
from lifelong.training import Training
from toys import same, toy_net, toy_stream, weights

os.environ["HF_HUB_OFFLINE"] = "1"
EXAMPLES = Path(__file__).parents[1] / "examples"
# what these libraries warn of (a missing GPU, few workers, names to come) is not this package's
pytestmark = pytest.mark.filterwarnings("ignore")

METHODS: list[Method] = [
    EWC(5.0, importance="sampled"),
    SI(5.0, xi=1e-3),
    Replay(40),
    AGEM(40, batch=16),
    GEM(16),
    LwF(2.0),
    chain(L2(0.1), DERpp(40)),
]
LENGTH, WORDS, EACH, TASKS = 6, 24, 2, 2


class Order(Sampler[int]):
    """The order in which `fit` reads a task."""

    def __init__(self, task: int, n: int) -> None:
        self.task, self.n, self.epoch = task, n, 0

    def __len__(self) -> int:
        return self.n

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.n, generator=generator(0, f"order/{self.task}/0/{self.epoch}")).tolist())


# --- sentences ----------------------------------------------------------------------------------------------------------
def sentences(scenario: Scenario, examples: int = 48) -> Stream:
    """Words that tell the intent, of different lengths, packed with their masks."""
    g = torch.Generator().manual_seed(0)
    made = []
    for t in range(TASKS):
        first = 0 if scenario == "domain" else EACH * t

        def draw(n: int, t: int = t, first: int = first) -> Tensors:
            y = torch.randint(EACH, (n,), generator=g)
            ids = torch.randint(1, 8, (n, LENGTH), generator=g) + 4 * (y[:, None] + EACH * t)
            mask = (torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (n, 1), generator=g)).long()
            return Tensors(torch.stack([ids * mask, mask], 1), y + first)

        made.append(Task(f"intents {t + 1}", draw(examples), draw(20), tuple(range(first, first + EACH))))
    return Stream(tuple(made), scenario, tuple(f"c{c}" for c in range(first + EACH)))


def bert(outputs: int, dropout: float = 0.0) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=WORDS,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=LENGTH,
                num_labels=outputs,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )


def lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]))


class Sentences(Dataset[Any]):
    def __init__(self, examples: Tensors) -> None:
        self.x, self.y = examples.x, examples.y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.x[i, 0], "attention_mask": self.x[i, 1], "labels": self.y[i]}


class Drawing(Sentences):
    """Draws from torch's own generator, as augmentation does."""

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        torch.rand(())
        return super().__getitem__(i)


def train(
    model: Any,
    folder: Path,
    task: Task,
    *callbacks: Any,
    optimizer: Any = None,
    ordered: bool = True,
    resume: Any = None,
    dataset: type[Sentences] = Sentences,
    **given: Any,
) -> Any:
    """One task in the Trainer, in the order of `fit` or its own."""
    from transformers import Trainer, TrainingArguments

    class Ordered(Trainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return Order(task.index, len(task.train)) if ordered else super()._get_train_sampler(*args)

    settings = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "learning_rate": 0.02,
        "optim": "adamw_torch",
        "save_strategy": "no",
    } | given
    args = TrainingArguments(
        str(folder), logging_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True, **settings
    )
    trainer = Ordered(
        model, args, train_dataset=dataset(task.train), callbacks=list(callbacks), optimizers=(optimizer, None)
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def keeper(method: Method, scenario: Scenario = "class", **given: Any) -> Any:
    from lifelong.trainers.huggingface import LifelongCallback

    return LifelongCallback(method, scenario=scenario, **given)


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


def loop(model: Any, optimizer: Any, guard: Any, task: Task, clip: float | None = None) -> None:
    """What anybody would write."""
    for epoch in range(2):
        order = Order(task.index, len(task.train))
        order.set_epoch(epoch)
        for index in torch.tensor(list(order)).split(16):
            batch = guard.mix(task.train.x[index], task.train.y[index])
            optimizer.zero_grad()
            guard.loss(guard.model(batch.x), batch).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
    guard.consolidate(task.train)


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
    [EWC(5.0, importance="sampled"), SI(5.0, xi=1e-3), LwF(2.0), AGEM(400, batch=16), GEM(24)],
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


@pytest.mark.parametrize("method", [EWC(5.0, importance="sampled"), AGEM(40, batch=16), LwF(2.0)], ids=lambda m: m.name)
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
    with pytest.raises(DataError, match=r"inputs of \[2, 5\] beside remembered ones of \[2, 6\]: pad all to one shape"):
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


def test_inputs_that_the_model_would_not_be_called_with_are_named() -> None:
    words = torch.ones(2, 3, dtype=torch.int64)
    batch = {"input_ids": words, "attention_mask": words, "token_type_ids": words, "labels": words[:, 0]}
    with pytest.raises(DataError, match="the batch has token_type_ids beside"):
        Packed(nn.Identity()).pack(batch)
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    assert Packed(nn.Identity(), inputs).pack(batch).shape == (2, 3, 3)


# --- lightning ----------------------------------------------------------------------------------------------------------
def lit(net: nn.Module, own: Any) -> Any:
    from lightning.pytorch import LightningModule

    class Lit(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

        def training_step(self, batch: Any, index: int) -> Tensor:
            if own is None:
                return F.cross_entropy(self(batch[0]), batch[1])
            mixed = own.mix(*batch)
            return own.loss(self(mixed.x), mixed)  # type: ignore[no-any-return]

    return Lit()


def lightning_fit(module: Any, task: Task, *callbacks: Any, resume: Any = None, epochs: int = 2, **given: Any) -> None:
    from lightning.pytorch import Trainer

    loader = DataLoader(
        TensorDataset(task.train.x, task.train.y),
        batch_size=given.pop("batch_size", 16),
        sampler=given.pop("sampler", None) or Order(task.index, len(task.train)),
    )
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False) | {
        "enable_checkpointing": len(callbacks) > 1
    }
    Trainer(max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), **quiet, **given).fit(
        module, loader, ckpt_path=resume
    )


def lightning_keeper(method: Method, scenario: Scenario = "class") -> Any:
    from lifelong.trainers.lightning import LifelongCallback

    return LifelongCallback(method, scenario=scenario)


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


# --- accelerate ---------------------------------------------------------------------------------------------------------
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


# --- examples -----------------------------------------------------------------------------------------------------------
def test_a_data_set_is_read_again_in_its_own_order() -> None:
    x, y = torch.randn(10, 3), torch.arange(10)
    loaded = Loaded(DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, drop_last=True), tuple)
    chunks = list(loaded.all(6))
    assert [len(c.y) for c in chunks] == [6, 4]
    assert torch.equal(torch.cat([c.x for c in chunks]), x)
    assert loaded.subset(torch.tensor([7, 2])).labels.tolist() == [7, 2]
    assert loaded.subset(torch.tensor([7, 2])).subset(torch.tensor([1])).labels.tolist() == [2]

    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([])

    with pytest.raises(DataError, match="can be read once only"):
        Loaded(DataLoader(Endless()), tuple)


@pytest.mark.parametrize("name", ["huggingface_trainer", "lightning_trainer", "accelerate_loop"])
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Fine-tuning comes first, and each method after it does better."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    means = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if " mean " in line]
    assert len(means) > 1
    assert all(mean > means[0] + 0.03 for mean in means[1:])
