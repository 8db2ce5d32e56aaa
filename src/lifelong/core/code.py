"""Code that is named by where it is: ``./mine.py:Pull`` or ``package.module:Class``.

Naming code means running it. It is loaded only where its user typed the name, or allowed it (``--allow-code``): what a configuration file or a
run's folder names is refused otherwise. What was loaded is told by its SHA-256, so that a run that goes on can see a change.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from .errors import LifelongError, MethodError, nearest

__all__ = ["call", "files", "fingerprint", "is_code", "load", "load_files", "split"]

_LOADED = "lifelong_code_"


def is_code(name: str) -> bool:
    """Whether a name says where code is: it has a colon."""
    return ":" in name


def split(names: str, separator: str) -> list[str]:
    """The names of a list, ``ewc,./mine.py:Pull`` or ``ewc+l2``. A path may hold the separator: it goes on up to its colon."""
    found: list[str] = []
    for piece in names.split(separator):
        if found and "/" in found[-1] and ":" not in found[-1]:
            found[-1] += separator + piece
        else:
            found.append(piece)
    return found


def load(reference: str) -> Any:
    """The class or function that `reference` names; its module is run.

    Raises:
        MethodError: there is no such file, module or attribute, or running it fails.
    """
    where, attribute = _parts(reference)
    try:
        path = _place(reference, where)
        if path is None:
            module = import_module(where)
        elif "." in where and not where.endswith(".py"):  # within a package beside which the command runs
            with _beside(Path.cwd()):
                module = import_module(where)
        else:
            module = _file(path)
    except MethodError:
        raise
    except (Exception, SystemExit) as error:  # of somebody's code
        raise MethodError(f"{reference}: {where} cannot be loaded ({type(error).__name__}: {error})") from error
    if not hasattr(module, attribute):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise MethodError(f"{reference}: {where} has no {attribute!r}{nearest(attribute, known)}")
    return getattr(module, attribute)


def call(reference: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What somebody's code gives; this package's own errors are what they are.

    Raises:
        MethodError: it fails; the message says how, and where.
    """
    try:
        return function(*given, **named)
    except (LifelongError, MemoryError):
        raise
    except Exception as error:
        if reference.startswith("lifelong."):
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise MethodError(
            f"{reference} fails ({type(error).__name__}: {error}; {Path(at.filename).name}, line {at.lineno})"
        ) from error


def fingerprint(reference: str) -> str:
    """The SHA-256 of the file that holds the code, in hexadecimal; nothing of it is run.

    Raises:
        MethodError: there is no such file or module.
    """
    where, _ = _parts(reference)
    path = _place(reference, where)
    if path is None:
        spec = _spec(where)
        assert spec is not None
        if spec.origin is None or not Path(spec.origin).is_file():
            raise MethodError(f"{reference}: {where} is no file of code: name the module that has the code")
        path = Path(spec.origin)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files() -> tuple[str, ...]:
    """The files whose code was loaded here, and are what they were then: another process that gets objects of theirs loads them first."""
    loaded = [
        (name, Path(m.__file__)) for name, m in list(sys.modules.items()) if name.startswith(_LOADED) and m.__file__
    ]
    return tuple(str(path.resolve()) for name, path in loaded if path.is_file() and _called(path) == name)


def load_files(paths: Sequence[str]) -> None:
    """Loads files that another process has loaded; one that cannot be is missed where an object of its is read."""
    for path in paths:
        with suppress(Exception):
            _file(Path(path))


def _called(path: Path) -> str:
    """The module of a file's present content."""
    return f"{_LOADED}{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _place(reference: str, where: str) -> Path | None:
    """The file that holds the code; None where it is a module that can be imported. A module beside which the command runs is a file."""
    if where.endswith(".py"):
        return _path(where)
    if _spec(where) is not None:
        return None
    beside = Path(*where.split(".")).with_suffix(".py")
    if not beside.is_file():
        raise MethodError(
            f"{reference}: there is no module {where!r}: install its package, or name a file, ./{beside}:{reference.rpartition(':')[2]}"
        )
    return beside


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is. `importlib.util.find_spec` would run the packages around it."""
    found: ModuleSpec | None = None
    names = module.split(".")
    for i in range(len(names)):
        full = ".".join(names[: i + 1])
        path = None if found is None else found.submodule_search_locations
        if full in sys.modules:
            found = getattr(sys.modules[full], "__spec__", None)
        elif i == 0 or path is not None:
            found = next((s for f in sys.meta_path if (s := f.find_spec(full, path)) is not None), None)
        else:
            found = None  # what is asked within is no package
        if found is None:
            return None
    return found


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
    name = _called(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    _same_everywhere(path.resolve(), set())
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        with _beside(path.resolve().parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _same_everywhere(path: Path, seen: set[Path]) -> None:
    """Raises `MethodError` where a file imports what is beside it, and Python knows another module of that name: the other one would be taken."""
    seen.add(path)
    imports = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Import | ast.ImportFrom)]
    named = [a.name for n in imports if isinstance(n, ast.Import) for a in n.names]
    named += [n.module or "" for n in imports if isinstance(n, ast.ImportFrom) and not n.level]
    for name in dict.fromkeys(n.partition(".")[0] for n in named):
        own = [p for p in (path.parent / f"{name}.py", path.parent / name / "__init__.py") if name and p.is_file()]
        if not own or own[0] in seen:
            continue
        spec = _spec(name)
        if spec is not None and (spec.origin is None or Path(spec.origin).resolve() != own[0]):
            raise MethodError(
                f"{path.name} imports {name!r}: that is {own[0]} beside it, and {spec.origin} elsewhere: rename one of them"
            )
        _same_everywhere(own[0], seen)


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Within it imports find the files of a folder, as a script's do."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
