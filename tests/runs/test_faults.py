"""What `benchmarks/faults.py` does at length, in short: whatever happens to a run, it ends in order or goes on, to the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"
pytestmark = pytest.mark.slow
FAULTS = ["kills", "terms", "disk", "damage", "forged", "archives", "configurations", "numbers", "twice", "memory"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("faults")
    few = ["--kills", "2", "--cases", "2", "--methods", "gem,fearnet,progressive", "--out", str(out)]
    done = subprocess.run([sys.executable, str(SCRIPT), *few], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((out / "faults.json").read_text())["faults"]
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_and_each_error_is_clear(fault: str, figures: dict[str, Any]) -> None:
    found = figures[fault]
    assert found["cases"]
    assert found["unclear"] == []
    assert found["lost"] == []
    assert found["differing"] == 0
    assert found["bits"] or fault in ("forged", "archives", "configurations")


def test_each_fault_happened(figures: dict[str, Any]) -> None:
    assert figures.keys() == set(FAULTS)
    assert figures["kills"]["by_method"] == {"gem": 2, "fearnet": 2, "progressive": 2}
    assert any("status 1" in how for how in figures["memory"]["ended"])
    assert any("status 130" in how for how in figures["terms"]["ended"])
    assert figures["disk"]["writes_of_a_run"] > 20
