"""Streams of short sentences and what they ask for: CLINC150 (Larson et al. 2019, arXiv 1909.02027), 150 intents in ten domains, and
Banking77 (Casanueva et al. 2020, arXiv 2003.04807), 77 intents of a bank's customers.

A sentence is the bag of its words, how often each word of a vocabulary occurs in it, or what a frozen encoder makes of it. The
vocabulary is of the training sentences alone. What is held in memory is the words' numbers; a bag is made of them when it is read.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, final

import torch
from torch import Tensor

from ..core.errors import DataError
from ..core.examples import Tensors
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task, remembered

__all__ = ["Bag", "banking77", "clinc150", "vocabulary"]

T = TypeVar("T")
Said = list[tuple[str, str]]  # sentences and their intents
Encoder = Literal["all-minilm-l6-v2"]


@final
@dataclass(frozen=True)
class Bag:
    """Words' numbers ``[N, L]`` (0: no word, or an unknown one) to how often each of `words` occurs, ``float32 [N, words]``."""

    words: int

    def __call__(self, x: Tensor) -> Tensor:
        bags = torch.zeros(len(x), self.words + 1, device=x.device)
        bags.scatter_add_(1, x.long(), torch.ones((), device=x.device).expand(x.shape))
        return bags[:, 1:].contiguous()


@remembered
def clinc150(
    scenario: Scenario = "task",
    min_count: int = 2,
    examples: int | None = None,
    test_examples: int | None = None,
    features: Encoder | None = None,
) -> Stream:
    """CLINC150 by domain: ten tasks of fifteen intents, from ``$LIFELONG_DATA/clinc150`` (``data_full.json`` as published, and
    ``domains.json``, which says which intents a domain has). Tasks come in the order of that file. Sentences out of scope and the
    validation set are left out.

    Args:
        scenario: task or class; domains have different intents.
        min_count: how often a word must occur in the training sentences to be in the vocabulary.
        examples: at most so many training sentences a domain: the first of each intent, as many of one as of another.
        test_examples: likewise test sentences.
        features: in place of the bags, what a frozen encoder makes of the sentences (the extra ``sentences``); computed once and kept.

    Raises:
        DataError: the files are not there, or not as published; a number out of range; the scenario "domain".
    """
    files = "data_full.json, as github.com/clinc/oos-eval publishes it in data/, and domains.json"
    folder, (data, domains) = _read("clinc150", scenario, _clinc150, files)
    return _stream("clinc150", folder, data, domains, scenario, min_count, examples, test_examples, features)


@remembered
def banking77(
    tasks: int = 7,
    seed: int = 0,
    scenario: Scenario = "class",
    order: Literal["random"] | None = None,
    min_count: int = 2,
    examples: int | None = None,
    test_examples: int | None = None,
    features: Encoder | None = None,
) -> Stream:
    """Banking77 in steps: its 77 intents divided into tasks, from ``$LIFELONG_DATA/banking77`` (``train.csv`` and ``test.csv`` as
    published, or compressed with gzip, and ``categories.json``).

    Args:
        tasks: into how many tasks the intents are divided: 7 of 11, 11 of 7; the first have one more where they do not divide evenly.
        seed: of the order of the intents where it is random.
        scenario: class or task; tasks have different intents.
        order: random shuffles the intents before they are divided; none keeps the order of ``categories.json``.
        min_count: how often a word must occur in the training sentences to be in the vocabulary.
        examples: at most so many training sentences a task: the first of each intent, as many of one as of another.
        test_examples: likewise test sentences.
        features: in place of the bags, what a frozen encoder makes of the sentences (the extra ``sentences``); computed once and kept.

    Raises:
        DataError: the files are not there, or not as published; a number out of range; the scenario "domain".
    """
    files = "train.csv, test.csv and categories.json, as github.com/PolyAI-LDN/task-specific-datasets publishes them in banking_data/"
    folder, (data, intents) = _read("banking77", scenario, _banking77, files)
    if not 1 <= tasks <= len(intents):
        raise DataError(f"{tasks} tasks of {len(intents)} intents: expected at least 1, and an intent for each")
    places = torch.arange(len(intents))
    if order == "random":
        places = torch.randperm(len(intents), generator=generator(seed, "class order"))
    groups = [[intents[i] for i in part.tolist()] for part in places.tensor_split(tasks)]
    names = {
        f"intents {1 + sum(map(len, groups[:t]))} to {sum(map(len, groups[: t + 1]))}": own
        for t, own in enumerate(groups)
    }
    return _stream("banking77", folder, data, names, scenario, min_count, examples, test_examples, features)


