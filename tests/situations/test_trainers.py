"""People who train in transformers, whose models regress, have several labels an example, or generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    T5ForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from lifelong import EWC, L2, MAS, DataError, Learner, MethodError, Replay, Training, stream_of
from lifelong.core.method import Method
from lifelong.loops.huggingface import LifelongCallback
from lifelong.loops.packed import Packed
from toys import same, weights

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def bert(**more: Any) -> Any:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=60, max_position_embeddings=20, **SMALL, **more))


def t5(kind: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "num_labels": 3}
    return kind(T5Config(**sizes, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0))


LABELS: dict[str, Any] = {
    "class": lambda i: i % 3,
    "several": lambda i: torch.tensor([float(i % 2), float(i % 3 == 0), 1.0]),
    "number": float,
    "numbers": lambda i: torch.tensor([float(i), 1.0, -float(i)]),
    "words": lambda i: torch.tensor([5, 6, 7, 1]),
}


def rows(labels: str) -> list[dict[str, Any]]:
    draws = torch.Generator().manual_seed(0)
    made = []
    for i in range(12):
        words = torch.randint(3, 50, (8,), generator=draws)
        words[-1] = 1  # T5's end of a sentence
        made.append(
            {"input_ids": words, "attention_mask": torch.ones(8, dtype=torch.int64), "labels": LABELS[labels](i)}
        )
    return made


def trained(model: Any, labels: str, method: Method, out: Path) -> LifelongCallback:
    keeper = LifelongCallback(method)
    arguments = TrainingArguments(
        str(out),
        max_steps=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows(labels), callbacks=[keeper]).train()
    return keeper


@pytest.mark.parametrize(
    ("problem", "labels", "outputs"),
    [
        ("multi_label_classification", "several", 3),
        ("regression", "number", 1),
        ("regression", "numbers", 3),
    ],
)
def test_ewc_refuses_labels_that_are_no_classes_before_training_and_mas_takes_them(
    problem: str, labels: str, outputs: int, tmp_path: Path
) -> None:
    model = bert(num_labels=outputs, problem_type=problem)
    before = weights(model)
    with pytest.raises(DataError, match="expected class indices"):
        trained(model, labels, EWC(1.0), tmp_path)
    assert same(before, weights(model))
    assert trained(model, labels, MAS(1.0), tmp_path).guard.learnt == 1


def test_t5_that_classifies_is_held_and_t5_that_generates_is_refused_before_training(tmp_path: Path) -> None:
    assert trained(t5(T5ForSequenceClassification), "class", EWC(1.0), tmp_path).guard.learnt == 1
    generates = t5(T5ForConditionalGeneration)
    before = weights(generates)
    with pytest.raises(MethodError, match="at the end of a task fails with this network"):
        trained(generates, "words", EWC(1.0), tmp_path)
    assert same(before, weights(generates))
    assert trained(generates, "words", L2(1.0), tmp_path).guard.learnt == 1


def test_a_new_trainer_and_a_new_callback_for_each_task(tmp_path: Path) -> None:
    model = bert(num_labels=3)
    assert [trained(model, "class", EWC(1.0), tmp_path).guard.learnt for _ in range(3)] == [1, 2, 3]


def test_a_classifier_that_grows_says_how_many_labels_it_has() -> None:
    x = torch.stack([torch.stack([row["input_ids"], row["attention_mask"]]) for row in rows("class")])
    y = torch.tensor([row["labels"] for row in rows("class")])
    learner = Learner(Packed(bert(num_labels=3)), Replay(10), Training(lr=0.01, batch_size=8), grows=True)
    for task in stream_of([(x, y), (x, y + 3)], announced=False):
        learner.learn(task)
    model = learner.net.model
    assert model.config.num_labels == model.num_labels == model.classifier.out_features == 6
    assert len(model.config.id2label) == 6
    model(input_ids=x[:2, 0], labels=torch.tensor([5, 0])).loss.backward()
