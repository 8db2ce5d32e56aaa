"""Runs that are watched: two laid out by hand, and a real one that is finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from run_folders import finished, lay_out
from watched_pages import serving


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, finished."""
    return finished(tmp_path_factory.mktemp("runs") / "done")


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    lay_out(tmp_path / "runs" / "first", {"ewc/0": 2, "ewc/1": 0, "joint/0": 5})
    lay_out(tmp_path / "runs" / "deep" / "second", {"finetune/0": 3}, running=False)
    return serving(tmp_path / "runs")
