"""Warnings of this library on their way to whoever asked: a command prints each as a line, a job sends them to the process that wants it done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import LifelongWarning

__all__ = ["heard"]


@contextmanager
def heard(tell: Callable[[str], None], instead: bool = True) -> Iterator[None]:
    """Within it the text of each `LifelongWarning` that Python would show goes to `tell`, each text once; `instead`: of being shown. Warnings
    of others are shown as they are without it, and so is what `tell` itself issues."""
    said: set[str] = set()
    telling = False
    show = warnings.showwarning

    def shown(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        nonlocal telling
        if telling or not issubclass(category, LifelongWarning):
            show(message, category, *where, **more)
            return
        text = str(message)
        if text not in said:
            said.add(text)
            telling = True
            try:
                tell(text)
            finally:
                telling = False
            if not instead:
                show(message, category, *where, **more)

    warnings.showwarning = shown
    try:
        yield
    finally:
        warnings.showwarning = show
