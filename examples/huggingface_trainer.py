"""A small BERT learns three sets of intents one after another in `transformers.Trainer`, with a method and without.

The sentences are made up, so that nothing is downloaded and seconds suffice; with a model, a tokenizer and sentences of your own the
loop is the same. An adapter (`peft.get_peft_model`) goes in where the model does: then its weights alone are held.

    python examples/huggingface_trainer.py
"""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from lifelong import Finetune, Method, Replay
from lifelong.loops.huggingface import LifelongCallback

TASKS, EACH, LENGTH, WORDS = 3, 4, 8, 60  # intents are EACH a task


class Sentences(Dataset):
    """Random words, some of which tell the intent."""

    def __init__(self, task: int, examples: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        self.labels = EACH * task + torch.randint(EACH, (examples,), generator=g)
        self.words = torch.randint(20, WORDS, (examples, LENGTH), generator=g)
        telling = torch.rand(examples, LENGTH, generator=g) < 0.4
        self.words = torch.where(telling, 1 + self.labels[:, None], self.words)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {
            "input_ids": self.words[i],
            "attention_mask": torch.ones(LENGTH, dtype=torch.int64),
            "labels": self.labels[i],
        }


def small_bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            num_labels=TASKS * EACH,
        )
    )


@torch.no_grad()
def accuracies(model: BertForSequenceClassification) -> list[float]:
    """On each task's test sentences, among all intents."""
    model.eval()
    found = []
    for task in range(TASKS):
        test = Sentences(task, 200, seed=100 + task)
        found.append(float((model(input_ids=test.words).logits.argmax(1) == test.labels).float().mean()))
    return found


def learn(method: Method, folder: str) -> list[float]:
    model = small_bert()
    keeper = LifelongCallback(method, scenario="class")  # the one line
    args = TrainingArguments(
        folder,
        num_train_epochs=4,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    for task in range(TASKS):
        Trainer(model, args, train_dataset=Sentences(task, 200, seed=task), callbacks=[keeper]).train()
    return accuracies(model)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for method in (Finetune(), Replay(buffer_size=120)):
            found = learn(method, folder)
            each = "  ".join(f"{a:.2f}" for a in found)
            print(f"{method.name:12}  {each}  mean {sum(found) / TASKS:.2f}")


if __name__ == "__main__":
    main()
