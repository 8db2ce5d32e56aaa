"""Questions about short stories: the twenty bAbI tasks (Weston et al. 2015, arXiv 1502.05698), learnt one after another.

A file of a task has one sentence or question a line; numbers count the lines of a story and start at 1 again with the next::

    1 Mary moved to the bathroom.
    2 John went to the hallway.
    3 Where is Mary? <tab> bathroom <tab> 1

The last field holds the lines that the answer rests on. An answer of several words between commas is one answer.

All tasks share one vocabulary of n words and answers. An input is an integer tensor ``[memory + 1, J]`` of word numbers: the story's
sentences with the most recent in the row before the last, the question in the last row; 0 is no word. Output `c` is the word
numbered ``c + 1``, so that a network knows the vocabulary from its number of outputs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import DataError, nearest
from ..core.examples import Tensors
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task, remembered
from . import made_stories
from .sources import unpacked

__all__ = ["Question", "babi", "encode", "read", "sentence", "story"]

Words = tuple[str, ...]
FOLDER = "tasks_1-20_v1-2"
ARCHIVE = "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz"
LARGEST = 2**23  # bytes of a file


class Question(NamedTuple):
    """A question, the story so far, and the answer."""

    story: tuple[Words, ...]
    question: Words
    answer: str
    supporting: tuple[int, ...]  # the sentences, counted from 0, that the answer rests on


@remembered
def babi(
    source: str = "made",
    tasks: tuple[int, ...] | None = None,
    memory: int = 50,
    seed: int = 0,
    scenario: Scenario = "domain",
    examples: int | None = None,
    test_examples: int | None = None,
    announced: bool = True,
) -> Stream:
    """Kinds of questions in turn (Weston et al. 2015, arXiv 1502.05698).

    In the scenario "domain" all words of the vocabulary compete for an answer, in "task" the answers of the task at hand, in
    "class" those of the tasks so far, a vocabulary that grows. ``notes["longer"]`` says how many stories of each task (training and
    test) had more sentences than `memory`; of those the most recent are kept.

    Args:
        source: made (five kinds made by a generator in the package), en or en-10k (the published twenty, 1,000 or 10,000
            questions each, from LIFELONG_DATA, or downloaded once), or a folder of files qaN_NAME_train.txt and qaN_NAME_test.txt.
        tasks: their numbers, in the order they are learnt; default all.
        memory: sentences kept of a story.
        seed: of the generator, and of which examples are drawn.
        scenario: domain, task or class.
        examples: at most so many training questions a task, drawn at random; the generator makes as many (default 1000).
        test_examples: at most so many test questions a task, likewise.
        announced: whether the network knows all words from the start; otherwise (scenario class) its vocabulary grows with the tasks.

    Raises:
        DataError: no such source or task; a file that is not as it should be (with its line); a number out of range.
    """
    for name, value in (("memory", memory), ("examples", examples), ("test_examples", test_examples)):
        if value is not None and value < 1:
            raise DataError(f"{name} {value}: expected at least 1")
    if source == "made":
        texts, origin = made_stories.texts(examples or 1000, test_examples or 1000, seed), "made by the package"
        names = dict(enumerate(made_stories.KINDS, 1))
        parts = {n: [read(text, f"{names[n]} ({part})") for part, text in texts[names[n]].items()] for n in names}
        chosen = _chosen(tasks, names, source)
    else:
        found, names, origin = _files(source)
        chosen = _chosen(tasks, names, origin)
        parts = {n: [read(path.read_text(encoding="utf-8"), str(path)) for path in found[n]] for n in chosen}
    limits = (("train", examples), ("test", test_examples))
    sets = {
        n: [_draw(part, limit, seed, f"{what}/{n}") for part, (what, limit) in zip(parts[n], limits)] for n in chosen
    }
    vocabulary = _vocabulary(q for n in chosen for part in sets[n] for q in part)
    numbers = {word: i for i, word in enumerate(vocabulary, 1)}
    width = max(len(s) for n in chosen for part in sets[n] for q in part for s in (*q.story, q.question))
    made: list[Task] = []
    longer: dict[str, list[int]] = {}
    met = 0
    for n in chosen:
        title = f"qa{n} {names[n]}"
        if not announced:  # words stand in the order in which they come
            met = max(met, max(numbers[w] for part in sets[n] for w in _said(part)))
        train, test = (
            Tensors(encode(part, numbers, memory, width), torch.tensor([numbers[q.answer] - 1 for q in part]))
            for part in sets[n]
        )
        answers = torch.cat([train.y, test.y]).unique().tolist()
        made.append(Task(title, train, test, tuple(answers), outputs=met))
        beyond = [sum(len(q.story) > memory for q in part) for part in sets[n]]
        if any(beyond):
            longer[title] = beyond
    notes: dict[str, Any] = {"memory": memory, "words": len(vocabulary), "seed": seed}
    if longer:
        count, of = sum(map(sum, longer.values())), sum(len(part) for n in chosen for part in sets[n])
        notes["longer"] = longer
        notes["remarks"] = [
            f"{count} of {of} stories have more than {memory} sentences, of which the latest {memory} are kept "
            f"({', '.join(longer)}); --stream.memory keeps more"
        ]
    return Stream(tuple(made), scenario, vocabulary, "babi", f"{source} ({origin})", notes, announced)


# --- reading ------------------------------------------------------------------------------------------------------------
def read(text: str, where: str = "the text") -> list[Question]:
    """The questions of a file's text.

    Raises:
        DataError: a line that is neither sentence nor question; the message names `where` and the line.
    """
    questions: list[Question] = []
    sentences: list[Words] = []
    lines: dict[int, int] = {}  # a sentence's number in the file, and its place in the story
    before = 0
    for row, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue

        def wrong(what: str, row: int = row, line: str = line) -> DataError:
            return DataError(f"{where}, line {row}: {what}; got {line.strip()[:80]!r}")

        first, _, rest = line.strip().partition(" ")
        if not first.isdecimal():
            raise wrong("expected a number, a space, and a sentence or a question")
        number = int(first)
        if number == 1:
            sentences, lines = [], {}
        elif number != before + 1:
            raise wrong(f"expected the number {before + 1}, or 1 where a new story begins")
        before = number
        said, *fields = (field.strip() for field in rest.split("\t"))
        words = sentence(said)
        if not words:
            raise wrong("expected words after the number")
        if not fields:
            lines[number] = len(sentences)
            sentences.append(words)
            continue
        if len(fields) > 2 or not fields[0]:
            raise wrong("expected a question, a tab, its answer, a tab, and the numbers of the lines it rests on")
        supporting = fields[1].split() if len(fields) == 2 else []
        if not all(s.isdecimal() and int(s) in lines for s in supporting):
            raise wrong("expected the numbers of earlier sentences of this story after the answer")
        if not sentences:
            raise wrong("expected a sentence before the first question of a story")
        answer = fields[0].lower()
        questions.append(Question(tuple(sentences), words, answer, tuple(lines[int(s)] for s in supporting)))
    if not questions:
        raise DataError(f"{where} has no question: expected lines 'number question <tab> answer <tab> numbers'")
    return questions


def sentence(text: str) -> Words:
    """The words of a sentence, in small letters and without punctuation."""
    return tuple(re.findall(r"[\w'-]+", text.lower()))


def story(text: str, where: str = "the story") -> tuple[Words, ...]:
    """The sentences of a story, one a line; numbers before them and questions among them are passed over.

    Raises:
        DataError: there is no sentence.
    """
    lines = [re.sub(r"^\s*\d+\s+", "", line) for line in text.splitlines() if "\t" not in line.strip()]
    found = tuple(words for line in lines if (words := sentence(line)))
    if not found:
        raise DataError(f"{where} is empty: expected one sentence a line")
    return found


def encode(questions: Sequence[Question], numbers: Mapping[str, int], memory: int, width: int) -> Tensor:
    """Questions with their stories as inputs ``[N, memory + 1, width]`` of word numbers.

    Raises:
        DataError: a word that `numbers` does not have.
    """
    dtype = torch.int16 if len(numbers) < 2**15 else torch.int32
    x = torch.zeros((len(questions), memory + 1, width), dtype=dtype)
    rows: dict[Words, Tensor] = {}  # a sentence is said in many stories
    for i, q in enumerate(questions):
        kept = (*q.story[-memory:], q.question)
        for words in kept:
            if words not in rows:
                row = torch.zeros(width, dtype=dtype)
                row[: len(words)] = torch.tensor([_number(w, numbers) for w in words], dtype=dtype)
                rows[words] = row
        x[i, memory + 1 - len(kept) :] = torch.stack([rows[words] for words in kept])
    return x


def _number(word: str, numbers: Mapping[str, int]) -> int:
    if word not in numbers:
        raise DataError(
            f"{word!r} is not in the vocabulary of {len(numbers)} words{nearest(word, numbers)}: use words that the "
            "tasks were learnt with"
        )
    return numbers[word]


def _vocabulary(questions: Iterable[Question]) -> Words:
    """Words and answers in the order in which they come, so that further tasks add theirs behind."""
    return tuple(dict.fromkeys(_said(questions)))


def _said(questions: Iterable[Question]) -> Iterator[str]:
    for q in questions:
        for words in (*q.story, q.question, (q.answer,)):
            yield from words


def _draw(questions: list[Question], limit: int | None, seed: int, name: str) -> list[Question]:
    if limit is None or limit >= len(questions):
        return questions
    order = torch.randperm(len(questions), generator=generator(seed, f"draw/{name}"))
    return [questions[i] for i in order[:limit].tolist()]


# --- where the files are ------------------------------------------------------------------------------------------------
def _chosen(tasks: Sequence[int] | None, names: Mapping[int, str], where: str) -> list[int]:
    chosen = list(names if tasks is None else tasks)
    wrong = [n for n in chosen if n not in names]
    if wrong or not chosen:
        raise DataError(f"no task {wrong[0] if wrong else ''} in {where}; there are: {', '.join(map(str, names))}")
    if len(set(chosen)) < len(chosen):
        raise DataError(f"tasks {', '.join(map(str, chosen))}: expected each at most once")
    return chosen


def _published(source: str) -> Path:
    """The folder of the published tasks: LIFELONG_DATA's, or that of an archive that is downloaded once, whose files are compared."""
    given = os.environ.get("LIFELONG_DATA")
    folder = None if given is None else Path(given).expanduser() / FOLDER / source
    if folder is not None and folder.is_dir():
        return folder
    import pooch

    cache = Path(pooch.os_cache("lifelong")) / "babi"
    try:
        # the sums of its files are known, and not its own
        archive = pooch.retrieve(ARCHIVE, None, fname=f"{FOLDER}.tar.gz", path=cache)
    except (OSError, ValueError) as error:
        looked = (
            f"not in {cache}" if folder is None else f"not in {folder.parent.parent} (LIFELONG_DATA) and not in {cache}"
        )
        raise DataError(
            f"the bAbI tasks {source!r} need {FOLDER}.tar.gz (bAbI tasks 1-20, v1.2), which is {looked}, and could not be downloaded from "
            f"{ARCHIVE} ({type(error).__name__}): put it into {cache}, or set LIFELONG_DATA to the folder that has {FOLDER}/ in it; source "
            "'made' needs no files"
        ) from error
    sums = _sums(source)
    return unpacked(Path(archive), dict.fromkeys(sums, LARGEST), sums, 2**30)[0].parent


