"""What an export says of itself: plain values, kept as JSON, from which a predictor is built again.

Reading is guided by the types that stand here. Networks and methods are found by their names among those of the registry, and nothing else
in the file chooses what is constructed.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, final

from ..core.errors import DataError, RunError, nearest
from ..core.growth import Growth
from ..core.stream import Scenario

__all__ = ["About", "Form", "Kind", "Part", "from_plain"]

Form = Literal["safetensors", "torch", "onnx"]
Kind = Literal["numbers", "image", "bag", "story"]  # what an input is made of
FORMAT = "lifelong-export"
VERSION = 2


@final
@dataclass(frozen=True)
class Part:
    """A network or a method by its name in the registry; or by where its code is (``./mine.py:Pull``)."""

    name: str
    options: dict[str, Any]
    code: str = ""
    sha256: str = ""  # of that code's file


@final
@dataclass(frozen=True)
class Learnt:
    """A task that was learnt, and the outputs that its labels use."""

    name: str
    classes: tuple[int, ...]


@final
@dataclass(frozen=True)
class About:
    """How a predictor is built, what it takes and what it answers."""

    form: Form
    # what it answers
    scenario: Scenario
    class_names: tuple[str, ...]  # of each output
    tasks: tuple[Learnt, ...]
    seen: tuple[int, ...]  # outputs whose classes were met
    needs_task: bool
    # what it takes
    kind: Kind
    shape: tuple[int, ...]  # of one input
    whole: bool  # word numbers, not real ones
    resize: bool  # whether images of other sizes are resized, as the stream did
    vocabulary: tuple[str, ...]  # of a bag of words
    columns: tuple[str, ...]  # of a table, in the order of its inputs
    # how it is built
    net: Part
    outputs: int  # that the network began with
    growth: tuple[Growth, ...]
    method: tuple[Part, ...]  # one, or those of a chain
    answers: str  # the one of them that answers in the network's place; "": the network does
    precision: str
    # where it comes from
    stream: str
    source: str
    versions: dict[str, str]

    def __post_init__(self) -> None:
        C = len(self.class_names)
        named = [c for task in self.tasks for c in task.classes]
        wrong = [c for c in (*named, *self.seen) if not 0 <= c < C]
        if wrong or not C or not self.tasks or not self.shape or min(self.shape) < 1:
            raise RunError(
                f"an export of {C} classes, {len(self.tasks)} tasks, inputs {list(self.shape)}"
                + (f", class {wrong[0]}" if wrong else "")
                + ": its description contradicts itself"
            )

    def task(self, said: str) -> int:
        """The index of a task by its name, or its number from 1.

        Raises:
            DataError: there is none.
        """
        names = [task.name for task in self.tasks]
        if said in names:
            return names.index(said)
        if said.isdecimal() and 1 <= int(said) <= len(names):
            return int(said) - 1
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise DataError(
            f"no task {said!r}{nearest(said, names)}; expected a name or a number from 1 to {len(names)}: {shown}"
        )


def from_plain(hint: Any, value: Any, where: str) -> Any:
    """What JSON holds, as the type `hint`, which is strict: a number is no string, and no field is missing or too many.

    Raises:
        RunError: it is something else; the message says where.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)

    def wrong(expected: str) -> RunError:
        return RunError(f"{where}: expected {expected}, got {str(value)[:60]!r}: the file was altered, or is no export")

    if origin is Literal:
        if value not in args:
            raise wrong(" or ".join(map(repr, args)))
        return value
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else from_plain(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise wrong("a list")
        return tuple(from_plain(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise wrong("keys and values")
        return {k: from_plain(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(hint):
        names = [f.name for f in fields(hint)]
        if not isinstance(value, dict) or set(value) != set(names):
            raise wrong(f"the keys {', '.join(names)}")
        hints = typing.get_type_hints(hint)
        parts = {name: from_plain(hints[name], value[name], f"{where}.{name}") for name in names}
        return typing.cast(Any, hint)(**parts)
    if hint is Any:
        return value
    if type(value) is not hint and not (hint is float and type(value) is int):
        raise wrong({str: "a word", int: "a whole number", float: "a number", bool: "true or false"}[hint])
    return value
