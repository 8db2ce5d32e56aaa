"""How far a run is: bars on a terminal, plain lines elsewhere; on stderr, so that results can be piped."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, final

from ..core.progress import doing, say
from .jobs import Message

__all__ = ["Progress"]


@final
class Progress:
    """Shows the messages of jobs. `with Progress(jobs, tasks) as progress: execute(..., progress)`."""

    def __init__(self, jobs: int, tasks: int) -> None:
        self.jobs, self.tasks = jobs, tasks
        self.began = time.monotonic()
        self._at: dict[Any, Message] = {}  # what each job that is under way last said
        self._stack = ExitStack()
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
        self._stack.enter_context(doing(self.state))
        if self._live is not None:
            self._live.start()
            self._whole = self._live.add_task("all", total=self.jobs * self.tasks)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._stack.close()

    def state(self) -> str:
        """Where the jobs that are under way stand, in a line."""
        each = [
            f"{job.method} seed {job.seed}: task {min(m.task + (m.kind == 'task') + 1, self.tasks)}/{self.tasks}"
            + (f", step {m.step}/{m.steps}{', its end' if m.step >= m.steps else ''}" if m.steps else "")
            for job, m in list(self._at.items())
        ]
        return f"{'; '.join(each) or 'at work'}, {time.monotonic() - self.began:.0f} s"

    def __call__(self, message: Message) -> None:
        job = message.job
        if message.kind in ("damaged", "warned"):
            return
        if message.kind in ("done", "failed", "stopped"):
            self._at.pop(job, None)
        else:
            self._at[job] = message
        if self._live is None:
            if message.kind == "task":
                seconds = time.monotonic() - self.began
                say(f"{job.method} seed {job.seed}: task {message.task + 1}/{self.tasks} learnt, {seconds:.0f} s")
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
