"""What the benchmarks share: units of work are kept and not done again, and results go where they are asked to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from toys import squared_alone

ROOT = Path(__file__).parents[1]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import harness

    return harness


def bench(harness: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> Any:
    """A benchmark whose script was started with these arguments."""
    monkeypatch.setattr(sys, "argv", ["script.py", *flags, "--work", str(folder / "work"), "--out", str(folder)])
    return harness.Benchmark("squares", "Squares.", seeds=3, jobs=1, draws=True)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_was_done_is_not_done_again(
    jobs: str, harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    first, second = (bench(harness, monkeypatch, tmp_path, "--jobs", jobs) for _ in range(2))
    units = {("square", i): (i, marks) for i in (1, 2, 3)}
    runs = first.runs("a recipe")  # and is stopped before its end
    assert runs(squared_alone, {k: units[k] for k in list(units)[:2]}) == {("square", 1): 1, ("square", 2): 4}
    assert runs.once("chosen", lambda: {"value": 0.1}) == {"value": 0.1}
    kept = tmp_path / "work" / "squares.jsonl"
    kept.write_text(kept.read_text() + '\n{"recipe": "torn')
    with second.runs("a recipe") as runs:
        assert runs(squared_alone, units) == {("square", 1): 1, ("square", 2): 4, ("square", 3): 9}
        assert runs.once("chosen", dict) == {"value": 0.1}
    assert sorted(p.name for p in marks.iterdir()) == ["1", "2", "3"]  # each once: twice is an error
    assert not kept.parent.exists()  # all is done


def test_another_recipe_is_measured_anew(harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = bench(harness, monkeypatch, tmp_path)
    made.runs("a recipe").once("chosen", lambda: 1)
    with made.runs("another") as runs:
        assert runs.once("chosen", lambda: 2) == 2


def test_results_go_where_they_are_asked_to(harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = bench(harness, monkeypatch, tmp_path, "--seeds", "5")
    assert made.before() == {}
    assert made.recipe == {"seeds": 5}
    made.save(2, first=[1])
    made.add(1, second=[2])
    found = json.loads((tmp_path / "squares.json").read_text())
    assert (found["first"], found["second"], found["threads"]) == ([1], [2], 1)
    assert {"date", "versions", "cores"} <= found.keys()
    made.picture("squares.png", b"PNG")
    assert (tmp_path / "squares.png").read_bytes() == b"PNG"


def test_timings_in_turn(harness: Any) -> None:
    calls: list[str] = []
    found = harness.pairs(lambda: calls.append("ours"), lambda: calls.append("theirs"), 2)
    assert calls == ["ours", "theirs", "ours", "theirs", "theirs", "ours"]
    assert found["ratio_min"] <= found["ratio_median"] <= found["ratio_max"]
    assert len(found["ours"]) == len(found["by_hand"]) == 2
