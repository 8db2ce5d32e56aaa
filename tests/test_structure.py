"""The bounds of the structure: how long files and functions are, how deep folders go, and which room imports which.

A room is a folder of src/lifelong with Python in it, or a module directly in src/lifelong. Imports within functions and under
TYPE_CHECKING count as well: what is imported late is needed all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lifelong"
FOLDERS = ("src", "tests", "benchmarks", "examples")

LINES_OF_A_FILE = 500
LINES_OF_A_FUNCTION = 60  # without its docstring
MODULES = 12  # directly in src/lifelong
ROOMS = 24
FLOORS = 10

# Longer than that for now: whoever shortens one takes it out (the test says where one has become needless).
TOO_LONG_FOR_NOW: set[str] = set()

Edges = Mapping[tuple[str, str], str]  # of rooms, the importing one first: where it does


# --- measuring -----------------------------------------------------------------------------------------------------------
def too_long(root: Path) -> set[str]:
    """Files and functions (``file:function``) below `root` that are too long."""
    found = set()
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        if len(text.splitlines()) > LINES_OF_A_FILE:
            found.add(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LINES_OF_A_FUNCTION:
                found.add(f"{name}:{node.name}")
    return found


def sources(root: Path) -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def room(path: Path, package: Path) -> str:
    """``core`` for ``core/errors.py``; the package's own name for its ``__init__.py``."""
    first = path.relative_to(package).parts[0]
    return package.name if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """The modules of the package that a file imports, by line and dotted name: ``lifelong.core.errors``."""
    here = (package.name, *path.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            before = here[: len(here) - node.level + 1] if node.level else ()
            module = ".".join((*before, *([node.module] if node.module else [])))
            for alias in node.names:  # from .. import report: a room is imported by its name
                yield node.lineno, f"{module}.{alias.name}"


def edges(package: Path) -> dict[tuple[str, str], str]:
    rooms = {room(path, package) for path in package.rglob("*.py")}
    found: dict[tuple[str, str], str] = {}
    for path in sorted(package.rglob("*.py")):
        here = room(path, package)
        for line, name in imported(path, package):
            parts = name.split(".")
            if parts[0] != package.name:
                continue
            there = parts[1] if len(parts) > 1 and parts[1] in rooms else package.name
            if there != here:
                found.setdefault((here, there), f"{path.relative_to(package.parent).as_posix()}:{line}")
    return found


def file_edges(package: Path) -> dict[tuple[str, str], str]:
    """As `edges`, of files: ``core.errors``, and ``core`` for a folder's ``__init__.py``."""

    def called(path: Path) -> str:
        return ".".join((package.name, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")

    files = {called(path) for path in package.rglob("*.py")}
    found: dict[tuple[str, str], str] = {}
    for path in sorted(package.rglob("*.py")):
        for line, name in imported(path, package):
            parts = name.split(".")
            whole = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            there = next((n for n in whole if n in files), None)
            if there not in (None, called(path)):
                found.setdefault((called(path), there), f"{path.relative_to(package.parent).as_posix()}:{line}")
    return found


def circle(found: Edges) -> list[str]:
    """Some rooms that import one another in a circle, with the places where they do; empty where there is none."""
    after: dict[str, list[str]] = {}
    for here, there in found:
        after.setdefault(here, []).append(there)
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> list[str]:
        if name in way:
            around = (*way[way.index(name) :], name)
            return [f"{a} imports {b} ({found[a, b]})" for a, b in pairwise(around)]
        for there in () if name in done else after.get(name, ()):
            if worse := walk(there, (*way, name)):
                return worse
        done.add(name)
        return []

    return next((worse for name in sorted(after) if (worse := walk(name, ()))), [])


def longest_chain(found: Edges) -> list[str]:
    """The most rooms of which each imports the next; there must be no circle."""
    known: dict[str, list[str]] = {}

    def down(name: str) -> list[str]:
        if name not in known:
            below = [down(there) for here, there in found if here == name]
            known[name] = [name, *max(below, key=len, default=[])]
        return known[name]

    return max((down(here) for here, _ in found), key=len, default=[])


# --- the bounds ----------------------------------------------------------------------------------------------------------
def test_no_file_and_no_function_is_too_long() -> None:
    found = too_long(ROOT)
    assert not sorted(found - TOO_LONG_FOR_NOW), "split them by reason to change"
    assert not sorted(TOO_LONG_FOR_NOW - found), "these are short now: take them out of TOO_LONG_FOR_NOW"


def test_folders_are_one_deep() -> None:
    deep = [p for p in PACKAGE.rglob("*.py") if len(p.relative_to(PACKAGE).parts) > 2]
    assert not deep
    bare = {p.parent for p in PACKAGE.glob("*/*.py")} - {p.parent for p in PACKAGE.glob("*/__init__.py")}
    assert not bare, "a folder without __init__.py is no package"


def test_modules_and_rooms_are_few() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MODULES
    rooms = {room(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert len(rooms) <= ROOMS


def test_rooms_import_downwards() -> None:
    found = edges(PACKAGE)
    assert not circle(found)
    assert len(longest_chain(found)) <= FLOORS


def test_no_files_import_one_another() -> None:
    assert not circle(file_edges(PACKAGE))


# --- that they would be seen ---------------------------------------------------------------------------------------------
def house(folder: Path, **rooms: str) -> Path:
    """A package ``house`` of these rooms: each is a module, which holds this text; ``house`` is its ``__init__.py``."""
    for name, text in {"house": "", **rooms}.items():
        path = folder / "house" / ("__init__.py" if name == "house" else f"{name}/module.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "house"


@pytest.mark.parametrize(
    "late",
    [
        "from ..core import module",
        "def f():\n    from ..core.module import y",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.core.module import y",
        "import house.core.module",
    ],
    ids=["at the top", "within a function", "under TYPE_CHECKING", "by its whole name"],
)
def test_a_circle_is_seen(late: str, tmp_path: Path) -> None:
    package = house(tmp_path, core="from ..nets.module import z", nets=late)
    assert circle(edges(package)) == [
        "core imports nets (house/core/module.py:1)",
        f"nets imports core (house/nets/module.py:{len(late.splitlines())})",
    ]


def test_a_circle_within_a_folder_is_seen(tmp_path: Path) -> None:
    package = house(tmp_path, core="from .other import x")
    (package / "core" / "__init__.py").write_text("from .module import z")
    (package / "core" / "other.py").write_text("def f():\n    from . import module")
    assert not circle(edges(package))
    assert circle(file_edges(package)) == [
        "house.core.module imports house.core.other (house/core/module.py:1)",
        "house.core.other imports house.core.module (house/core/other.py:2)",
    ]


def test_a_room_that_imports_the_package_is_seen(tmp_path: Path) -> None:
    package = house(tmp_path, house="from .core.module import y", core="def f():\n    from house import y")
    assert circle(edges(package))
    (package / "core" / "module.py").write_text("import json")
    assert not circle(edges(package))


def test_floors_are_counted(tmp_path: Path) -> None:
    package = house(tmp_path, a="from ..b import module", b="from .. import c", c="from ..d.module import x", d="")
    assert longest_chain(edges(package)) == ["a", "b", "c", "d"]


def test_long_files_and_functions_are_seen(tmp_path: Path) -> None:
    body = "    x = 1\n" * 59
    documented = '    """What it does.\n\n    Args:\n        none\n    """\n'
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(
        f"def short():\n{documented}{body}\ndef long():\n{documented}{body}    y = 2\n"
    )
    (tmp_path / "src" / "b.py").write_text("x = 1\n" * 501)
    assert too_long(tmp_path) == {"src/a.py:long", "src/b.py"}
