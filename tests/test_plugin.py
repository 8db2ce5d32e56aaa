"""The plug-in of `examples/plugin`, installed: the command line finds what it adds, and its own tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "plugin"

pytest.importorskip("hatchling", reason="needs hatchling: pip install -e '.[test]'")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the built package, as an installation does."""
    folder = tmp_path_factory.mktemp("plugin")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")], cwd=PLUGIN)
    [wheel] = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(command: list[str], cwd: Path, site: Path | None = None) -> str:
    path = os.pathsep.join(filter(None, [str(site or ""), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(command, cwd=cwd, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_command_line_finds_what_it_adds(installed: Path, tmp_path: Path) -> None:
    lifelong = [sys.executable, "-c", "import sys; from lifelong.cli import main; sys.exit(main())"]
    listed = run([*lifelong, "methods"], tmp_path, installed)
    assert "pull" in listed
    assert "lifelong-pull" in listed
    given = ["--stream", "drifting", "--stream.tasks", "2", "--net", "narrow", "--net.units", "8"]
    given += ["--method", "pull,finetune", "--pull.strength", "0.05", "--epochs", "1", "--out", "run"]
    run([*lifelong, "run", *given], tmp_path, installed)
    assert "pull" in (tmp_path / "run" / "results.csv").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "report.html").stat().st_size
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert config.partition("sha256:")[2].count("lifelong_pull.") == 3
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    for source in site.rglob("*.py"):
        source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    with pytest.raises(
        AssertionError, match="has changed since this run began"
    ):  # its SHA-256 is recorded as that of any code is
        run([*lifelong, "resume", "run"], tmp_path, site)


def test_its_own_tests_pass(installed: Path) -> None:
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "."], PLUGIN, installed)
