"""How far a run is: bars on a terminal, plain lines elsewhere; on stderr, so that results can be piped."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, final

from .jobs import Message

__all__ = ["Progress"]


@final
class Progress:
    """Shows the messages of jobs. `with Progress(jobs, tasks) as progress: execute(..., progress)`."""

    def __init__(self, jobs: int, tasks: int) -> None:
        self.jobs, self.tasks = jobs, tasks
        self.began = time.monotonic()
        self._bars: dict[Any, Any] = {}
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._live = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f}%"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
            self._whole = self._live.add_task("all", total=self.jobs * self.tasks)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, message: Message) -> None:
        job = message.job
        if message.kind == "damaged":
            return
        if self._live is None:
            if message.kind == "task":
                seconds = time.monotonic() - self.began
                line = f"{job.method} seed {job.seed}: task {message.task + 1}/{self.tasks} learnt, {seconds:.0f} s"
                print(line, file=sys.stderr, flush=True)
            return
        if job not in self._bars:
            self._bars[job] = self._live.add_task(f"{job.method} seed {job.seed}", total=self.tasks)
        if message.kind in ("step", "task"):
            done = message.task + (1.0 if message.kind == "task" else message.step / max(1, message.steps))
            self._live.update(self._bars[job], completed=done)
            bars = self._live.tasks
            self._live.update(self._whole, completed=sum(t.completed for t in bars if t.id != self._whole))
        if message.kind in ("done", "failed", "stopped"):
            self._live.update(self._bars[job], visible=False)
