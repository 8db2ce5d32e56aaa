"""A run's folder written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from written_results import lay_out


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("runs") / "first")
