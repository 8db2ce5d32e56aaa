"""A stream of short sentences: CLINC150 (Larson et al. 2019, arXiv 1909.02027), 150 intents in ten domains, a domain a task.

A sentence is the bag of its words, how often each word of a vocabulary occurs in it. The vocabulary is of the training sentences alone.
What is held in memory is the words' numbers; a bag is made of them when it is read.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ..errors import DataError
from ..stream import Scenario, Stream, Task, Tensors

__all__ = ["Bag", "clinc150", "vocabulary"]


@final
@dataclass(frozen=True)
class Bag:
    """Words' numbers ``[N, L]`` (0: no word, or an unknown one) to how often each of `words` occurs, ``float32 [N, words]``."""

    words: int

    def __call__(self, x: Tensor) -> Tensor:
        bags = torch.zeros(len(x), self.words + 1, device=x.device)
        bags.scatter_add_(1, x.long(), torch.ones((), device=x.device).expand(x.shape))
        return bags[:, 1:].contiguous()


def clinc150(
    scenario: Scenario = "task", min_count: int = 2, examples: int | None = None, test_examples: int | None = None
) -> Stream:
    """CLINC150 by domain: ten tasks of fifteen intents, from ``$LIFELONG_DATA/clinc150`` (``data_full.json`` as published, and
    ``domains.json``, which says which intents a domain has). Tasks come in the order of that file. Sentences out of scope and the
    validation set are left out.

    Args:
        scenario: task or class; domains have different intents.
        min_count: how often a word must occur in the training sentences to be in the vocabulary.
        examples: at most so many training sentences a domain: the first of each intent, as many of one as of another.
        test_examples: likewise test sentences.

    Raises:
        DataError: the files are not there, or not as published; a number out of range; the scenario "domain".
    """
    if scenario == "domain":
        raise DataError("scenario 'domain': the domains of CLINC150 have different intents; expected 'task' or 'class'")
    if min_count < 1 or any(n is not None and n < 15 for n in (examples, test_examples)):
        raise DataError(
            f"min_count {min_count}, examples {examples}, {test_examples}: expected at least 1, and at least 15, one an intent"
        )
    folder, data, domains = _read()
    words = _words(data, min_count)
    number = {word: i for i, word in enumerate(words, start=1)}
    intents = [intent for own in domains.values() for intent in own]
    output = {intent: c for c, intent in enumerate(intents)}
    sets = {}
    for part, most in (("train", examples), ("test", test_examples)):
        said = [(s.lower().split(), output[i]) for s, i in data[part]]
        x = torch.zeros(len(said), max(len(s) for s, _ in said), dtype=torch.int16)
        for row, (sentence, _) in zip(x, said):
            row[: len(sentence)] = torch.tensor([number.get(w, 0) for w in sentence], dtype=torch.int16)
        sets[part] = x, torch.tensor([c for _, c in said]), most
    tasks, bag = [], Bag(len(words))
    for name, own in domains.items():
        classes = tuple(output[i] for i in own)
        made = []
        for x, y, most in sets.values():
            rows = [(y == c).nonzero().squeeze(1)[: None if most is None else most // len(own)] for c in classes]
            made.append(Tensors(x, y, torch.cat(rows), bag))
        tasks.append(Task(name, made[0], made[1], classes))
    notes = {"words": len(words), "min_count": min_count, "examples": examples, "test_examples": test_examples}
    return Stream(tuple(tasks), scenario, tuple(intents), "clinc150", str(folder), notes)


def vocabulary(min_count: int = 2) -> tuple[str, ...]:
    """The words that a bag counts, in order; for what must read sentences when the stream is gone."""
    return tuple(_words(_read()[1], min_count))


def _words(data: dict[str, Any], min_count: int) -> list[str]:
    count = Counter(word for sentence, _ in data["train"] for word in sentence.lower().split())
    return sorted(word for word, n in count.items() if n >= min_count)


def _read() -> tuple[Path, dict[str, Any], dict[str, list[str]]]:
    given = os.environ.get("LIFELONG_DATA")
    folder = Path(given or ".").expanduser() / "clinc150"
    try:
        if not given:
            raise OSError("LIFELONG_DATA is not set")
        data = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
        domains = json.loads((folder / "domains.json").read_text(encoding="utf-8"))
        known = {intent for own in domains.values() for intent in own}
        if {intent for part in ("train", "test") for _, intent in data[part]} != known:
            raise ValueError("its intents are not those of domains.json")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"clinc150 needs data_full.json and domains.json in {folder if given else '$LIFELONG_DATA/clinc150'} ({error}): set "
            "LIFELONG_DATA to a folder that has them in clinc150/, as github.com/clinc/oos-eval publishes them in data/"
        ) from error
    return folder, data, domains
