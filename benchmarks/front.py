"""What README.md says of the measurements, written between two marks: speed beside others, and published numbers met and missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stored import RESULTS

__all__ = ["front"]

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- measured: written by benchmarks/tables.py -->", "<!-- measured: end -->"
SAID = {
    "en": (
        "| the same job | times faster than avalanche-lib 0.6.0 |\n|---|---|\n",
        "Ratios of one run on two threads, R included ([details](docs/benchmarks.md), `python benchmarks/peers.py`).",
        "Published numbers with a verdict ([results](docs/results.md), each beside its command): **{met} met, {missed} missed**.",
        " Missed: ",
    ),
    "zh-CN": (
        "| 同一件工作 | 比 avalanche-lib 0.6.0 快多少倍 |\n|---|---|\n",
        "比值取自同一次运行，两个线程，包括 R（[详情](docs/benchmarks.md)，`python benchmarks/peers.py`）。",
        "与论文公布数字的对照（[结果](docs/results.md)，各附命令）：**{met} 个达到，{missed} 个未达到**。",
        "未达到：",
    ),
}


def verdicts(results: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Each number that a paper printed and that was judged: in which table, what it is, and whether ours agrees."""

    def judged(where: str, name: str, verdict: str) -> Iterator[tuple[str, str, bool]]:
        if verdict in ("agrees", "differs"):
            yield where, name, verdict == "agrees"

    for protocol in ("split_2019", "split_2022", "permuted_2019"):
        for scenario, part in results.get(protocol, {}).get("scenarios", {}).items():
            for method, cell in part["cells"].items():
                yield from judged(f"{protocol.replace('_', ' ')} ({scenario})", method, cell["verdict"])
    for row, cell in results.get("gem", {}).get("table", {}).get("rotations", {}).items():
        method, epochs = row.rsplit(", ", 1)
        for measure, verdict in zip(("ACC", "BWT"), cell["verdict"]):
            yield from judged("GEM's rotations", f"{method} {measure} at {epochs} epoch(s)", verdict)
    for part in ("joint", "each"):
        if part in results.get("babi", {}):
            yield from judged("bAbI", part, results["babi"][part]["verdict"])


def block(results: dict[str, Any], language: str) -> str:
    header, speed, published, missing = SAID[language]
    jobs = results["peers"]["jobs"]
    rows = "".join(
        f"| `{job.split(',')[0]}`{', batch 10' * ('online' in job)} | {r['ratio_median']:.1f} |\n"
        for job, r in sorted(jobs.items(), key=lambda item: -item[1]["ratio_median"])
        if "classic" in job
    )
    found = list(verdicts(results))
    missed: dict[str, list[str]] = {}
    for where, name, met in found:
        if not met:
            missed.setdefault(where, []).append(name)
    n = sum(map(len, missed.values()))
    counts = published.format(met=len(found) - n, missed=n)
    told = "; ".join(f"{where}: {', '.join(names)}" for where, names in missed.items())
    return f"{BEGIN}\n{header}{rows}\n{speed}\n\n{counts}{missing}{told}.\n{END}"


def front() -> None:
    """Writes the block into README.md and its translation."""
    results = {p.stem: json.loads(p.read_text()) for p in RESULTS.glob("*.json")}
    for page, language in ((ROOT / "README.md", "en"), (ROOT / "README.zh-CN.md", "zh-CN")):
        if not page.exists():
            continue
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        if rest:
            page.write_text(before + block(results, language) + after, encoding="utf-8")