def _stream(
    name: str,
    folder: Path,
    data: Mapping[str, Said],
    groups: Mapping[str, Sequence[str]],
    scenario: Scenario,
    min_count: int,
    examples: int | None,
    test_examples: int | None,
    features: Encoder | None,
) -> Stream:
    """A task for each group of intents; outputs are numbered as the groups have them."""
    most = max(map(len, groups.values()))
    if min_count < 1 or any(n is not None and n < most for n in (examples, test_examples)):
        raise DataError(
            f"min_count {min_count}, examples {examples}, {test_examples}: expected at least 1, and at least {most}, one an intent"
        )
    share = {intent: len(own) for own in groups.values() for intent in own}
    output = {intent: c for c, intent in enumerate(share)}
    numbers: Callable[[Sequence[str]], Tensor]
    read, encoder = None, None
    notes: dict[str, Any] = {}
    if features is None:
        words = _words(data, min_count)
        numbers, read = _Vocabulary(words), Bag(len(words))
        notes |= {"words": len(words), "min_count": min_count}
    else:
        from .sentences import minilm

        encoder = minilm()
        numbers = encoder.tokens
    sets = []
    for part, limit in (("train", examples), ("test", test_examples)):
        had: Counter[str] = Counter()
        said = []
        for sentence, intent in data[part]:
            had[intent] += 1
            if limit is None or had[intent] <= limit // share[intent]:
                said.append((sentence, intent))
        sets.append(Tensors(numbers([s for s, _ in said]), torch.tensor([output[i] for _, i in said]), transform=read))
    notes |= {"examples": examples, "test_examples": test_examples}
    whole = Stream(
        (Task("all", sets[0], sets[1], tuple(output.values())),), scenario, tuple(output), name, str(folder), notes
    )
    if encoder is not None:  # of the sentences as the file has them, whatever their tasks
        from .features import kept

        whole = kept(whole, encoder)
    tasks = []
    for task, own in groups.items():
        classes = tuple(output[i] for i in own)
        parts = [
            part.subset(torch.cat([(part.labels == c).nonzero().squeeze(1) for c in classes]))
            for part in (whole[0].train, whole[0].test)
        ]
        tasks.append(Task(task, parts[0], parts[1], classes))
    return replace(whole, tasks=tuple(tasks))


def vocabulary(name: str, min_count: int = 2) -> tuple[str, ...]:
    """The words that the bags of a stream count, in order; for what must read sentences when the stream is gone."""
    parse: Callable[[Path], tuple[Mapping[str, Said], Any]] = {"clinc150": _clinc150, "banking77": _banking77}[name]
    return tuple(_words(_read(name, "class", parse, "its published files")[1][0], min_count))


def _words(data: Mapping[str, Said], min_count: int) -> list[str]:
    count = Counter(word for sentence, _ in data["train"] for word in sentence.lower().split())
    return sorted(word for word, n in count.items() if n >= min_count)


@final
@dataclass(frozen=True)
class _Vocabulary:
    """Sentences to the numbers of their words, from 1 in the order of `words`; 0: an unknown one, and behind the shorter sentences."""

    words: list[str]

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        number = {word: i for i, word in enumerate(self.words, start=1)}
        said = [[number.get(w, 0) for w in s.lower().split()] for s in sentences]
        x = torch.zeros(len(said), max(map(len, said)), dtype=torch.int16)
        for row, own in zip(x, said):
            row[: len(own)] = torch.tensor(own, dtype=torch.int16)
        return x


def _read(name: str, scenario: Scenario, parse: Callable[[Path], T], files: str) -> tuple[Path, T]:
    """The folder of the data, and what `parse` makes of it."""
    if scenario == "domain":
        raise DataError(f"scenario 'domain': the tasks of {name} have different intents; expected 'task' or 'class'")
    given = os.environ.get("LIFELONG_DATA")
    folder = Path(given or ".").expanduser() / name
    try:
        if not given:
            raise OSError("LIFELONG_DATA is not set")
        return folder, parse(folder)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise DataError(
            f"{name} is not in {folder if given else f'$LIFELONG_DATA/{name}'} ({error}): set LIFELONG_DATA to a folder whose {name}/ "
            f"has {files}"
        ) from error


def _clinc150(folder: Path) -> tuple[dict[str, Said], dict[str, list[str]]]:
    data = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    domains = json.loads((folder / "domains.json").read_text(encoding="utf-8"))
    known = {intent for own in domains.values() for intent in own}
    if {intent for part in ("train", "test") for _, intent in data[part]} != known:
        raise ValueError("its intents are not those of domains.json")
    return data, domains


def _banking77(folder: Path) -> tuple[dict[str, Said], list[str]]:
    intents = json.loads((folder / "categories.json").read_text(encoding="utf-8"))
    data: dict[str, Said] = {}
    for part in ("train", "test"):
        plain = folder / f"{part}.csv"
        packed = plain.with_suffix(".csv.gz")
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        data[part] = [
            (r["text"], r["category"]) for r in csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
        ]
    if {intent for said in data.values() for _, intent in said} != set(intents):
        raise ValueError("its categories are not those of categories.json")
    return data, intents
