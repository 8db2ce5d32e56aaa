"""Processes that are forked and watched: in which phase of a run they are, how they end, and what they said."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lifelong import report
from lifelong.runs.checkpoint import Store
from lifelong.runs.run import Run
from lifelong.runs.spec import RunSpec
from lifelong.training import evaluation, task_loop
from lifelong.training.learner import Learner

PHASES = {
    "building the stream": (RunSpec, "build_stream"),
    "beginning a task": (Learner, "enter"),
    "training": (task_loop, "chunk_of_steps"),
    "ending a task": (Learner, "_leave"),
    "evaluating": (evaluation, "evaluate"),
    "saving": (Store, "save"),
    "loading": (Store, "newest"),
    "writing results": (Run, "write"),
    "reporting": (report, "write"),
}
PHASE = mmap.mmap(-1, 1)  # where a forked run is, for the process that kills it
MINUTE = 60.0


def forked(work: Callable[[], int], said: Path) -> int:
    """Starts `work` in a process of its own, whose output goes to a file; gives its number."""
    PHASE[0] = 255
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        watch_phases()
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def watch_phases(enter: Callable[[str], None] = lambda phase: None) -> None:
    """Has every phase leave its number in PHASE."""

    def within(number: int, name: str, go_on: Callable[[], Any]) -> Any:
        before, PHASE[0] = PHASE[0], number
        try:
            enter(name)
            return go_on()
        finally:
            PHASE[0] = before

    for number, (name, (owner, attribute)) in enumerate(PHASES.items()):
        around(owner, attribute, partial(within, number, name))


def around(owner: Any, name: str, do: Callable[[Callable[[], Any]], Any]) -> None:
    """Has `do` in the place of a function; it is given what the call would be."""
    real = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: do(partial(real, *args, **kwargs)))


def ended(pid: int, within: float = MINUTE) -> str:
    """Waits for a process: ``status 1``, or ``signal 9``. One that takes too long is killed and said to hang."""
    late = time.monotonic() + within
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return f"status {code}" if code >= 0 else f"signal {-code}"
        if time.monotonic() > late:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(0.002)


def call(work: Callable[[], int], said: Path) -> tuple[str, str]:
    """How a forked process ended, and what it said."""
    how = ended(forked(work, said))
    return how, said.read_text(errors="replace")


def at_call(owner: Any, name: str, n: int, do: Callable[[], None]) -> None:
    """Has the n-th call of a function, and no other, begin with `do`."""
    count = 0

    def counted(go_on: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        if count == n:
            do()
        return go_on()

    around(owner, name, counted)
