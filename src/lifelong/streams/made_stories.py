"""Stories with questions made by a small simulation, in the format of the bAbI tasks: as many as one wants, and no download.

People go from room to room, take things and put them down. Five kinds of question:

==============  ====================================  ==================================================
kind            question                              rests on
==============  ====================================  ==================================================
one-fact        Where is Ada?                         where Ada went last
two-facts       Where is the lamp?                    who took it (or put it down), where they were
three-facts     Where was the lamp before the attic?  who took it, and the last two moves with it
yes-no          Is Ada in the attic?                  where Ada went last
counting        How many things does Ada carry?       all that Ada took and put down
==============  ====================================  ==================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import final

from ..core.random import derive

__all__ = ["KINDS", "texts"]

KINDS = ("one-fact", "two-facts", "three-facts", "yes-no", "counting")
PEOPLE = ("Ada", "Emil", "Nora", "Otto")
ROOMS = ("attic", "cellar", "library", "porch", "pantry", "studio")
THINGS = ("lamp", "book", "kettle")
NUMBERS = ("none", "one", "two", "three")
GOES = ("went to", "walked to", "moved to")
TAKES = ("took", "picked up")
DROPS = ("left", "put down")
# by kind: how many people there are, and how often one who could rather takes something, or puts it down, than moves
WORLDS = {
    "one-fact": (4, 0.0),
    "two-facts": (4, 0.5),
    "three-facts": (4, 0.5),
    "yes-no": (4, 0.0),
    "counting": (2, 0.8),
}
EACH = 5  # questions a story


def texts(train: int, test: int, seed: int) -> dict[str, dict[str, str]]:
    """By kind the text of `train` and of `test` questions."""
    return {
        kind: {
            part: _text(kind, n, derive(seed, f"babi/{kind}/{part}")) for part, n in (("train", train), ("test", test))
        }
        for kind in KINDS
    }


def _text(kind: str, questions: int, seed: int) -> str:
    draws = Random(seed)
    lines: list[str] = []
    asked = 0
    while asked < questions:
        world, told = _World(draws, *WORLDS[kind]), 0
        while told < EACH and asked < questions and world.line < 60:
            lines.extend(f"{world.line + 1} {world.happen()}" for _ in range(2))
            found = _ask(kind, world)
            if found is not None:
                said, answer, rests = found
                world.line += 1
                lines.append(f"{world.line} {said}\t{answer}\t{' '.join(map(str, rests))}")
                told, asked = told + 1, asked + 1
    return "\n".join(lines) + "\n"


@final
@dataclass
class _World:
    """Who and what is where, and the lines that say so."""

    draws: Random
    people: int
    handles: float
    line: int = 0
    room: dict[str, tuple[str, int]] = field(default_factory=dict)  # a person's room, and the line of the move
    holder: dict[str, tuple[str, int]] = field(default_factory=dict)  # who has a thing, and since which line
    trace: dict[str, list[tuple[str, tuple[int, ...]]]] = field(default_factory=dict)  # a thing's rooms, and why
    handled: dict[str, list[int]] = field(default_factory=dict)  # the lines in which a person took or put down

    def happen(self) -> str:
        """Something happens; gives the sentence that tells it."""
        self.line += 1
        draw = self.draws
        person = draw.choice(PEOPLE[: self.people])
        if person in self.room and draw.random() < self.handles:
            room, moved = self.room[person]
            held = [t for t, (p, _) in self.holder.items() if p == person]
            free = [t for t in THINGS if t not in self.holder and (t not in self.trace or self.trace[t][-1][0] == room)]
            if held and (not free or draw.random() < 0.4):
                thing = draw.choice(held)
                del self.holder[thing]
                self.trace[thing][-1] = (room, (self.line, moved))
                self.handled[person].append(self.line)
                return f"{person} {draw.choice(DROPS)} the {thing}."
            if free:
                thing = draw.choice(free)
                self.holder[thing] = person, self.line
                places = self.trace.setdefault(thing, [])
                places[-1:] = [(room, (self.line, moved))]
                self.handled.setdefault(person, []).append(self.line)
                return f"{person} {draw.choice(TAKES)} the {thing}."
        room = draw.choice([r for r in ROOMS if self.room.get(person, ("", 0))[0] != r])
        self.room[person] = room, self.line
        for thing, (p, since) in self.holder.items():
            if p == person:
                self.trace[thing].append((room, (since, self.line)))
        return f"{person} {draw.choice(GOES)} the {room}."


def _ask(kind: str, world: _World) -> tuple[str, str, list[int]] | None:
    """A question of this kind, its answer, and the lines it rests on; None where the story has none yet."""
    draw = world.draws
    if kind in ("one-fact", "yes-no"):
        person = draw.choice(sorted(world.room))
        room, moved = world.room[person]
        if kind == "one-fact":
            return f"Where is {person}?", room, [moved]
        asked = room if draw.random() < 0.5 else draw.choice([r for r in ROOMS if r != room])
        return f"Is {person} in the {asked}?", "yes" if asked == room else "no", [moved]
    if kind == "counting":
        people = sorted(world.handled)
        if not people:
            return None
        person = draw.choice(people)
        count = sum(p == person for p, _ in world.holder.values())
        return f"How many things does {person} carry?", NUMBERS[count], world.handled[person]
    things = sorted(t for t, places in world.trace.items() if kind == "two-facts" or len(places) > 1)
    if not things:
        return None
    thing = draw.choice(things)
    places = world.trace[thing]
    if kind == "two-facts":
        return f"Where is the {thing}?", places[-1][0], sorted(places[-1][1])
    (before, why), (now, because) = places[-2:]
    return f"Where was the {thing} before the {now}?", before, sorted({*why, *because})
