"""Random numbers by name: each purpose draws from a generator of its own, derived from the run's seed.

So adding a method, a measurement or a task shifts nobody else's draws, and a resumed run needs no history of them.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["derive", "generator"]


def derive(seed: int, name: str) -> int:
    """A 63-bit seed for the purpose `name` in the run `seed`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the purpose `name` in the run `seed`."""
    return torch.Generator(device=device).manual_seed(derive(seed, name))
