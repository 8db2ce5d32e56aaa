"""What a command says while it works: lines on stderr, so that results can be piped."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .system import held_back

__all__ = ["doing", "say"]

EVERY = 10.0  # seconds after which a command that prints nothing says that it is at work
SELDOM = 60.0  # the same, once it has been at work for ten times as long

_said = time.monotonic()  # when the last line was printed
_doing: list[Callable[[], str]] = []  # what is going on, the innermost last


def say(line: str) -> None:
    """Prints a line on stderr, at once."""
    global _said
    _said = time.monotonic()
    print(line, file=sys.stderr, flush=True)


@contextmanager
def doing(what: Callable[[], str]) -> Iterator[None]:
    """Within it, where stderr is no terminal, `what` is printed now and then while nothing else is said: every ten seconds at first, every
    minute in the end. Of several, one within the other, it is the innermost."""
    global _said
    over = threading.Event()
    _doing.append(what)
    if len(_doing) == 1 and not sys.stderr.isatty():
        _said = time.monotonic()
        # no thread is to be had: the work matters more; and one that Ctrl-C reached would hand it on while the main thread holds it back
        with contextlib.suppress(RuntimeError), held_back():
            threading.Thread(target=_remind, args=(over,), name="doing", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _doing.remove(what)


def _remind(over: threading.Event) -> None:
    began = time.monotonic()

    def left() -> float:
        now = time.monotonic()
        return _said + min(SELDOM, max(EVERY, (now - began) / 10)) - now

    while not over.wait(max(0.01, left())):
        if left() <= 0:
            with contextlib.suppress(OSError, ValueError, IndexError):  # nobody reads any more, or it has just ended
                say(_doing[-1]())
