"""Random numbers by name: each purpose draws from a generator of its own, derived from the run's seed.

So adding a method, a measurement or a task shifts nobody else's draws, and a resumed run needs no history of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive", "generator", "untouched"]


def derive(seed: int, name: str) -> int:
    """A 63-bit seed for the purpose `name` in the run `seed`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the purpose `name` in the run `seed`."""
    return torch.Generator(device=device).manual_seed(derive(seed, name))


@contextmanager
def untouched() -> Iterator[None]:
    """Puts the states of the generators that everybody shares (torch's, numpy's, Python's) back as they were: somebody's data set may draw from
    them when it is read."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (somebody may draw from it)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
