"""The keys of a run's specification, as flags and YAML say them, and what they mean where nothing is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, final

from ..core import code
from ..core.errors import MethodError, nearest
from ..core.options import Option, convert, options
from ..core.registry import METHODS, NETS, STREAMS, Entry, Table, find
from ..measures.budget import amount

__all__ = [
    "BUDGETS",
    "DEFAULTS",
    "Names",
    "defaults_of",
    "known_keys",
    "methods_of",
    "options_of",
    "parts_of",
    "seeds_of",
    "values_of",
    "whole_training",
]

BUDGETS = ("budget_compute", "budget_memory")
DEFAULTS = {"stream": "two_corpora", "method": "finetune", "net": "mlp"}
TABLES: dict[str, Table] = {"method": METHODS, "net": NETS, "stream": STREAMS}


@final
@dataclass(frozen=True)
class Names:
    """The stream, the methods and the network that a run names. What is named by where its code is has a short name as well, by which its
    options and its results go.

    Args:
        stream, methods, net: names; a method may be composed, ``ewc+l2``. Empty where Python made it of an object without one.
        code: where the code is of those that have no name of their own, by kind and short name (``method.pull``).
    """

    stream: str
    methods: tuple[str, ...]
    net: str
    code: Mapping[str, str]

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
            short = _short(kind, given)
            if short in TABLES[kind] or found.get(f"{kind}.{short}", given) != given:
                raise MethodError(
                    f"{given} calls itself {short!r}, which is the name of another {kind}: give it a name of its own"
                )
            found[f"{kind}.{short}"] = given
            return short

        stream = "" if "stream.unnamed" in said else name("stream", str(said.get("stream", DEFAULTS["stream"])))
        methods = tuple(
            "+".join(name("method", part) for part in each.split("+"))
            for each in methods_of(said.get("method", DEFAULTS["method"]))
        )
        usual = DEFAULTS["net"]
        if stream and f"stream.{stream}" not in found:
            usual = find("stream", STREAMS, stream).defaults.get("net", usual)
        net = "" if "net.unnamed" in said else name("net", str(said.get("net", usual)))
        return Names(stream, methods, net, found)

    def entry(self, kind: str, name: str) -> Entry:
        """What a name of a kind stands for."""
        where = self.code.get(f"{kind}.{name}")
        return find(kind, TABLES[kind], name) if where is None else Entry(where, f"of {where}")

    @property
    def parts(self) -> list[str]:
        """The methods that the methods are composed of, each once."""
        return list(dict.fromkeys(parts_of(self.methods)))


def _short(kind: str, reference: str) -> str:
    """What the code that is named calls itself: a method by its `name`, others as they are defined."""
    found = code.load(reference)
    named = getattr(found, "name", None) if kind == "method" else None
    return str(named or reference.rpartition(":")[2])


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
        found = [o for o in found if o.name not in _GIVEN and not o.needed]
    if kind != "stream":
        return found
    each = "; each: every seed of the run has a stream of its own"
    return [
        replace(o, hint=int | Literal["each"], help=f"{o.help.rstrip('.')}{each}") if o.name == "seed" else o
        for o in found
    ]


_GIVEN = ("shape", "outputs", "num_classes")  # by the stream, to what makes a network


@final
@dataclass(frozen=True)
class Maker:
    """What makes a network by code of somebody's, which takes ``num_classes=``, or ``(shape, outputs)``.

    Args:
        where: the code.
        given: its options.
    """

    where: str
    given: Mapping[str, Any]

    def __call__(self, shape: tuple[int, ...], outputs: int) -> Any:
        target = code.load(self.where)
        if _counts_classes(target):
            return target(num_classes=outputs, **self.given)
        return target(shape, outputs, **self.given)

    def __repr__(self) -> str:
        return f"{self.where}({', '.join(f'{k}={v!r}' for k, v in self.given.items())})"


def network_maker(entry: Entry, given: Mapping[str, Any]) -> Callable[[tuple[int, ...], int], Any]:
    """What makes a network of an input shape and a number of outputs: what `entry` names, or the object that it gives.

    Raises:
        MethodError: it takes neither ``num_classes=`` nor ``(shape, outputs)``, and gives nothing that does.
    """
    target = entry.load()
    parameters = inspect.signature(target).parameters
    needed = [p for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if _counts_classes(target) or len(needed) == 2 or {"shape", "outputs"} <= parameters.keys():
        return Maker(entry.target, given)
    made = None if needed else target(**given)
    if not callable(made):
        raise MethodError(
            f"{entry.target} takes {', '.join(parameters) or 'nothing'}: expected a function of (shape, outputs) or of num_classes="
        )
    return made  # type: ignore[no-any-return]


def _counts_classes(target: Callable[..., Any]) -> bool:
    return "num_classes" in inspect.signature(target).parameters or _takes_anything(target)


def _takes_anything(target: Callable[..., Any]) -> bool:
    """Whether it hands further keywords on, as torchvision's functions do, and has no positional parameters that must be given."""
    kinds = [p.kind for p in inspect.signature(target).parameters.values() if p.default is p.empty]
    return kinds == [inspect.Parameter.VAR_KEYWORD]


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
        if name:
            prefix = name if kind == "method" else kind
            known |= {f"{prefix}.{o.name}": o.hint for o in options_of(kind, names.entry(kind, name))}
    return known


def methods_of(said: Any) -> tuple[str, ...]:
    """``finetune,ewc+l2`` and ``[finetune, ewc+l2]`` mean two methods."""
    names = [str(n) for n in said] if isinstance(said, list | tuple) else str(said).split(",")
    return tuple(dict.fromkeys(n.strip() for n in names if n.strip())) or ("finetune",)


def parts_of(methods: tuple[str, ...]) -> list[str]:
    """The names that methods are composed of: ``ewc+l2`` of two."""
    return [part for name in methods for part in name.split("+")]


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
