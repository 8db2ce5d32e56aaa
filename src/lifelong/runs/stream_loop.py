"""The loop of one job: a learner through a stream, from where its checkpoints left it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from ..core.errors import MethodError, TrainingError, enough_memory
from ..core.stream import Stream
from ..measures.online import Trace
from ..training.learner import Learner
from ..training.plan import Pause
from .checkpoint import Store
from .run import Record
from .same_run import about, about_data, resumed
from .spec import RunSpec

__all__ = ["Watch", "follow", "graceful"]

Watch = Callable[[int, Pause | None], None]  # index of the task, where it stands (None: evaluated)


def follow(
    learner: Learner,
    stream: Stream,
    store: Store | None = None,
    spec: RunSpec | None = None,
    *,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    after: Callable[[Record], None] = lambda record: None,
    data: Mapping[str, Any] | None = None,
) -> Record:
    """A learner through a stream, from where `store` left it: the whole job in one loop. How often it saves and measures, and what it may
    cost, are those of `spec`. `data`: what `about_data` says of the stream, where that is known.

    Raises:
        KeyboardInterrupt: `stop` became true; what was learnt is saved.
        TrainingError: the loss is no number any more; the checkpoint before is kept.
        RunError: the checkpoint is another run's; the disk is full; memory is short; it went beyond its budget. The checkpoint before is kept.
    """
    spec = RunSpec() if spec is None else spec
    if spec.evaluate_every is not None and spec.evaluate_every < 1:
        raise MethodError(f"evaluate_every {spec.evaluate_every}: expected at least 1 step")
    learner.every = spec.evaluate_every
    with enough_memory(f"{learner.method.name}, seed {learner.seed}"):
        loop = _Loop(
            learner,
            stream,
            store,
            spec,
            watch=watch or (lambda index, pause: None),
            stop=stop,
            after=after,
            data=data,
        )
        return loop.run()


@final
class _Loop:
    """What `follow` has in hand."""

    def __init__(
        self,
        learner: Learner,
        stream: Stream,
        store: Store | None,
        spec: RunSpec,
        *,
        watch: Watch,
        stop: Callable[[], bool],
        after: Callable[[Record], None],
        data: Mapping[str, Any] | None,
    ) -> None:
        self.learner, self.stream, self.store = learner, stream, store
        self.every, self.budget = spec.every, spec.budget
        self.watch, self.stop, self.after = watch, stop, after
        self.record = Record.empty(len(stream))
        if learner.every is not None:
            self.record.trace = Trace(learner.every)
        self.about: dict[str, Any] = {}
        if store is not None:
            self.about = about(learner, data or about_data(stream), spec.objects.get("net"))
            saved = store.newest()
            if saved is not None:
                self.record = resumed(learner, stream, saved, self.about, store.folder)

    def run(self) -> Record:
        """Learns what is not learnt yet."""
        learner, stream, record = self.learner, self.stream, self.record
        learner.limit = self.budget.share(learner.learnt, len(stream))
        if not record.rows:
            record.add(learner, learner.evaluate(stream))
        while learner.learnt < len(stream):
            index = learner.learnt
            if learner.method.traits.once and index + 1 < len(stream):
                learner.remember(stream[index])
                record.skip()
                continue
            reached = self._train(index)
            self._measure(index, reached)
        return record

    def _train(self, index: int) -> int:
        """Learns a task, or the rest of it; gives the number of its last step."""
        learner, trace = self.learner, self.record.trace
        learner.limit = self.budget.share(index, len(self.stream))
        last_save = time.monotonic()
        reached = 0 if learner.at is None else learner.at.step
        for pause in learner.steps(self.stream[index]):
            self.watch(index, pause)
            reached = pause.step
            if trace is not None and pause.phase == "train" and trace.due(index, pause.step):
                trace.add(index, pause.step, learner.evaluate(self.stream.tasks[: index + 1]))
            stopping = learner.ranks.total(self.stop()) > 0
            if stopping or time.monotonic() - last_save >= self.every:
                if not bool(pause.loss.isfinite()):
                    raise TrainingError(
                        f"the loss is {float(pause.loss)} in task {index + 1}, step {pause.step} of {pause.steps}; the last checkpoint is "
                        "kept"
                    )
                self._save()
                last_save = time.monotonic()
            if stopping:
                raise KeyboardInterrupt
        return reached

    def _measure(self, index: int, reached: int) -> None:
        """Adds a row of R after a task, and saves it."""
        learner, record = self.learner, self.record
        measured = learner.evaluate(self.stream)
        record.add(learner, measured)
        if record.trace is not None:
            record.trace.add(index, reached, measured, cost=False)
        spent, kept = sum(record.forward) + sum(record.backward), record.memory_bytes[-1]
        self.budget.keep(spent, kept, learner.method.name, record.rows - 1, record.T)
        self._save()
        self.after(record)
        self.watch(index, None)
        if self.stop():
            raise KeyboardInterrupt

    def _save(self) -> None:
        if self.store is None:
            return
        self.learner.verify()
        if not self.learner.ranks.rank:
            state = self.learner.state_dict()
            words = {k: v for k, v in self.about.items() if k != "data"}
            state["meta"] |= {"record": self.record.to_json(), "about": words, "data": self.about["data"]}
            self.store.save(state)


@contextmanager
def graceful() -> Iterator[Callable[[], bool]]:
    """Within it the first Ctrl-C (or SIGTERM) only asks to stop at the next pause, where everything can be saved; the
    second stops at once."""
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
