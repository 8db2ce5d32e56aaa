"""What can go wrong, in one family: each message says what was expected, what came, and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["DataError", "LifelongError", "MethodError", "RunError", "TrainingError", "enough_memory", "nearest"]


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


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'ewc'?)`` where a known name is near, otherwise nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
