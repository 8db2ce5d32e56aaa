"""Where the results of the benchmarks are stored, and what is stored there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "RESULTS", "load"]

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def load(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
