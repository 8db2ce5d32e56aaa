"""What surrounds one call of the command line: SIGTERM, warnings as lines on stderr, and imports that take long."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ..core.progress import doing, say
from ..core.warnings_heard import heard

__all__ = ["import_all", "new_folder", "reporting", "terminable", "warned"]

WAITING = ("watch", "track")  # commands that wait for others

warned: set[str] = set()  # the texts of this call's warnings


@contextmanager
def reporting(args: Sequence[str]) -> Iterator[None]:
    """Within it each warning of the library is a line, and a command that is at work without a word says so now and then."""
    began = time.monotonic()
    warned.clear()

    def tell(text: str) -> None:
        warned.add(text)
        say(f"lifelong: warning: {text}")

    with ExitStack() as stack:
        stack.enter_context(heard(tell))
        if args and args[0] not in WAITING:
            stack.enter_context(doing(lambda: f"lifelong {args[0]}: at work, {time.monotonic() - began:.0f} s"))
        yield


@contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM ends a command as Ctrl-C does."""

    def handle(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def import_all() -> None:
    """Imports what takes long, with Ctrl-C held back: a broken import leaves a module half made."""
    from ..core.system import held_back

    parts = ("demo.demo", "runs.jobs", "runs.fitting", "methods", "nets", "streams", "report")
    with held_back():
        for name in ("torch", *(f"lifelong.{part}" for part in parts)):
            import_module(name)


def new_folder(what: str) -> Path:
    """The directory that a command writes to where none is named: ``runs/DATE_WHAT``."""
    return Path("runs") / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{what}"
