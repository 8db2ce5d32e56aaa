"""Code that is named by where it is: ``./mine.py:Pull`` or ``package.module:Class``.

Naming code means running it. It is loaded only where its user typed the name, or allowed it (``--allow-code``): what a configuration file or a
run's folder names is refused otherwise. What was loaded is told by its SHA-256, so that a run that goes on can see a change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import MethodError, nearest

__all__ = ["fingerprint", "is_code", "load"]


def is_code(name: str) -> bool:
    """Whether a name says where code is: it has a colon."""
    return ":" in name


def load(reference: str) -> Any:
    """The class or function that `reference` names; its module is run.

    Raises:
        MethodError: there is no such file, module or attribute, or running it fails.
    """
    where, attribute = _parts(reference)
    try:
        path = _place(reference, where)
        module = import_module(where) if path is None else _file(path)
    except MethodError:
        raise
    except Exception as error:  # of somebody's code
        raise MethodError(f"{reference}: {where} cannot be loaded ({type(error).__name__}: {error})") from error
    if not hasattr(module, attribute):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise MethodError(f"{reference}: {where} has no {attribute!r}{nearest(attribute, known)}")
    return getattr(module, attribute)


def fingerprint(reference: str) -> str:
    """The SHA-256 of the file that holds the code, in hexadecimal; nothing of it is run.

    Raises:
        MethodError: there is no such file or module.
    """
    where, _ = _parts(reference)
    path = _place(reference, where)
    if path is None:
        spec = importlib.util.find_spec(where)
        assert spec is not None
        if spec.origin is None:
            raise MethodError(f"{reference}: {where} is a folder of packages: name the module that has the code")
        path = Path(spec.origin)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _place(reference: str, where: str) -> Path | None:
    """The file that holds the code; None where it is a module that can be imported. A module beside which the command runs is a file."""
    if where.endswith(".py"):
        return _path(where)
    try:
        if importlib.util.find_spec(where) is not None:
            return None
    except (ImportError, ValueError):
        pass
    beside = Path(*where.split(".")).with_suffix(".py")
    if not beside.is_file():
        raise MethodError(
            f"{reference}: there is no module {where!r}: install its package, or name a file, ./{beside}:{reference.rpartition(':')[2]}"
        )
    return beside


def _parts(reference: str) -> tuple[str, str]:
    where, _, attribute = reference.rpartition(":")
    if not where or not attribute.isidentifier():
        raise MethodError(f"{reference!r}: expected ./file.py:Name or package.module:Name")
    return where, attribute


def _path(where: str) -> Path:
    path = Path(where)
    if not path.is_file():
        raise MethodError(
            f"there is no file {where} here ({Path.cwd()}): name it from the folder in which the command runs"
        )
    return path


def _file(path: Path) -> Any:
    """The module of a file: one for each content, so that all who name it mean the same classes."""
    name = f"lifelong_code_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
