"""Stories that are made: each answer is right, and rests on the sentences that it says."""

from __future__ import annotations

import pytest
import torch

from lifelong.streams import babi
from lifelong.streams.made_stories import KINDS, NUMBERS, texts
from lifelong.streams.stories import read


def answered(kind: str, told: tuple[tuple[str, ...], ...], question: tuple[str, ...]) -> str:
    """The answer by going through the story sentence by sentence."""
    room: dict[str, str] = {}
    holder: dict[str, str] = {}
    path: dict[str, list[str]] = {}
    for who, *verb, _, what in told:
        if verb[0] in ("took", "picked"):
            holder[what] = who
        elif verb[0] in ("left", "put"):
            del holder[what]
        else:
            room[who] = what
        for thing, person in holder.items():
            if person in room and path.setdefault(thing, [room[person]])[-1] != room[person]:
                path[thing].append(room[person])
    if kind == "one-fact":
        return room[question[2]]
    if kind == "yes-no":
        return "yes" if room[question[1]] == question[4] else "no"
    if kind == "counting":
        return NUMBERS[sum(person == question[4] for person in holder.values())]
    if kind == "two-facts":
        return path[question[3]][-1]
    *_, before, now = path[question[3]]
    assert now == question[6]
    return before


@pytest.mark.parametrize("kind", KINDS)
def test_made_answers_are_right_and_rest_on_what_they_say(kind: str) -> None:
    questions = read(texts(300, 1, seed=3)[kind]["train"])
    assert len(questions) == 300
    for q in questions:
        assert answered(kind, q.story, q.question) == q.answer
        alone = tuple(q.story[i] for i in q.supporting)
        if "put" not in {s[1] for s in alone} and "left" not in {s[1] for s in alone}:
            assert answered(kind, alone, q.question) == q.answer  # the supporting sentences are enough
    if kind == "three-facts":
        assert max(len(q.supporting) for q in questions) >= 3
    counts = {a: sum(q.answer == a for q in questions) / 300 for a in {q.answer for q in questions}}
    assert len(counts) == {"yes-no": 2, "counting": 4}.get(kind, 6)
    assert max(counts.values()) < 0.66


def test_made_stories_depend_on_the_seed() -> None:
    one, again, other = (babi(examples=20, test_examples=20, seed=s) for s in (0, 0, 1))
    assert torch.equal(one[0].train.x, again[0].train.x)
    assert not torch.equal(one[0].train.x, other[0].train.x)
    assert not torch.equal(one[0].train.x[:20], one[0].test.x[:20])
    assert len(one) == 5
