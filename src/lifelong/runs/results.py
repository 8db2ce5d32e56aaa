"""What was made before and need not be made again: a folder of results, each named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, final

from ..core.errors import RunError
from ..core.files import write_atomically
from .executor import Engine, Work, each

__all__ = ["Codec", "Name", "Results", "fingerprint", "gather", "json_codec"]

T = TypeVar("T")
LONGEST = 100  # characters of a label in a file's name


class Name(NamedTuple):
    """What a result is called: a part for people, and the fingerprint of all that it depends on."""

    label: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.label[:LONGEST]}-{self.fingerprint}"


def fingerprint(about: Any) -> str:
    """Of plain values, as JSON has them: the order of keys does not count."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


@final
@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a result becomes the content of a file, and is read again.

    Args:
        suffix: of the file's name.
        encode: gives the content.
        decode: gives the result; raises one of `DAMAGED` for a content that is none.
    """

    suffix: str
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError, RunError)


def json_codec(to_json: Callable[[T], Any], from_json: Callable[[Any], T]) -> Codec[T]:
    """Results as JSON, which `to_json` and `from_json` take apart and put together."""
    return Codec(".json", lambda value: json.dumps(to_json(value)).encode(), lambda text: from_json(json.loads(text)))


@final
@dataclass(frozen=True)
class Results(Generic[T]):
    """A folder of results, each in a file of its own. What is damaged is not there, and is made again.

    Args:
        folder: made when the first result is written.
        codec: of the files.
    """

    folder: Path
    codec: Codec[T]

    def path(self, name: Name) -> Path:
        """The file of a result."""
        return self.folder / f"{name}{self.codec.suffix}"

    def unfinished(self, name: Name) -> Path:
        """The place for the checkpoints of a result that is not done, beside its file."""
        return self.folder / str(name)

    def read(self, name: Name) -> T | None:
        """A result; None where there is none, or it is damaged."""
        try:
            return self.codec.decode(self.path(name).read_bytes())
        except DAMAGED:
            return None

    def write(self, name: Name, value: T) -> None:
        """Keeps a result that is done; its checkpoints are removed.

        Raises:
            RunError: the disk is full or cannot be written to; the other results are still there.
        """
        write_atomically(self.path(name), self.codec.encode(value))
        self.clear(name)

    def clear(self, name: Name) -> None:
        """Removes the checkpoints of a result."""
        shutil.rmtree(self.unfinished(name), ignore_errors=True)


def gather(
    function: Callable[..., T],
    names: Sequence[Name],
    work: Work,
    results: Results[T] | None = None,
    jobs: int | Engine = 1,
    *,
    already: Callable[[int], None] = lambda count: None,
    made: Callable[[int, T], None] = lambda index, value: None,
) -> list[T]:
    """``function(*work[i])`` of all i: read where it was made before, made where not, and kept as soon as it is there.

    Args:
        function, work, jobs: as `lifelong.runs.executor.each` takes them.
        names: what the results are called; what is asked twice by one name is done once.
        results: where they are kept; None: nowhere.
        already: is called with the number of those that were there, if there are any.
        made: is called with each new result, after it was kept.

    Raises:
        RunError: a result cannot be written; those before are kept.
    """
    found = {} if results is None else _kept(results, names)
    there = sum(name in found for name in names)
    if there:
        already(there)
    todo = {name: given for name, given in zip(names, work, strict=True) if name not in found}
    asked = list(todo)
    for k, value in each(function, list(todo.values()), jobs):
        found[asked[k]] = value
        if results is not None:
            results.write(asked[k], value)
        for i, name in enumerate(names):
            if name == asked[k]:
                made(i, value)
    return [found[name] for name in names]


def _kept(results: Results[T], names: Sequence[Name]) -> dict[Name, T]:
    found = {}
    for name in dict.fromkeys(names):
        kept = results.read(name)
        if kept is not None:
            found[name] = kept
            results.clear(name)  # of one that died in between
    return found
