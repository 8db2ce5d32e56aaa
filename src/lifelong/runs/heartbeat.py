"""The heartbeat of a run: ``progress.json``, written anew each second for as long as a process works on it.

A thread writes it, so that a step pays nothing, and that phases without a pause (a Fisher, an evaluation) still show that
somebody is at work. The file is replaced, never changed in place. It is not flushed to the disk: it means nothing without its
process, and it is removed when that process leaves in good order. Where it stays and gets old, the process was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.system import running
from .run import Job

__all__ = ["FILE", "Note", "alive", "heartbeat"]

FILE = "progress.json"
EVERY = 1.0  # seconds between two beats
FRESH, LOST = 3.0, 30.0  # seconds: so young a beat is believed; so old a one is not

Note = Callable[[Job, int | None, int, int], None]  # index of the task (None: the job has ended), step, steps


@contextmanager
def heartbeat(folder: Path) -> Iterator[Note]:
    """Within it ``progress.json`` says that this process works on `folder`, and where each job stands, as noted."""
    jobs: dict[str, dict[str, Any]] = {}
    over = threading.Event()
    beside = folder / f".{FILE}.{os.getpid()}"

    def note(job: Job, index: int | None, step: int, steps: int) -> None:
        key = f"{job.method}/{job.seed}"
        if index is None:
            jobs.pop(key, None)
            return
        was = jobs.get(key)
        began = was if was and was["task"] == index + 1 and was["steps"] else {"since": time.time(), "first": step}
        jobs[key] = {
            "task": index + 1,
            "step": step,
            "steps": steps,
            "since": began["since"],
            "first": began["first"],
        }

    def beat() -> None:
        me = {"pid": os.getpid(), "host": socket.gethostname()}
        while True:
            # a full disk, or a folder not made yet, is no reason to stop a run
            with contextlib.suppress(OSError):
                beside.write_text(json.dumps({"time": time.time(), **me, "jobs": dict(jobs)}), encoding="utf-8")
                os.replace(beside, folder / FILE)
            if over.wait(EVERY):
                break
        for path in (beside, folder / FILE):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread is to be had: the run matters more
        thread.start()
    try:
        yield note
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def alive(beat: dict[str, Any], now: float) -> bool:
    """Whether the process that wrote `beat` is at work: it is of this machine and there, or the beat is young."""
    age = now - float(beat["time"])
    if age > LOST or age < FRESH or beat["host"] != socket.gethostname():
        return age <= LOST
    return running(int(beat["pid"])) is not False
