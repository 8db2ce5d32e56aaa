"""Runs of every method that answers by itself, and an export of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifelong.release import export
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec
from release_cases import CASES, SMALL


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for scenario in ("class", "task"):
        made[scenario] = tmp_path_factory.mktemp("runs") / scenario
        config = {**SMALL, "scenario": scenario, "method": ",".join(m for s, m in CASES if s == scenario)}
        config |= {"expert_gate.gate_epochs": 1, "expert_gate.code": 8, "stream.examples": 600}
        if scenario == "class":
            config["grow.threshold"] = 0.99
        execute(RunSpec.from_keys(config), made[scenario])
    return made


@pytest.fixture(scope="session")
def exported(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of iCaRL, whose state is small and has tensors."""
    return export(runs["class"], tmp_path_factory.mktemp("exports") / "icarl", method="icarl").folder
