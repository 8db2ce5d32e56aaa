"""The keys of a run's specification, as flags and YAML say them, and what they mean where nothing is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, final

from ..core import code
from ..core.errors import MethodError, nearest, shortened
from ..core.options import Option, convert, options
from ..core.registry import METHODS, NETS, STREAMS, Entry, Table, find
from ..measures.budget import amount

__all__ = [
    "BUDGETS",
    "DEFAULTS",
    "Names",
    "defaults_of",
    "installed",
    "known_keys",
    "label",
    "methods_of",
    "options_of",
    "parts_of",
    "seeds_of",
    "unnamed_of",
    "values_of",
    "whole_training",
]

BUDGETS = ("budget_compute", "budget_memory")
DEFAULTS = {"stream": "two_corpora", "method": "finetune", "net": "mlp"}
TABLES: dict[str, Table] = {"method": METHODS, "net": NETS, "stream": STREAMS}


_RESERVED = {
    "stream",
    "net",
    "method",
    "code",
    "sha256",
    "seeds",
    "scenario",
    "device",
    "threads",
    "precision",
    "every",
    "order",
    *BUDGETS,
}


@final
@dataclass(frozen=True)
class Names:
    """The stream, the methods and the network that a run names. What is named by where its code is has a short name as well, by which its
    options and its results go.

    Args:
        stream, methods, net: names; a method may be composed, ``ewc+l2``. Empty where Python made it of an object without one.
        code: where the code is of those that have no name of their own, by kind and short name (``method.pull``).
        unnamed: what Python made without a name (``net``, ``method.pull``).
    """

    stream: str
    methods: tuple[str, ...]
    net: str
    code: Mapping[str, str]
    unnamed: frozenset[str] = frozenset()

    @staticmethod
    def of(said: Mapping[str, Any]) -> Names:
        """From what flags and files say. Code that they name is loaded.

        Raises:
            MethodError: it cannot be; or it calls itself as something else is called.
        """
        found = {k.removeprefix("code."): str(v) for k, v in said.items() if k.startswith("code.")}

        def name(kind: str, given: str) -> str:
            if not code.is_code(given):
                return given
            loaded = code.load(given)
            if not callable(loaded):
                raise MethodError(
                    f"{given} is {shortened(repr(loaded))}: expected a {'class' if kind == 'method' else 'function'}"
                )
            short = str(getattr(loaded, "name", None) or label(kind, given)) if kind == "method" else label(kind, given)
            if kind == "method" and short in (_RESERVED | whole_training({}).keys()):
                raise MethodError(f"{given} calls itself {short!r}, which is a key of every run: give it another name")
            if short in TABLES[kind] or found.get(f"{kind}.{short}", given) != given:
                raise MethodError(
                    f"{given} calls itself {short!r}, which is the name of another {kind}: give it a name of its own"
                )
            found[f"{kind}.{short}"] = given
            return short

        stream = "" if "stream.unnamed" in said else name("stream", str(said.get("stream", DEFAULTS["stream"])))
        methods = tuple(
            "+".join(name("method", part) for part in code.split(each, "+"))
            for each in methods_of(said.get("method", DEFAULTS["method"]))
        )
        usual = DEFAULTS["net"]
        if stream and f"stream.{stream}" not in found:
            usual = find("stream", STREAMS, stream).defaults.get("net", usual)
        net = "" if "net.unnamed" in said else name("net", str(said.get("net", usual)))
        return Names(stream, methods, net, found, unnamed_of(said))

    def entry(self, kind: str, name: str) -> Entry:
        """What a name of a kind stands for."""
        where = self.code.get(f"{kind}.{name}")
        if where is None:
            return find(kind, TABLES[kind], name)
        return Entry(where, f"of {where}")

    def summary(self, kind: str, name: str) -> str:
        """What it is, in a line; a method of somebody's may have one."""
        entry = self.entry(kind, name)
        own = getattr(entry.load(), "summary", "") if kind == "method" else ""
        return f"{own} ({entry.summary})" if own and own != entry.summary else entry.summary

    @property
    def places(self) -> list[str]:
        """Where the code is of all that is named and not this package's: by where it is, or by a package that was installed."""
        groups = [("stream", self.stream), ("net", self.net), *(("method", part) for part in self.parts)]
        known = [self.entry(*group) for group in groups if self.known(*group)]
        return list(dict.fromkeys(e.target for e in known if e.package or e.target in self.code.values()))

    def known(self, kind: str, name: str) -> bool:
        """Whether a name stands for something: what Python made without one does not."""
        return f"{kind}.{name}" in self.code or name in TABLES[kind]

    @property
    def parts(self) -> list[str]:
        """The methods that the methods are composed of, each once."""
        return list(dict.fromkeys(parts_of(self.methods)))


def installed() -> frozenset[str]:
    """Where the code is of what installed packages name."""
    return frozenset(e.target for table in TABLES.values() for e in table.values() if e.package)


