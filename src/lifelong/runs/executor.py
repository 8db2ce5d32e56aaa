"""Independent calls, here, in several processes of one thread each, or on a Ray cluster, told as they come in.

What is done in what order depends on the engine; what comes out does not. A call whose process died is made again, so that a call that
keeps checkpoints loses what it did since the last.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast, final

from ..core import code
from ..core.errors import MethodError, RunError, warn
from ..core.system import GROUPS, heard_again, held_back
from ..core.warnings_heard import heard

__all__ = ["TRIES", "Engine", "Hear", "Local", "Stop", "Work", "each", "engine_of", "never"]

T = TypeVar("T")
Hear = Callable[[Any], None]
Stop = Callable[[], bool]
Work = Sequence[tuple[Any, ...]]
TRIES = 3  # calls that one piece of work is given, if its process dies


def never() -> bool:
    return False


class Engine(ABC):
    """Where work is done."""

    @abstractmethod
    def each(
        self, function: Callable[..., T], work: Work, hear: Hear | None = None, stop: Stop = never
    ) -> Iterator[tuple[int, T]]:
        """``(i, function(*work[i]))`` for all i, in the order in which they are done.

        Args:
            function: with what it is given, picklable where it is done elsewhere; nothing is pickled to disk.
            work: its arguments.
            hear: gets, here, what the function says: it is then called with a further argument, ``tell``.
            stop: is asked now and then whether to stop.

        Raises:
            RunError: a process died again and again.
            KeyboardInterrupt: stopped; the others were asked to stop, and have.
        """

    @property
    @abstractmethod
    def here(self) -> bool:
        """Whether all is done within this process."""


def each(function: Callable[..., T], work: Work, jobs: int | Engine = 1) -> Iterator[tuple[int, T]]:
    """``(i, function(*work[i]))`` for all i, in the order in which they are done, in so many processes or by an engine."""
    return engine_of(jobs).each(function, work)


def engine_of(jobs: int | Engine) -> Engine:
    """Local processes, where a number is given."""
    return Local(jobs) if isinstance(jobs, int) else jobs


@final
@dataclass(frozen=True)
class Local(Engine):
    """This process, or several of this machine.

    Args:
        jobs: how many processes; 1: this one.
    """

    jobs: int = 1

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise MethodError(f"jobs {self.jobs}: expected at least 1 process")

    @property
    def here(self) -> bool:
        return self.jobs == 1

    def each(
        self, function: Callable[..., T], work: Work, hear: Hear | None = None, stop: Stop = never
    ) -> Iterator[tuple[int, T]]:
        if self.jobs > 1 and len(work) > 1:
            yield from _Processes(function, work, hear, stop).results(min(self.jobs, len(work)))
            return
        for i, given in enumerate(work):
            if stop():
                raise KeyboardInterrupt
            yield i, function(*given) if hear is None else function(*given, hear)


@final
class _Processes:
    """Some processes, each with a pipe of its own: one that is killed takes no lock along."""

    def __init__(self, function: Callable[..., Any], work: Work, hear: Hear | None, stop: Stop) -> None:
        self.function, self.work, self.hear, self.stop = function, work, hear, stop
        self.todo = deque(range(len(work)))
        self.tries = Counter[int]()
        self.workers: dict[Connection, tuple[Any, int]] = {}  # its process and what it does

    def results(self, jobs: int) -> Iterator[tuple[int, Any]]:
        try:
            for _ in range(jobs):
                self._start()
            while self.workers:
                if self.stop():
                    raise KeyboardInterrupt
                for pipe in wait(list(self.workers), timeout=0.2):
                    pipe = cast(Connection, pipe)  # its like has another class on Windows
                    try:
                        kind, value = pipe.recv()
                    except (EOFError, OSError):
                        self._died(pipe)
                        continue
                    if kind == "said":
                        assert self.hear is not None
                        self.hear(value)
                    elif kind == "warned":
                        warn(value)
                    elif kind == "stopped":
                        raise KeyboardInterrupt
                    elif kind == "raised":
                        raise value
                    else:
                        i = self.workers[pipe][1]
                        self._next(pipe)
                        yield i, value
        finally:
            self._stop()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        pipe, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(theirs, os.getpid(), code.files(), self.function, self.hear is not None)
        )
        if GROUPS:
            resource_tracker.ensure_running()  # by itself it would let Ctrl-C through again
        with held_back():  # the process is not broken off while it imports
            process.start()
        theirs.close()
        self.workers[pipe] = (process, -1)
        self._next(pipe)

    def _next(self, pipe: Connection) -> None:
        process, _ = self.workers[pipe]
        if not self.todo:
            del self.workers[pipe]
            pipe.close()  # it ends by itself
            process.join()
            return
        i = self.todo.popleft()
        self.workers[pipe] = (process, i)
        try:
            pipe.send(self.work[i])
        except BrokenPipeError:
            self._died(pipe)

    def _died(self, pipe: Connection) -> None:
        process, i = self.workers.pop(pipe)
        pipe.close()
        process.join()
        self.tries[i] += 1
        if self.tries[i] == TRIES:
            raise RunError(
                f"the process of one job ended {TRIES} times, the last time with status {process.exitcode} (too little memory?); what was "
                "learnt is saved: say the same again, or resume"
            )
        self.todo.appendleft(i)
        self._start()

    def _stop(self) -> None:
        """Asks those that still work to stop, and waits until they have saved. Without groups (on Windows) Ctrl-C has reached them as well, and
        a signal from here would end them unsaved."""
        for pipe, (process, _) in self.workers.items():
            with suppress(OSError):
                pipe.send(None)  # for one that has nothing to do: the interrupt may be lost before it asks
            if process.is_alive() and GROUPS:
                os.kill(process.pid, signal.SIGINT)
        for pipe, (process, _) in self.workers.items():
            while process.is_alive():  # what they say would fill the pipe
                if pipe.poll(0.1):
                    try:
                        pipe.recv()
                    except (EOFError, OSError):
                        break
            process.join()
            pipe.close()


def _serve(pipe: Connection, parent: int, files: Sequence[str], function: Callable[..., Any], tells: bool) -> None:
    import torch

    def follow_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if GROUPS:
        os.setpgid(0, 0)  # Ctrl-C reaches the parent, which asks each once: a second time would mean "at once"
    if not heard_again():
        return
    threading.Thread(target=follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    code.load_files(files)

    def tell(what: Any) -> None:
        pipe.send(("said", what))

    def work(given: tuple[Any, ...]) -> Any:
        with heard(lambda text: pipe.send(("warned", text))):
            return function(*given, tell) if tells else function(*given)

    while True:
        try:
            given = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        except Exception as error:  # of reading objects of somebody's classes
            refusal = f"what one process is given, another cannot read ({type(error).__name__}: {error}): ask for one process (jobs 1)"
            pipe.send(("raised", MethodError(refusal)))
            return
        if given is None:
            return
        try:
            pipe.send(("done", work(given)))
        except KeyboardInterrupt:
            pipe.send(("stopped", None))
            return
        except Exception as error:
            error.add_note(traceback.format_exc())  # of the other process
            try:
                pipe.send(("raised", error))
            except Exception:
                pipe.send(("raised", RunError(traceback.format_exc())))  # an error that cannot be sent
            return
