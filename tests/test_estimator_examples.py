"""The example programs run, and show what they are there to show."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def main(monkeypatch: pytest.MonkeyPatch, name: str, *args: str) -> dict[str, float]:
    monkeypatch.setattr(sys, "argv", [name, *args])
    found: dict[str, float] = runpy.run_path(str(EXAMPLES / name))["main"]()
    return found


def test_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = main(monkeypatch, "sklearn_partial_fit.py")
    assert found["replay"] > found["fine-tuning"] + 0.3


def test_river(monkeypatch: pytest.MonkeyPatch) -> None:
    found = main(monkeypatch, "river_elec.py", "--rows", "500")
    assert min(found.values()) > 0.6


def test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    found = main(monkeypatch, "images.py")
    assert found["latent replay"] > found["fine-tuning"] + 0.1