def unnamed_of(said: Mapping[str, Any]) -> frozenset[str]:
    """What keys like ``net.unnamed`` and ``pull.unnamed`` are of: ``net``, ``method.pull``."""
    found = [k.removesuffix(".unnamed") for k in said if k.endswith(".unnamed")]
    return frozenset(k if k in ("stream", "net") else f"method.{k}" for k in found)


def label(kind: str, reference: str) -> str:
    """The short name of code: what it is defined as, behind its module where the package has another of that name (``models_resnet18``)."""
    where, _, short = reference.rpartition(":")
    if short not in TABLES[kind]:
        return short
    return f"{Path(where).stem if where.endswith('.py') else where.rpartition('.')[2]}_{short}"


def values_of(said: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """What is said, key by key, as the types that the keys have; with the stream's usual values where nothing is said.

    Raises:
        MethodError: an unknown key or value; the message says the nearest or what was expected.
    """
    given = {**_drawn(names), **_usual(names, said), **said}
    known = known_keys(names)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key.startswith(("code.", "sha256.")) or key in ("stream", "method", "net", "seeds"):
            continue
        if key.endswith(".unnamed"):
            continue
        full = key
        if key.startswith("method."):
            if len(names.parts) > 1:
                raise MethodError(
                    f"{key}: there are several methods ({', '.join(names.methods)}); say whose: {names.parts[0]}."
                    f"{key.removeprefix('method.')}"
                )
            full = f"{names.parts[0]}.{key.removeprefix('method.')}"
        if full not in known:
            raise MethodError(f"no option called {key!r}{nearest(full, known)}")
        if full in BUDGETS:
            value = amount(value, key)
        values[full] = convert(known[full], value, key)
    return values


def defaults_of(names: Names) -> dict[str, Any]:
    """What a run of this network on this stream does unless it is said; a network's hyperparameters are for that network."""
    if f"stream.{names.stream}" in names.code or names.stream not in STREAMS:
        return {}
    own = STREAMS[names.stream].defaults
    usual = own.get("net", DEFAULTS["net"])
    return {k: v for k, v in own.items() if k != "net" and (names.net == usual or not k.startswith("net."))}


def _usual(names: Names, said: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults_of`, less what belongs to something that is said to be otherwise: the rate of another optimiser, halving in other epochs."""
    usual = defaults_of(names)
    optimizer = said.get("optimizer", usual.get("optimizer", "sgd"))
    if optimizer != usual.get("optimizer", "sgd"):
        usual = {k: v for k, v in usual.items() if k not in ("lr", "momentum", "halve_every")}
        usual["lr"] = 0.1 if optimizer == "sgd" else 0.001
    if {"epochs", "iterations"} & said.keys():
        usual.pop("halve_every", None)
    return usual


def options_of(kind: str, entry: Entry) -> list[Option]:
    """The options that a run has of a stream, a method or a network. A stream's seed may be the run's."""
    target = entry.load()
    found = options(target, ("scenario",))
    if kind == "net":  # what must be given are the shape and the number of outputs
        given = _taken(target)
        found = [o for o in found if o.name not in given]
    taken = [o.name for o in found if kind != "method" and o.name in ("name", "unnamed")]
    if taken:
        raise MethodError(
            f"{entry.target} has an option {taken[0]!r}, which in a file of a run is the {kind}'s own: rename the parameter"
        )
    if kind != "stream":
        return found
    return [_seed(o) if o.name == "seed" else o for o in found]


def _seed(option: Option) -> Option:
    """The seed of a stream: a number, which need not be said, or that of the run."""
    said = "; ".join(filter(None, (option.help.rstrip("."), "each: every seed of the run has a stream of its own")))
    default = 0 if option.needed else option.default
    return replace(option, hint=int | Literal["each"], help=said, default=default)


@final
@dataclass(frozen=True)
class Maker:
    """What makes a network by code of somebody's: a function of ``num_classes=``, of ``(shape, outputs)``, or of options alone, which gives
    the network or what makes it.

    Args:
        where: the code.
        given: its options.
    """

    where: str
    given: Mapping[str, Any]

    def __call__(self, shape: tuple[int, ...], outputs: int) -> Any:
        """The network.

        Raises:
            MethodError: the code fails, or gives something else.
        """
        from torch import nn

        target = code.load(self.where)
        first, named = self._inputs(target, shape, outputs)
        made = code.call(self.where, target, *first, **named, **self.given)
        if callable(made) and not isinstance(made, nn.Module):
            made = code.call(self.where, made, shape, outputs)
        if not isinstance(made, nn.Module):
            raise MethodError(
                f"{self.where} gives {shortened(repr(made))}: expected a torch.nn.Module, made by a function of (shape, outputs) or of num_classes="
            )
        return made

    @staticmethod
    def _inputs(target: Any, shape: tuple[int, ...], outputs: int) -> tuple[list[Any], dict[str, Any]]:
        names = _taken(target)
        values = dict(zip(names, (outputs,) if names == ("num_classes",) else (shape, outputs)))
        known = inspect.signature(target).parameters
        first = [
            values.pop(name)
            for name in known
            if name in values and known[name].kind is inspect.Parameter.POSITIONAL_ONLY
        ]
        return first, values

    def __repr__(self) -> str:
        return f"{self.where}({', '.join(f'{k}={v!r}' for k, v in self.given.items())})"


def network_maker(entry: Entry, given: Mapping[str, Any]) -> Callable[[tuple[int, ...], int], Any]:
    """What makes a network of an input shape and a number of outputs: what `entry` names.

    Raises:
        MethodError: it is a network already.
    """
    target = entry.load()
    if _makes_when_called(target):  # such as MLP: an object of it makes networks
        return target(**given)  # type: ignore[no-any-return]
    if not inspect.isclass(target) and hasattr(target, "forward"):
        raise MethodError(
            f"{entry.target} is a network already: expected a function that makes one, so that every seed begins with weights of its own"
        )
    return Maker(entry.target, given)


def _makes_when_called(target: Any) -> bool:
    """Whether it is a class whose objects are called; a network is one, but is no maker of networks."""
    return (
        inspect.isclass(target)
        and not hasattr(target, "forward")
        and any("__call__" in vars(c) for c in inspect.getmro(target)[:-1])
    )


def _taken(target: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of what makes a network that are no options: ``num_classes``, or the shape and the number of outputs; none, where it is made
    of options alone."""
    if _makes_when_called(target):
        return ()
    parameters = inspect.signature(target).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = [p.name for p in named]
    for pair in (("shape", "outputs"), ("shape", "num_classes"), ("input_shape", "num_classes")):
        if set(pair) <= set(names):
            return pair
    handed_on = any(p.kind is p.VAR_KEYWORD for p in parameters)  # to what takes it, as torchvision's functions do
    needed = [p.name for p in named if p.default is p.empty]
    if "num_classes" in names or (handed_on and not needed):
        return ("num_classes",)
    return (needed[0], needed[1]) if len(needed) > 1 else ()


def _drawn(names: Names) -> dict[str, Any]:
    """The seed of a stream that is drawn, which is part of every specification, said or not."""
    if not names.stream:
        return {}
    return {
        f"stream.{o.name}": o.default
        for o in options_of("stream", names.entry("stream", names.stream))
        if o.name == "seed"
    }


def whole_training(given: Mapping[str, Any]) -> dict[str, Any]:
    """All that a training says, by the names of its fields."""
    from ..training.settings import Training

    return {f.name: given.get(f.name, f.default) for f in fields(Training)}


def known_keys(names: Names) -> dict[str, Any]:
    """Every key that a run of these may say, with its type."""
    from ..core.stream import Scenario
    from ..training.settings import Training

    known: dict[str, Any] = {
        "scenario": Scenario,
        "device": str,
        "threads": int | None,
        "precision": str,
        "every": float,
        "evaluate_every": int | None,
        "order": tuple[int, ...] | str | None,
        "budget_compute": int | None,
        "budget_memory": int | None,
        "tuned": Literal["first", "held-out", "two-phase", "oracle"] | None,
    }
    known |= {o.name: o.hint for o in options(Training)}
    groups = [("stream", names.stream), ("net", names.net), *(("method", part) for part in names.parts)]
    for kind, name in groups:
        if name and f"{kind}.{name}" not in names.unnamed:
            prefix = name if kind == "method" else kind
            known |= {f"{prefix}.{o.name}": o.hint for o in options_of(kind, names.entry(kind, name))}
    return known


def methods_of(said: Any) -> tuple[str, ...]:
    """``finetune,ewc+l2`` and ``[finetune, ewc+l2]`` mean two methods."""
    names = [str(n) for n in said] if isinstance(said, list | tuple) else code.split(str(said), ",")
    return tuple(dict.fromkeys(n.strip() for n in names if n.strip())) or ("finetune",)


def parts_of(methods: tuple[str, ...]) -> list[str]:
    """The names that methods are composed of: ``ewc+l2`` of two."""
    return [part for name in methods for part in code.split(name, "+")]


def seeds_of(said: Any) -> tuple[int, ...]:
    """``5`` means 0 to 4; ``3,7`` and ``[3, 7]`` mean themselves."""
    wrong = MethodError(f"seeds {said!r}: expected how many (5 means 0 to 4) or a list (3,7)")
    try:
        if isinstance(said, list | tuple):
            found = tuple(int(s) for s in said)
        elif "," in str(said):
            found = tuple(int(s) for s in str(said).split(",") if s.strip())
        else:
            found = tuple(range(int(said)))
    except (ValueError, TypeError):
        raise wrong from None
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise wrong
    return found
