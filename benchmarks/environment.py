"""What a measurement depends on, and the files that the benchmarks write."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["DOCS", "RESULTS", "environment", "save"]

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def environment(threads: int) -> dict[str, object]:
    """Versions, cores, threads, date."""
    versions = {name: version_of(name) for name in ("lifelong", "torch", "numpy")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {**versions, "python": platform.python_version()},
        "cores": os.cpu_count(),
        "threads": threads,
    }


def version_of(name: str) -> str:
    """That of an installed package; another environment may use the library from its folder."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def save(name: str, threads: int, **what: object) -> None:
    """Writes results/NAME.json and the tables of docs/ that are made of it."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**environment(threads), **what}, indent=1) + "\n")
    from tables import write

    write()
