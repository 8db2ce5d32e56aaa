"""Independent calls, here or in several processes of one thread each, told as they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

__all__ = ["each"]

T = TypeVar("T")


def each(function: Callable[..., T], work: Sequence[tuple[Any, ...]], jobs: int = 1) -> Iterator[tuple[int, T]]:
    """``(i, function(*work[i]))`` for all i, in the order in which they are done. With several jobs `function` and what it is
    given must be picklable; nothing is pickled to disk."""
    if jobs <= 1 or len(work) <= 1:
        for i, given in enumerate(work):
            yield i, function(*given)
        return
    with ProcessPoolExecutor(
        min(jobs, len(work)), mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        asked = {pool.submit(function, *given): i for i, given in enumerate(work)}
        try:
            for done in as_completed(asked):
                yield asked[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
