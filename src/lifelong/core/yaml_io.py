"""Configurations as people write them: YAML, read by dotted key. Nothing that a file says is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import MethodError

__all__ = ["flatten", "plain", "read_yaml"]


def flatten(tree: Any, where: str = "the configuration") -> dict[str, Any]:
    """The dotted keys of a YAML document."""
    if not isinstance(tree, dict):
        raise MethodError(f"{where}: expected keys and values, got {type(tree).__name__}")
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            for inner, v in flatten(value, f"{where}: {key}").items():
                flat[key if inner == "name" else f"{key}.{inner}"] = v
        else:
            flat[str(key)] = value
    return flat


def read_yaml(path: Path) -> dict[str, Any]:
    """The dotted keys of a YAML file.

    Raises:
        MethodError: it cannot be read, or is not keys and values.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text)
        ):  # a few of them can say a billion values
            raise MethodError(f"{path}: a configuration has no aliases (*name): say each value itself")
        return flatten(yaml.safe_load(text) or {}, str(path))
    except MethodError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise MethodError(f"cannot read the configuration {path}: {error}") from error


def plain(value: Any) -> Any:
    """As YAML and JSON have it: lists for tuples, text for paths."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
