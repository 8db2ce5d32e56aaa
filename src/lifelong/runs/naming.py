"""The names of what Python made: a specification of objects, by which commands can build them again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import torch
from torch import nn

from ..core import code
from ..core.errors import MethodError
from ..core.fingerprint import worded
from ..core.method import Method
from ..core.registry import METHODS, NETS, STREAMS, Table
from ..core.stream import Origin, Stream
from ..measures.budget import Budget
from ..training.settings import Training
from .spec import EACH, RunSpec
from .spec_keys import label

__all__ = ["spec_of", "takes_seed"]

PRECISIONS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


def spec_of(
    method: Method,
    net: Any,
    stream: Callable[[int], Stream],
    *,
    seeds: Sequence[int] = (0,),
    training: Training | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    every: float = 30.0,
    evaluate_every: int | None = None,
    budget: Budget | None = None,
    maker: Callable[..., Stream] | None = None,
) -> RunSpec:
    """The specification of a run of these objects, each by its name where it has one.

    Args:
        method, net, training, device, dtype, every, evaluate_every, budget: see `lifelong.fit`.
        stream: what makes the stream of a seed.
        seeds: of the run.
        maker: somebody's function that makes the stream, where there is one.
    """
    if dtype not in PRECISIONS:
        raise MethodError(f"dtype {dtype}: expected one of {', '.join(map(str, PRECISIONS))}")
    found: dict[str, Any] = {"code": {}, "unnamed": {}, "objects": {"stream": stream, "net": net}}
    found |= _stream(stream, seeds, maker, found["code"], found["unnamed"])
    found |= _net(net, found["code"], found["unnamed"])
    found["method_options"] = {}
    for part in method.parts():
        found["objects"][f"method.{part.name}"] = part
        options = _method(part, found["code"])
        if options is None:
            found["unnamed"][f"method.{part.name}"] = worded(part)
        found["method_options"][part.name] = options or {}
    budget = budget or Budget()
    return RunSpec(
        methods=(method.name,),
        seeds=tuple(seeds),
        device=str(device),
        precision=PRECISIONS[dtype],
        every=every,
        evaluate_every=evaluate_every,
        budget_compute=budget.compute,
        budget_memory=budget.memory,
        training=_fields(training or Training()),
        sha256={where: code.fingerprint(where) for where in found["code"].values()},
        **found,
    )


def takes_seed(make: Callable[..., Any]) -> bool:
    """Whether a function has a parameter ``seed``."""
    try:
        return "seed" in inspect.signature(make).parameters
    except ValueError:  # some built-in functions say nothing
        return False


def _stream(
    make: Callable[[int], Stream],
    seeds: Sequence[int],
    maker: Callable[..., Stream] | None,
    coded: dict[str, str],
    unnamed: dict[str, str],
) -> dict[str, Any]:
    """The stream's name and options; or what it is, in words."""
    first = make(seeds[0])
    others = [make(seed) for seed in seeds[1:2]]
    origin = _common([s.origin for s in (first, *others)], seeds)
    name = None if origin is None else _registered(STREAMS, origin.maker)
    if origin is None or name is None:
        where = _importable(maker) if maker is not None and takes_seed(maker) else None
        if where is not None:
            short = label("stream", where)
            coded[f"stream.{short}"] = where
            return {"stream": short, "stream_options": {"seed": EACH}}
        unnamed["stream"] = f"{first.name}, {len(first)} tasks, scenario {first.scenario}"
        return {"stream": "", "scenario": first.scenario}
    options = dict(origin.options)
    scenario = options.pop("scenario", None)
    order = {} if origin.order is None else {"order": origin.order}
    return {"stream": name, "stream_options": options, "scenario": scenario, **order}


def _common(origins: Sequence[Origin | None], seeds: Sequence[int]) -> Origin | None:
    """The one origin of the streams of two seeds; their seed is ``each`` where it is that of the run."""
    first = origins[0]
    if first is None or len(origins) == 1:
        return first
    other = origins[1]
    if other == first:
        return first
    own = [dict(o.options) for o in (first, other) if o is not None]
    if len(own) == 2 and [o.pop("seed", None) for o in own] == list(seeds[:2]) and own[0] == own[1]:
        return first._replace(options={**own[0], "seed": EACH})
    return None


def _net(net: Any, named: dict[str, str], unnamed: dict[str, str]) -> dict[str, Any]:
    """The network's name and options; or what it is, in words."""
    if not isinstance(net, nn.Module):
        name, options = _registered(NETS, type(net)), _plain_fields(net)
        if name is not None and options is not None:
            return {"net": name, "net_options": options}
        where = _importable(net)
        if where is not None:
            short = label("net", where)
            named[f"net.{short}"] = where
            return {"net": short}
    unnamed["net"] = worded(net)
    return {"net": ""}


def _method(part: Method, named: dict[str, str]) -> dict[str, Any] | None:
    """The options of a method that a command can build; None: it can not."""
    options = _plain_fields(part)
    if _registered(METHODS, type(part)) == part.name:
        return options
    where = _importable(type(part))
    if options is None or where is None or part.name in METHODS:
        return None
    named[f"method.{part.name}"] = where
    return options


def _registered(table: Table, made: Any) -> str | None:
    """The name by which what made an object is registered."""
    for name, entry in table.items():
        if entry.package == "" and entry.target.rpartition(":")[2] == getattr(made, "__name__", None):
            return name if entry.load() is made or getattr(made, "__wrapped__", None) is not None else None
    return None


def _importable(made: Any) -> str | None:
    """``module:name`` of a class or function that another process can import; None where it cannot."""
    module, name = getattr(made, "__module__", None), getattr(made, "__qualname__", "")
    if module in (None, "__main__", "builtins") or not name.isidentifier():
        return None
    where = f"{module}:{name}"
    try:
        code.fingerprint(where)
        return where if code.load(where) is made else None
    except MethodError:
        return None


def _plain_fields(made: Any) -> dict[str, Any] | None:
    """What a dataclass is made of beyond its defaults; None: it is none, or holds what cannot be written down."""
    if not is_dataclass(made):
        return None
    found = {
        f.name: getattr(made, f.name)
        for f in fields(made)
        if f.init and (f.default is MISSING or getattr(made, f.name) != f.default)
    }
    return found if all(_plain(v) for v in found.values()) else None


def _fields(training: Training) -> dict[str, Any]:
    return {f.name: getattr(training, f.name) for f in fields(training)}


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
