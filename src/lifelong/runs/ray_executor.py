"""Work on a Ray cluster that is there already (Ray Core; Moritz et al. 2018, arXiv 1712.05889): the extra ``ray``.

All machines must see the directory of results under the same path and hold the same versions of what computes. A call whose worker or
machine died is made again elsewhere, and goes on from the checkpoints that lie there.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, final

from ..core.errors import MethodError, RunError, warn
from ..core.warnings_heard import heard
from .executor import TRIES, Engine, Hear, Stop, Work, never

__all__ = ["Ray"]

T = TypeVar("T")
GRACE = 60.0  # seconds for what is asked to stop


@final
@dataclass(frozen=True)
class Ray(Engine):
    """A Ray cluster.

    Args:
        address: of its head, ``HOST:PORT``; auto: of the one that runs on this machine.
        jobs: the most at a time; default: as many as there are processors.
        threads: processors that a job takes.
    """

    address: str = "auto"
    jobs: int | None = None
    threads: int = 1

    @property
    def here(self) -> bool:
        return False

    def each(
        self, function: Callable[..., T], work: Work, hear: Hear | None = None, stop: Stop = never
    ) -> Iterator[tuple[int, T]]:
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            try:
                ray.init(address=self.address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                raise RunError(
                    f"no Ray cluster at {self.address!r} ({str(error).splitlines()[0]}): start one (ray start --head) and say its --address "
                    "HOST:PORT, or leave --engine ray out"
                ) from error
        try:
            yield from self._results(ray, function, work, hear, stop)
        finally:
            if ours:
                ray.shutdown()

    def _results(
        self, ray: Any, function: Callable[..., T], work: Work, hear: Hear | None, stop: Stop
    ) -> Iterator[tuple[int, T]]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        listener = None if hear is None else ray.remote(num_cpus=0, scheduling_strategy=here)(_Listener).remote()
        call = ray.remote(
            num_cpus=self.threads, max_retries=TRIES - 1, retry_exceptions=False, scheduling_strategy="SPREAD"
        )(_call)
        about = ray.put(_about())
        placed: dict[int, Any] = {}  # what several calls are given travels once
        often = Counter(id(x) for given in work for x in given)

        def sent(value: Any) -> Any:
            if often[id(value)] < 2 or isinstance(value, int | float | str | bool | None):
                return value
            if id(value) not in placed:
                placed[id(value)] = ray.put(value)
            return placed[id(value)]

        def listen() -> None:
            if hear is not None and listener is not None:
                for said in ray.get(listener.taken.remote()):
                    hear(said)

        todo, pending = list(range(len(work)))[::-1], dict[Any, int]()
        most = self.jobs or len(work)
        try:
            while todo or pending:
                if stop():
                    raise KeyboardInterrupt
                while todo and len(pending) < most:
                    i = todo.pop()
                    pending[call.remote(about, listener, function, *map(sent, work[i]))] = i
                ready, _ = ray.wait(list(pending), timeout=0.2)
                listen()
                for ref in ready:
                    i = pending.pop(ref)
                    try:
                        kind, value, warned = ray.get(ref)
                    except ray.exceptions.TaskCancelledError:
                        raise KeyboardInterrupt from None
                    except ray.exceptions.RayTaskError:  # an error of what was called, and not of who did it
                        raise
                    except ray.exceptions.RayError as error:
                        raise RunError(
                            f"a job was lost {TRIES} times ({str(error).splitlines()[0]}); what was learnt is saved: say the same again, or "
                            "resume"
                        ) from error
                    for text in warned:
                        warn(text)
                    if kind == "raised":
                        raise value
                    yield i, value
        finally:
            for ref in pending:
                ray.cancel(ref)
            if pending:
                ray.wait(list(pending), num_returns=len(pending), timeout=GRACE)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError as error:
        raise MethodError(f"Ray is not installed ({error}): pip install 'lifelong[ray]'") from error
    return ray


@final
class _Listener:
    """Holds what jobs say until the process that asked for them listens."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def hear(self, what: Any) -> None:
        self.said.append(what)

    def taken(self) -> list[Any]:
        said, self.said = self.said, []
        return said


def _about() -> dict[str, Any]:
    """What must be the same where the work is done."""
    return {
        "versions": {name: version(name) for name in ("lifelong", "torch", "numpy")}
        | {"python": platform.python_version()},
        "environment": {k: v for k, v in os.environ.items() if k.startswith("LIFELONG_")},
        "folder": os.getcwd(),
    }


def _call(
    about: dict[str, Any], listener: Any, function: Callable[..., Any], *given: Any
) -> tuple[str, Any, list[str]]:
    """In a worker: whether it was done or raised, what came of it, and of what it warned."""
    import ray
    import torch

    from ..core.errors import LifelongError

    mine = _about()["versions"]
    if mine != about["versions"]:
        error = RunError(
            f"{platform.node()} has {mine}, this machine {about['versions']}: install the same on all, as results would differ"
        )
        return "raised", error, []
    os.environ.update(about["environment"])
    if Path(about["folder"]).is_dir():
        os.chdir(about["folder"])  # relative paths mean what they mean to who asked
    torch.set_num_threads(1)
    last: Any = None

    def tell(what: Any) -> None:
        nonlocal last
        last = listener.hear.remote(what)

    warned: list[str] = []
    try:
        with heard(warned.append):
            found = "done", function(*given) if listener is None else function(*given, tell)
    except LifelongError as error:
        found = "raised", error
    if last is not None:
        ray.get(last)  # all that was said has arrived
    return *found, warned
