"""What can go wrong, in one family: each message says what was expected, what came, and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "LifelongError", "MethodError", "RunError", "TrainingError", "nearest"]


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


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'ewc'?)`` where a known name is near, otherwise nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
