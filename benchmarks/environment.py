"""What a measurement depends on, for the files that the benchmarks write."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version

__all__ = ["environment"]


def environment(threads: int) -> dict[str, object]:
    """Versions, cores, threads, date."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("lifelong", "torch", "numpy")} | {"python": platform.python_version()},
        "cores": os.cpu_count(),
        "threads": threads,
    }
