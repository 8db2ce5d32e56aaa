"""The example programs run, and show what they are there to show."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


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


@pytest.mark.filterwarnings("ignore")  # the trainers' own: a missing GPU, few workers, names to come
@pytest.mark.parametrize("name", ["huggingface_trainer", "lightning_trainer", "accelerate_loop"])
def test_trainers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Fine-tuning comes first, and each method after it does better."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    means = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if " mean " in line]
    assert len(means) > 1
    assert all(mean > means[0] + 0.03 for mean in means[1:])
