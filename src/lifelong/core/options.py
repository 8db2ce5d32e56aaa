"""Constants as options: what a dataclass or a builder takes becomes flags and configuration keys, with its docstring as help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from .errors import MethodError

__all__ = ["Option", "convert", "options"]


@final
@dataclass(frozen=True)
class Option:
    """One constant: its name, type, default, and what its docstring says of it."""

    name: str
    hint: Any
    default: Any
    help: str

    @property
    def shape(self) -> str:
        """How a value is written: ``a number``, ``true|false``."""
        return _shape(self.hint)

    @property
    def metavar(self) -> str:
        """The same as a command line's usage has it: ``NUMBER``, ``N|none``."""
        found = self.shape.replace(" or ", "|")
        for words, mark in (("a whole number", "N"), ("a number", "NUMBER"), ("a word", "WORD"), ("a path", "PATH")):
            found = found.replace(words, mark)
        return found

    @property
    def needed(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


def options(target: Callable[..., Any], leave_out: tuple[str, ...] = ()) -> list[Option]:
    """The constants of a dataclass or a function, in order."""
    fields = dataclasses.is_dataclass(target)  # each field's type is read where its class was written
    hints = _hints(target if fields or not inspect.isclass(target) else target.__init__)
    said: dict[str, str] = {}
    for source in reversed(inspect.getmro(target)) if inspect.isclass(target) else [target]:
        own = _said(inspect.cleandoc(source.__doc__ or ""))
        said |= {k: v for k, v in own.items() if not (v.startswith("see `") and k in said)}  # a base class says it
    return [
        Option(name, hints.get(name, _of_default(p.default)), p.default, said.get(name, ""))
        for name, p in inspect.signature(target).parameters.items()
        if name not in leave_out and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def _hints(target: Any) -> dict[str, Any]:
    """The types of its parameters, where they are known when it runs."""
    try:
        return typing.get_type_hints(target.func if isinstance(target, functools.partial) else target)
    except (NameError, TypeError):  # imported for type checkers only; or a built-in
        return {}


def _of_default(default: Any) -> Any:
    """The type of a parameter that is not annotated."""
    return str if default in (None, inspect.Parameter.empty) else type(default)


def _said(doc: str) -> dict[str, str]:
    """What the section "Args:" of a docstring says of each name (`a, b: text` says it of both)."""
    found: dict[str, str] = {}
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M)
    if section:
        for names, text in re.findall(r"^ {4}([\w, ]+): ((?:.*)(?:\n {8}.*)*)", section[1], re.M):
            for name in names.split(","):
                found[name.strip()] = re.sub(r"\s+", " ", text)
    return found


def convert(hint: Any, value: Any, name: str) -> Any:
    """`value`, a flag's text or what a YAML file holds, as the type `hint`.

    Raises:
        MethodError: it is none.
    """
    try:
        return _convert(hint, value)
    except (ValueError, TypeError):
        raise MethodError(f"{name} {value!r}: expected {_shape(hint)}") from None


def _convert(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "none":
            if type(None) in args:
                return None
            raise ValueError
        for arg in args:
            if arg is not type(None):
                try:
                    return _convert(arg, value)
                except (ValueError, TypeError):
                    continue
        raise ValueError
    if origin is typing.Literal:
        found = [a for a in args if str(a) == str(value)]
        if not found:
            raise ValueError
        return found[0]
    if origin in (tuple, list):
        parts = value.strip("[]()").split(",") if isinstance(value, str) else value
        parts = [parts] if isinstance(parts, int | float) else parts
        return origin(_convert(args[0], p) for p in parts if p != "")
    if hint is bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError
        return words[str(value).lower()]
    if hint is int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    if hint is float:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    if hint is Path:
        return Path(value)
    if hint is str:
        return str(value)
    raise TypeError(f"an option of type {hint} cannot be given as text")


_WORDS: dict[Any, str] = {
    bool: "true|false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    Path: "a path",
    type(None): "none",
}


def _shape(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        written = [a for a in args if a in _WORDS or typing.get_origin(a)]  # what cannot be written is for Python only
        return " or ".join(_shape(a) for a in written)
    if origin is typing.Literal:
        return "|".join(map(str, args))
    if origin in (tuple, list):
        return f"{_shape(args[0])},{_shape(args[0])},..."
    return _WORDS.get(hint, str(hint))
