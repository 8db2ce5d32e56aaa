"""How pictures look: colours that are kept, light and dark, and nobody's settings changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lifelong.measures.matrix import RMatrix
from lifelong.report import read
from written_results import FREE


def test_a_method_keeps_its_colour(run: Path) -> None:
    from lifelong.report.figures import colours

    style = colours([*(f"m{i}" for i in range(16)), "finetune", "joint", "joint_once"])
    assert len(set(style.values())) == len(style)
    assert colours(["ewc", "si"])["ewc"] == colours(["finetune", "ewc", "joint"])["ewc"]


def test_svg_follows_light_and_dark(run: Path) -> None:
    from lifelong.report import figures

    text = figures.svg(figures.heat(RMatrix(FREE), ["a", "b", "c"]))
    assert "prefers-color-scheme:dark" in text
    assert "var(--c0)" in text
    assert text.count(figures.INK) == 1  # only where the variable is set


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = (
        "import sys, lifelong.report; from lifelong.report import Results, as_text;"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_leaves_the_settings_alone(run: Path) -> None:
    import matplotlib

    from lifelong.report import figures

    before = dict(matplotlib.rcParams)
    figures.svg(figures.costs(read(run)))
    assert dict(matplotlib.rcParams) == before
