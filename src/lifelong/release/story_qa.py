"""A question about a story, put to the network of a run as its newest checkpoint has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from ..core.errors import DataError, MethodError
from ..nets.memory_network import Attentive
from ..runs.jobs import resume
from ..runs.load_run import load_run
from ..runs.spec import NOTHING, Permission
from ..streams.stories import Question, encode, sentence, story

__all__ = ["Answer", "answer_question"]


@final
@dataclass(frozen=True)
class Answer:
    """An answer, its probability, and how much each hop looked at each sentence that was read, ``[K][M]``."""

    answer: str
    probability: float
    story: tuple[str, ...]
    hops: tuple[tuple[float, ...], ...]  # the rest of 1 at none
    left_out: int  # earlier sentences, for which the memory has no room
    learnt: int  # tasks
    of: int

    def __str__(self) -> str:
        lines = [f"{self.answer}  (probability {self.probability:.3f}, {self.learnt} of {self.of} tasks learnt)"]
        if self.left_out:
            left_out = "sentence was" if self.left_out == 1 else f"{self.left_out} sentences were"
            lines.append(f"the first {left_out} left out: the memory keeps the latest {len(self.story)}")
        if self.hops:
            lines.append("  ".join(f"hop {k}" for k in range(1, len(self.hops) + 1)) + "  sentence")
            rows = [*zip(self.story, *self.hops), ("(none)", *(1 - sum(hop) for hop in self.hops))]
            lines += ["  ".join(f"{p:5.2f}" for p in row) + f"  {said}" for said, *row in rows]
        return "\n".join(lines)


def answer_question(
    folder: Path,
    story_file: Path,
    question: str,
    method: str | None = None,
    seed: int | None = None,
    task: int | None = None,
    permission: Permission = NOTHING,
) -> Answer:
    """What the run in `folder` answers.

    Args:
        folder: a run's directory, of the stream babi.
        story_file: one sentence a line.
        question: in words of the stream's vocabulary.
        method, seed: whose answer; default the run's first.
        task: the number of the kind of question, which the scenario "task" needs.
        permission: whether code that the run names may be loaded.

    Raises:
        RunError: no run there, or none that has learnt anything.
        DataError: a story that cannot be read or is empty; a word that is not in the vocabulary.
        MethodError: another stream; no such method, seed or task.
    """
    spec = resume(folder, permission)
    if spec.stream != "babi":
        raise MethodError(f"{folder} is a run on the stream {spec.stream!r}, which has no questions: ask one on 'babi'")
    try:
        sentences = story(story_file.read_text(encoding="utf-8"), f"the story {story_file}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the story {story_file}: {error}") from error
    words = sentence(question)
    if not words:
        raise DataError(f"the question {question!r} has no words: ask something like 'Where is Ada?'")
    found = load_run(folder, method, seed, permission)
    stream, learner = found.stream, found.learner
    memory = stream.shape[0] - 1
    known_words = stream.class_names if learner.spec is None else stream.class_names[: learner.spec.outputs]
    numbers = {word: i for i, word in enumerate(known_words, 1)}
    width = max(len(s) for s in (*sentences, words))
    x = encode([Question(sentences, words, "", ())], numbers, memory, width)
    about = [t for t in stream if task is not None and t.name.startswith(f"qa{task} ")]
    if not about and (task is not None or stream.scenario == "task"):
        known = ", ".join(t.name.split()[0].removeprefix("qa") for t in stream)
        raise MethodError(f"task {task}: expected the number of the kind of question, one of {known}")
    p = learner.scores(x, about[0] if about else None)[0].softmax(0)
    kept = sentences[-memory:]
    hops: tuple[tuple[float, ...], ...] = ()
    if isinstance(learner.net, Attentive) and "predict" not in learner.method.acts:
        with torch.no_grad():
            hops = tuple(tuple(seen[0, memory - len(kept) :].tolist()) for seen in learner.net.eval().attend(x)[1])
    best = int(p.argmax())
    return Answer(
        stream.class_names[best],
        float(p[best]),
        tuple(" ".join(s) for s in kept),
        hops,
        len(sentences) - len(kept),
        learner.learnt,
        len(stream),
    )
