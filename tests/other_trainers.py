"""Other people's trainers with a method, in the order of examples that `fit` has, on small networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from lifelong import AGEM, EWC, GEM, L2, SI, DERpp, LwF, Replay, chain
from lifelong.core.examples import Tensors
from lifelong.core.method import Method
from lifelong.core.random import generator
from lifelong.core.stream import Scenario, Stream, Task

os.environ["HF_HUB_OFFLINE"] = "1"
METHODS: list[Method] = [
    EWC(5.0, importance="sampled"),
    SI(5.0, xi=1e-3),
    Replay(40),
    AGEM(40, batch_size=16),
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
    from lifelong.loops.huggingface import LifelongCallback

    return LifelongCallback(method, scenario=scenario, **given)


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
    from lifelong.loops.lightning import LifelongCallback

    return LifelongCallback(method, scenario=scenario)


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
