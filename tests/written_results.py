"""A folder of results written by hand, with matrices whose measures are known, and the words of a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.report.results import HEADER

NAN = float("nan")

# Rows: untrained, after task 1, 2, 3.
FREE = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.5, 0.8, 0.3], [0.3, 0.5, 0.9]])
HELD = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.8, 0.8, 0.3], [0.8, 0.7, 0.8]])
JOINT = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.9, 0.9, 0.3], [0.9, 0.9, 0.9]])
MATRICES = {
    "finetune": {0: FREE, 1: FREE - 0.02, 2: FREE + 0.02},
    "ewc": {0: HELD, 1: HELD + 0.01, 2: HELD + 0.03},
    "joint": {0: JOINT, 1: JOINT, 2: JOINT},
}


def lay_out(
    directory: Path,
    matrices: Mapping[str, Mapping[int, np.ndarray]] = MATRICES,
    tasks: tuple[str, ...] = ("zero", "one", "two"),
    stream: str = "digits",
    scenario: str = "domain",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    lead: tuple[Any, ...]
    rows: list[list[Any]] = []
    for method, of_seed in matrices.items():
        for seed, R in of_seed.items():
            T = R.shape[1]
            lead = (stream, scenario, method, seed)
            for (after, j), value in np.ndenumerate(R):
                rows.append([*lead, after, j + 1, "accuracy", value, 100, 0.01])
            for t in range(1, T + 1):
                rows.append([*lead, t, "", "train_seconds", 2.0 + seed, "", ""])
                rows.append([*lead, t, "", "memory_bytes", 1500 * t, "", ""])
            rows.append([*lead, T, "", "parameters", 1234, "", ""])
    with (directory / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER.split(","), *rows])
    (directory / "summary.json").write_text(json.dumps({"schema": 1, "tasks": tasks}))
    manifest = {
        "versions": {"torch": "9.9.9"},
        "machine": {"cores": 2},
        "seeds": [0, 1, 2],
        "source": "https://example.org/digits <raw>",
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "config.yaml").write_text("ewc.strength: 10 # <b>strong</b>\n")
    return directory


class Page(HTMLParser):
    """What a page holds: its tags with attributes, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u202f", "").split())

    def ids(self) -> set[str | None]:
        return {a["id"] for _, a in self.tags if "id" in a}
