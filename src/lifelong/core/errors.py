"""What can go wrong, in one family: each message says what was expected, what came, and the mend."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "DataError",
    "LifelongError",
    "LifelongWarning",
    "MethodError",
    "RunError",
    "TrainingError",
    "enough_memory",
    "nearest",
    "shortened",
    "warn",
]


class LifelongError(Exception):
    """Anything this library refuses or cannot go on with."""


class DataError(LifelongError, ValueError):
    """Data that cannot be learnt from as they are."""


class MethodError(LifelongError, ValueError):
    """A method, or an option of one, that does not fit where it was asked for."""


class TrainingError(LifelongError, ArithmeticError):
    """Training that broke down: a loss that is no number any more."""


class RunError(LifelongError, RuntimeError):
    """A run directory that is in use, damaged, or there already."""


class LifelongWarning(UserWarning):
    """Something goes on that does not do what its user probably expects: the message names it and says what to change."""


_HERE = str(Path(__file__).parent.parent)


def warn(text: str) -> None:
    """Issues a `LifelongWarning` at the line that called this library.

    Python shows a warning once for each line of code. Here it is shown whenever it is issued: whoever calls this decides how often that is
    (once for a guard, a learner or a run). Filters of the user apply as usual.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    warnings.warn_explicit(text, LifelongWarning, frame.f_code.co_filename, frame.f_lineno, registry={})


_NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "not enough memory", "new thread")


@contextmanager
def enough_memory(where: str) -> Iterator[None]:
    """Says of memory that cannot be had within it what to do. torch raises a RuntimeError of many kinds for it.

    Raises:
        RunError: there is not enough.
    """
    try:
        yield
    except LifelongError:
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if not isinstance(error, MemoryError) and not any(said in str(error) for said in _NO_MEMORY):
            raise
        raise RunError(
            f"{where}: not enough memory ({str(error).splitlines()[0][:200] if str(error) else 'none left'}); what was saved is kept: give "
            "it more, or a smaller batch_size, network or memory of past examples"
        ) from error


def shortened(value: object) -> str:
    """What `value` says of itself, for a message: one line of at most 200 characters."""
    said = " ".join(str(value).split())
    return said if len(said) <= 200 else f"{said[:200]}..."


_RENAMED = {"slots": "buffer_size", "batch": "batch_size", "least": "min_probability"}  # since 0.1.0


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'ewc'?)`` where a known name is near, otherwise nothing."""
    known = list(known)
    prefix, dot, last = name.rpartition(".")
    renamed = f"{prefix}{dot}{_RENAMED.get(last, last)}"
    found = [renamed] if renamed in known else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