def _sums(source: str) -> dict[str, str]:
    """Of each published file."""
    words = (files("lifelong") / "assets" / "babi.sums").read_text(encoding="ascii").split()
    return {name: value for value, name in zip(words[::2], words[1::2]) if name.startswith(f"{source}/")}


def _files(source: str) -> tuple[dict[int, list[Path]], dict[int, str], str]:
    """By number each task's training and test file and its name; and where they were found."""
    folder = _published(source) if source in ("en", "en-10k") else Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder of bAbI tasks: expected source 'made', 'en' or 'en-10k' (in LIFELONG_DATA, as "
            f"{FOLDER}.tar.gz unpacks), or a folder of files qaN_NAME_train.txt and qaN_NAME_test.txt"
        )
    found: dict[int, list[Path]] = {}
    names: dict[int, str] = {}
    for path in folder.glob("qa*_train.txt"):
        match = re.fullmatch(r"qa(\d+)_(.+)_train\.txt", path.name)
        if match:
            test = path.with_name(f"qa{match[1]}_{match[2]}_test.txt")
            if not test.exists():
                raise DataError(f"{path} has no {test.name} beside it: a task needs questions to be tested on")
            found[int(match[1])], names[int(match[1])] = [path, test], match[2]
    if not found:
        raise DataError(
            f"{folder} has no files qaN_NAME_train.txt and qaN_NAME_test.txt: expected those of the bAbI tasks"
        )
    order = sorted(found)
    return {n: found[n] for n in order}, {n: names[n] for n in order}, str(folder)
