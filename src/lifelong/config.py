"""What a run is: a plain description that flags and YAML say alike, and that can be built anew in any process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import yaml

from .budget import Budget, amount
from .errors import MethodError, nearest
from .options import Option, convert, options
from .registry import METHODS, NETS, STREAMS, Entry, find

if TYPE_CHECKING:
    from .method import Method
    from .stream import Stream
    from .training import Training

__all__ = ["EACH", "Config", "defaults_of", "known_keys", "net_of", "options_of", "plain"]

EACH = "each"  # of `stream.seed`: every seed of the run has a stream of its own

BUDGETS = ("budget_compute", "budget_memory")
_OF_A_RUN = ("scenario", "device", "threads", "precision", "every", "evaluate_every", "order", *BUDGETS, "tuned")


@final
@dataclass(frozen=True)
class Config:
    """One run: a stream, methods, a network, training, seeds.

    Every value is plain; `stream_options` and the like hold what was said beyond the defaults. The keys of the YAML form
    are those of the flags: ``stream.tasks`` is ``{stream: {tasks: ...}}``. ``stream.seed`` is a number, 0 if nothing is said, and then all
    seeds of the run learn the same stream; or the word ``each``, and then seed s learns the stream of seed s.
    """

    stream: str = "two_corpora"
    methods: tuple[str, ...] = ("finetune",)
    net: str = "mlp"
    seeds: tuple[int, ...] = (0,)
    scenario: str | None = None
    device: str = "cpu"
    threads: int | None = None
    precision: str = "float32"
    every: float = 30.0
    evaluate_every: int | None = None
    order: tuple[int, ...] | str | None = None
    budget_compute: int | None = None
    budget_memory: int | None = None
    tuned: str | None = None
    stream_options: Mapping[str, Any] = field(default_factory=dict)
    method_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    net_options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    # --- from and to keys -------------------------------------------------------------------------------------------
    @staticmethod
    def from_keys(said: Mapping[str, Any]) -> Config:
        """From what flags and files say, by dotted key (``{"stream": "permuted", "stream.tasks": 10}``).

        Raises:
            MethodError: an unknown name, key or value; the message says the nearest or what was expected.
        """
        stream = str(said.get("stream", Config.stream))
        methods = _names(said.get("method", "finetune"))
        net = net_of(said)
        given = {**_drawn(stream), **_usual(stream, net, said), **said}
        known = known_keys(stream, methods, net)
        values: dict[str, Any] = {}
        for key, value in given.items():
            full = key
            if key.startswith("method."):
                if len(set(_parts(methods))) > 1:
                    raise MethodError(
                        f"{key}: there are several methods ({', '.join(methods)}); say whose: {_parts(methods)[0]}."
                        f"{key.removeprefix('method.')}"
                    )
                full = f"{_parts(methods)[0]}.{key.removeprefix('method.')}"
            if full not in known:
                raise MethodError(f"no option called {key!r}{nearest(full, known)}")
            if full in BUDGETS:
                value = amount(value, key)
            values[full] = convert(known[full], value, key)

        def group(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(f"{prefix}."): v for k, v in values.items() if k.startswith(f"{prefix}.")}

        return Config(
            stream=stream,
            methods=methods,
            net=net,
            seeds=seeds_of(said.get("seeds", 1)),
            **{k: values[k] for k in _OF_A_RUN if k in values},
            stream_options=group("stream"),
            method_options={part: group(part) for part in dict.fromkeys(_parts(methods))},
            net_options=group("net"),
            training=_whole_training({k: values[k] for k in _training_keys() if k in values}),
        )

    @staticmethod
    def flatten(tree: Any, where: str = "the configuration") -> dict[str, Any]:
        """The dotted keys of a YAML document."""
        if not isinstance(tree, dict):
            raise MethodError(f"{where}: expected keys and values, got {type(tree).__name__}")
        flat: dict[str, Any] = {}
        for key, value in tree.items():
            if isinstance(value, dict):
                for inner, v in Config.flatten(value, f"{where}: {key}").items():
                    flat[key if inner == "name" else f"{key}.{inner}"] = v
            else:
                flat[str(key)] = value
        return flat

    def to_yaml(self) -> str:
        """All that the run depends on, defaults included; `from_keys(flatten(yaml))` gives it back."""
        tree: dict[str, Any] = {
            "stream": {"name": self.stream, **self.stream_options},
            "method": ",".join(self.methods),
        }
        tree |= {part: dict(given) for part, given in self.method_options.items() if given}
        tree["net"] = {"name": self.net, **self.net_options}
        tree |= dict(self.training)
        tree |= {"seeds": list(self.seeds), "device": self.device, "precision": self.precision, "every": self.every}
        if self.scenario is not None:
            tree["scenario"] = self.scenario
        if self.evaluate_every is not None:
            tree["evaluate_every"] = self.evaluate_every
        if self.threads is not None:
            tree["threads"] = self.threads
        for key in ("order", *BUDGETS, "tuned"):
            if getattr(self, key) is not None:
                tree[key] = getattr(self, key)
        return yaml.safe_dump(plain(tree), sort_keys=False, allow_unicode=True)

    @staticmethod
    def load(path: Path) -> Config:
        """That of a run's directory. What it does not say of the training was `Training`'s own default when it was written, whatever the
        stream's usual training is now."""
        return Config.from_keys({**_whole_training({}), **read_yaml(path)})

    # --- building ---------------------------------------------------------------------------------------------------
    def build_stream(self, seed: int) -> Stream:
        """The stream that seed `seed` of the run learns, in the order given. ``notes["stream_seed"]`` is the seed that all seeds' streams are
        drawn with, or ``"each"`` where every seed has its own.

        Raises:
            MethodError: an option is missing; the order is a rule or a file, not yet the places that `curriculum.settle` makes of it.
        """
        given = dict(self.stream_options)
        if self.scenario is not None:
            given["scenario"] = self.scenario
        known = options(find("stream", STREAMS, self.stream).load())
        drawn = next((given.get("seed", o.default) for o in known if o.name == "seed"), None)  # None: nothing is drawn
        if drawn == EACH:
            given["seed"] = seed
        missing = [o for o in known if o.needed and o.name not in given]
        if missing:
            wanted = ", ".join(f"--stream.{o.name} {o.metavar}" for o in missing)
            raise MethodError(f"the stream {self.stream!r} needs {wanted}")
        built = _stream(self.stream, tuple(sorted(given.items())))
        if drawn is not None:
            built = replace(built, notes={**built.notes, "stream_seed": drawn})
        if isinstance(self.order, str):
            raise MethodError(f"order {self.order!r} is not settled: curriculum.settle(config) finds it")
        return built if self.order is None else built.reorder(self.order)

    def build_method(self, name: str) -> Method:
        from .method import chain

        return chain(*(find("method", METHODS, p).load()(**self.method_options.get(p, {})) for p in name.split("+")))

    def build_net(self) -> Any:
        return find("net", NETS, self.net).load()(**self.net_options)

    def build_training(self) -> Training:
        from .training import Training

        return Training(**self.training)

    @property
    def budget(self) -> Budget:
        return Budget(self.budget_compute, self.budget_memory)


