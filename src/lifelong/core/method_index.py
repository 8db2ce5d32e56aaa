"""What the package's methods say of themselves, read from their files without importing them: a list of them needs no torch.

A class that says ``name: ClassVar[str] = "..."`` in a file of `lifelong.methods` and is final is a method. That it runs in one's own loop, and
on several ranks, follows from the slots that it defines and from the traits that it gives; tests hold this reading to what the classes say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

__all__ = ["Described", "index"]

_PACKAGE = Path(__file__).parent.parent
_OWN_LOOP_SLOTS = {"network", "grow", "data", "expand"}
_OWN_LOOP_TRAITS = {"restarts", "rereads", "once", "counts_steps"}
_FIRST = ("finetune", "joint", "joint_once", "independent")  # references, which others are compared with, lead a list


@final
@dataclass(frozen=True)
class Described:
    """A method as its file describes it."""

    name: str
    kind: str  # its class
    module: str  # its file
    summary: str  # empty: it is in no list (it stands only beside others)
    paper: str
    scenarios: tuple[str, ...]
    portable: bool
    ranks: bool


@lru_cache
def index() -> tuple[Described, ...]:
    """All of them: references first, the others as their files are called."""
    methods = [(path.stem, node) for path in _files("methods") for node in _classes(path)]
    known = {node.name: node for _, node in methods}
    found = [d for module, c in methods if (d := _described(module, c, known)) is not None]
    return tuple(sorted(found, key=lambda d: _FIRST.index(d.name) if d.name in _FIRST else len(_FIRST)))


def _files(folder: str) -> list[Path]:
    return sorted((_PACKAGE / folder).glob("*.py"))


def _classes(path: Path) -> list[ast.ClassDef]:
    return [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)]


@lru_cache
def _part(name: str) -> ast.ClassDef | None:
    """A base that several methods share; only the file that has it is parsed."""
    for path in _files("parts"):
        if f"\nclass {name}" in path.read_text(encoding="utf-8"):
            return next((c for c in _classes(path) if c.name == name), None)
    return None


def _described(module: str, node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> Described | None:
    own = _constants(node)
    if "name" not in own:
        return None
    line = [node, *_ancestors(node, known)]
    slots = {f.name for c in line for f in c.body if isinstance(f, ast.FunctionDef)}
    traits = next((t for c in line if (t := _traits(c)) is not None), {})
    return Described(
        own["name"],
        node.name,
        module,
        own.get("summary", ""),
        own.get("paper", ""),
        tuple(own.get("scenarios", ("task", "domain", "class"))),
        portable=not (slots & _OWN_LOOP_SLOTS or {k for k, v in traits.items() if v} & _OWN_LOOP_TRAITS),
        ranks=traits.get("ranks", False),
    )


def _ancestors(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    for base in node.bases:
        if isinstance(base, ast.Name):
            found = known.get(base.id) or _part(base.id)
            if found is not None:
                yield found
                yield from _ancestors(found, known)


def _constants(node: ast.ClassDef) -> dict[str, Any]:
    """The class variables that are literals."""
    found = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None:
            try:
                found[part.target.id] = ast.literal_eval(part.value)
            except ValueError:
                continue
    return found


def _traits(node: ast.ClassDef) -> dict[str, bool] | None:
    """The traits that the class gives; one that depends on a hyperparameter counts as given."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "traits":
            for call in ast.walk(part):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Traits":
                    return {
                        k.arg: not (isinstance(k.value, ast.Constant) and not k.value.value)
                        for k in call.keywords
                        if k.arg
                    }
    return None
