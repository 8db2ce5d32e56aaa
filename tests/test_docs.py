"""Every code block of the documentation runs, page by page, in an empty folder; so does every docstring example."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

import lifelong

ROOT = Path(__file__).parents[1]
TRANSLATED = sorted([*ROOT.glob("*.zh-CN.md"), *(ROOT / "docs").glob("*.zh-CN.md")])
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - set(TRANSLATED))]
SLOW = {
    "babi.md",
    "curriculum.md",
    "new-classes.md",
    "release.md",
    "tutorial.md",
    "watch.md",
}  # each takes more than ten seconds
BLOCK = re.compile(r"^```\w+\n.*?^```", re.DOTALL | re.MULTILINE)
MODULES = sorted(m.name for m in pkgutil.walk_packages(lifelong.__path__, "lifelong."))


def bash(example: Example) -> None:
    """Runs a block of commands with this Python's `lifelong`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        why = f"{example.path}:{example.line}\n{example.parsed}\n{done.stdout}{done.stderr}"
        pytest.fail(why, pytrace=False)


PYTHON = Sybil([PythonCodeBlockParser(), SkipParser()])
COMMANDS = Sybil([PythonCodeBlockParser(), CodeBlockParser("bash", bash), SkipParser()])


def parameter(page: Path) -> Any:
    return pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name in SLOW else ())


@pytest.mark.parametrize("page", map(parameter, PAGES))
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name == "trainers.md":  # these libraries warn of what torch will change
        warnings.simplefilter("ignore")
    # README's commands set up an environment and run these very tests: only its Python is run here.
    document = (PYTHON if page.name == "README.md" else COMMANDS).parse(page)
    document.namespace["__name__"] = __name__  # so that what a page's code warns of is an error, as in a test
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_a_translation_has_the_same_commands_and_pictures(page: Path) -> None:
    """So that what is run of the original holds of it, too."""
    original = page.with_name(page.name.replace(".zh-CN", ""))
    theirs, ours = (p.read_text(encoding="utf-8") for p in (original, page))
    assert BLOCK.findall(ours) == BLOCK.findall(theirs)
    pictures = re.compile(r"!\[.*?\]\((.*?)\)")
    assert pictures.findall(ours) == pictures.findall(theirs)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert not failed