def net_of(said: Mapping[str, Any]) -> str:
    """The network that is said, or the stream's usual one."""
    usual = find("stream", STREAMS, str(said.get("stream", Config.stream))).defaults.get("net", Config.net)
    return str(said.get("net", usual))


def defaults_of(stream: str, net: str) -> dict[str, Any]:
    """What a run of this network on this stream does unless it is said; a network's constants are for that network."""
    own = find("stream", STREAMS, stream).defaults
    usual = own.get("net", Config.net)
    return {k: v for k, v in own.items() if k != "net" and (net == usual or not k.startswith("net."))}


def _usual(stream: str, net: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults_of`, less what belongs to something that is said to be otherwise: the rate of another optimiser, halving in other epochs."""
    usual = defaults_of(stream, net)
    optimizer = said.get("optimizer", usual.get("optimizer", "sgd"))
    if optimizer != usual.get("optimizer", "sgd"):
        usual = {k: v for k, v in usual.items() if k not in ("lr", "momentum", "halve_every")}
        usual["lr"] = 0.1 if optimizer == "sgd" else 0.001
    if {"epochs", "iterations"} & said.keys():
        usual.pop("halve_every", None)
    return usual


def options_of(kind: str, entry: Entry) -> list[Option]:
    """The options that a run has of a stream, a method or a network. A stream's seed may be the run's."""
    found = options(entry.load(), ("scenario",))
    if kind != "stream":
        return found
    each = "; each: every seed of the run has a stream of its own"
    return [
        replace(o, hint=int | Literal["each"], help=f"{o.help.rstrip('.')}{each}") if o.name == "seed" else o
        for o in found
    ]


def _drawn(stream: str) -> dict[str, Any]:
    """The seed of a stream that is drawn, which is part of every configuration, said or not."""
    return {f"stream.{o.name}": o.default for o in options(find("stream", STREAMS, stream).load()) if o.name == "seed"}


@lru_cache(maxsize=2)
def _stream(name: str, given: tuple[tuple[str, Any], ...]) -> Stream:
    built: Stream = find("stream", STREAMS, name).load()(**dict(given))
    return built


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
        return Config.flatten(yaml.safe_load(text) or {}, str(path))
    except MethodError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise MethodError(f"cannot read the configuration {path}: {error}") from error


def _training_keys() -> tuple[str, ...]:
    from .training import Training

    return tuple(f.name for f in fields(Training))


def _whole_training(given: Mapping[str, Any]) -> dict[str, Any]:
    """All that a training says, by the names of its fields."""
    from .training import Training

    return {f.name: given.get(f.name, f.default) for f in fields(Training)}


def known_keys(stream: str, methods: tuple[str, ...], net: str) -> dict[str, Any]:
    """Every key that a run of these may say, with its type."""
    from .stream import Scenario
    from .training import Training

    known: dict[str, Any] = {
        "stream": str,
        "method": str,
        "net": str,
        "seeds": str,
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
    groups = {"stream": find("stream", STREAMS, stream), "net": find("net", NETS, net)}
    groups |= {part: find("method", METHODS, part) for part in _parts(methods)}
    for prefix, entry in groups.items():
        known |= {f"{prefix}.{o.name}": o.hint for o in options_of(prefix, entry)}
    return known


def _names(said: Any) -> tuple[str, ...]:
    names = [str(n) for n in said] if isinstance(said, list | tuple) else str(said).split(",")
    return tuple(dict.fromkeys(n.strip() for n in names if n.strip())) or ("finetune",)


def _parts(methods: tuple[str, ...]) -> list[str]:
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


def plain(value: Any) -> Any:
    """As YAML and JSON have it: lists for tuples, text for paths."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
