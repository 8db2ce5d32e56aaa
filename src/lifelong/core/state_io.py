"""States as files: a tree of tensors and plain values, taken apart and put together again.

Taking apart gives named tensors (for safetensors) and a skeleton (for JSON). Putting together is guided by the *types*
that the code declares, never by names found in a file: nothing in a checkpoint can choose what is constructed.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .errors import MethodError, RunError
from .vector import Vector

__all__ = ["join", "mapped", "nbytes", "split", "vectors", "wild"]


def split(value: Any, path: str = "") -> tuple[dict[str, Tensor], Any]:
    """The tensors of a tree by their path, and the skeleton that is left."""
    tensors: dict[str, Tensor] = {}
    return tensors, _split(value, path, tensors)


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach()
        return {"tensor": path}
    if isinstance(value, torch.Generator):
        tensors[path] = value.get_state()
        return {"tensor": path}
    if isinstance(value, Vector):
        return {"vector": {name: _split(t, f"{path}/{name}", tensors) for name, t in value}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return {name: _split(getattr(value, name), f"{path}/{name}", tensors) for name in names}
    if isinstance(value, dict):
        return {"items": [[k, _split(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{path.lstrip('/') or 'the state'}: a state may hold tensors, vectors, dataclasses, dicts, lists, tuples, numbers and strings; "
        f"got {type(value).__name__}"
    )


def join(hint: Any, skeleton: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The tree of the type `hint` that was taken apart into `skeleton` and `tensors`.

    Raises:
        RunError: they are not of this type.
        MethodError: nothing can be of this type.
    """
    try:
        return _join(hint, skeleton, tensors)
    except MethodError:
        raise
    except _UndeclaredError as error:
        if path != "state":
            raise RunError(f"the saved state {path!r} does not fit {hint}: {error}") from error
        raise MethodError(
            f"a state of the type {_told(hint)} cannot be read back, as Any does not say what {error} is: declare what `init` returns down to its "
            "leaves, as in -> Vector | None, -> dict[str, Tensor], -> tuple[Vector, int], or a dataclass of such fields"
        ) from error
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise RunError(
            f"the saved state {path!r} does not fit {hint}: {error}; was it saved by another version?"
        ) from error


class _UndeclaredError(Exception):
    """`Any` stands where more than a tensor or a plain value was saved."""


def _told(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _of_any(node: Any, tensors: dict[str, Tensor]) -> Any:
    """A tensor or a plain value, whose type nobody declared."""
    if isinstance(node, dict) and "tensor" in node:
        return tensors[node["tensor"]]
    if isinstance(node, dict):
        raise _UndeclaredError("a Vector" if "vector" in node else "a dict" if "items" in node else "a dataclass")
    if isinstance(node, list) and any(isinstance(n, dict) for n in node):
        raise _UndeclaredError("a list or tuple")
    return [_of_any(n, tensors) for n in node] if isinstance(node, list) else node


_PLAIN: dict[Any, Any] = {bool: bool, int: int, float: int | float, str: str}


def _join(hint: Any, node: Any, tensors: dict[str, Tensor]) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if node is None:
            return None
        return _join(next(a for a in args if a is not type(None)), node, tensors)
    if hint is None or hint is type(None):
        return None
    if hint is Tensor:
        return tensors[node["tensor"]]
    if hint is torch.Generator:
        generator = torch.Generator()
        generator.set_state(tensors[node["tensor"]].cpu())
        return generator
    if hint is Vector:
        return Vector.from_dict({name: tensors[n["tensor"]] for name, n in node["vector"].items()})
    if origin is list or (origin is tuple and len(args) == 2 and args[1] is Ellipsis):
        return origin(_join(args[0], n, tensors) for n in node)
    if origin is tuple:
        return tuple(_join(a, n, tensors) for a, n in zip(args, node, strict=True))
    if origin is dict:
        return {args[0](k): _join(args[1], n, tensors) for k, n in node["items"]}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = {f.name: _join(hints[f.name], node[f.name], tensors) for f in dataclasses.fields(hint)}
        return typing.cast(Any, hint)(**fields)
    if hint is Any:
        return _of_any(node, tensors)
    if origin is typing.Literal and node in args:
        return node
    if hint in _PLAIN and isinstance(node, _PLAIN[hint]) and (hint is bool) == isinstance(node, bool):
        return node
    if hint in _PLAIN:
        raise TypeError(f"{node!r} is no {hint.__name__}")
    raise MethodError(
        f"{hint} in the declared type of a state: expected what `init` returns down to its leaves (list[Tensor], tuple[Vector, int], a dataclass), so "
        "that it can be read back"
    )


def mapped(value: Any, f: Callable[[Any], Any]) -> Any:
    """The same tree with ``f(t)`` in the place of each leaf `t`: a tensor, or anything that is no part of a tree."""
    if isinstance(value, Vector):
        return Vector(value.names, [f(t) for t in value.tensors])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {x.name: mapped(getattr(value, x.name), f) for x in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    if isinstance(value, dict):
        return {k: mapped(v, f) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(v, f) for v in value)
    return f(value)


def vectors(value: Any) -> Iterator[Vector]:
    """The vectors of a tree."""
    if isinstance(value, Vector):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for x in dataclasses.fields(value):
            yield from vectors(getattr(value, x.name))
    elif isinstance(value, dict | list | tuple):
        for v in value.values() if isinstance(value, dict) else value:
            yield from vectors(v)


def wild(value: Any) -> list[str]:
    """The weights whose value in some vector of a tree is NaN or infinite; what single examples left may (an answer that was never given)."""
    bad = [n for v in vectors(value) for n, t in v if t.is_floating_point() and not bool(t.isfinite().all())]
    return list(dict.fromkeys(bad))


def nbytes(value: Any) -> int:
    """Bytes of all tensors in a tree; a tensor that stands in it twice counts once."""
    tensors, _ = split(value)
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors.values()}.values())
