"""What a run is: one specification, which the command line, YAML and Python build alike.

It is plain data that can be built anew in any process. What Python made of an object without a name (a network of one's own, a stream of
tensors) is described in words, and kept as the object as long as the process lives; a command that needs it says how to name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import yaml

from ..core import code
from ..core.errors import MethodError, RunError, shortened
from ..core.options import Option
from ..core.yaml_io import plain, read_yaml
from ..measures.budget import Budget
from .spec_keys import (
    BUDGETS,
    DEFAULTS,
    Names,
    installed,
    methods_of,
    network_maker,
    options_of,
    seeds_of,
    values_of,
    whole_training,
)

if TYPE_CHECKING:
    from ..core.method import Method
    from ..core.ranks import Ranks
    from ..core.stream import Stream
    from ..training.build import Build
    from ..training.learner import Learner
    from ..training.settings import Training

__all__ = ["EACH", "NOTHING", "Permission", "RunSpec", "device_of", "precision_of", "refuse_code"]

EACH = "each"  # of `stream.seed`: every seed of the run has a stream of its own
_OF_A_RUN = ("scenario", "device", "threads", "precision", "every", "evaluate_every", "order", *BUDGETS, "tuned")
_HOW = {
    "stream": "--stream ./mydata.py:make, where make() gives that stream",
    "net": "--net ./mynets.py:make, where make(shape, outputs) gives that network",
    "method": "--method ./mymethods.py:Class",
}


@final
@dataclass(frozen=True)
class Permission:
    """What the user of a command allows, and names, beyond what a run's folder says.

    Args:
        allow_code: code that the folder names may be loaded.
        named: names for what Python made without one, by kind (``{"net": "./mynets.py:make"}``).
    """

    allow_code: bool = False
    named: Mapping[str, str] = field(default_factory=dict)

    def name(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What a folder says, with what has no name in it named. A name for what has one already is left out."""
        found = dict(said)
        for kind, name in self.named.items():
            keys = {f"{kind}.unnamed"} if kind != "method" else {k for k in said if k.endswith(".unnamed")} - _UNNAMED
            if keys & found.keys():
                found = {k: v for k, v in found.items() if k not in keys} | {kind: name}
        return found


_UNNAMED = {"stream.unnamed", "net.unnamed"}
NOTHING = Permission()


@final
@dataclass(frozen=True)
class RunSpec:
    """One run: a stream, methods, a network, training, seeds, where and how often.

    Every value is plain; `stream_options` and the like hold what was said beyond the defaults. The keys of the YAML form
    are those of the flags: ``stream.tasks`` is ``{stream: {tasks: ...}}``. ``stream.seed`` is a number, 0 if nothing is said, and then all
    seeds of the run learn the same stream; or the word ``each``, and then seed s learns the stream of seed s.

    Args:
        stream, methods, net: names; empty where Python made it of an object without one.
        seeds: of the run.
        scenario: of the stream, where it is not the stream's usual one.
        device, threads, precision: where, and in which numbers.
        every: seconds between checkpoints within a task.
        evaluate_every: steps within a task after which all tasks so far are measured; default: at its end only.
        order: of the tasks, as indices, or a rule that is not settled yet.
        budget_compute, budget_memory: of a seed (see `lifelong.measures.budget.Budget`).
        tuned: how the hyperparameters were chosen.
        stream_options, method_options, net_options, training: what builds them.
        code: where the code is of what is named by it, by kind and short name (``method.pull``); `sha256` of each place when the run began.
        unnamed: what has no name, in words, by kind (``net``, ``method.pull``).
        objects: what `unnamed` describes, in the process that made it.
    """

    stream: str = DEFAULTS["stream"]
    methods: tuple[str, ...] = (DEFAULTS["method"],)
    net: str = DEFAULTS["net"]
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
    code: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    unnamed: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    # --- from and to keys -------------------------------------------------------------------------------------------
    @staticmethod
    def from_keys(said: Mapping[str, Any]) -> RunSpec:
        """From what flags and files say, by dotted key (``{"stream": "permuted", "stream.tasks": 10}``). Code that they name is loaded: see
        `unasked_code`.

        Raises:
            MethodError: an unknown name, key or value; the message says the nearest or what was expected.
        """
        names = Names.of(said)
        values = values_of(said, names)

        def group(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(f"{prefix}."): v for k, v in values.items() if k.startswith(f"{prefix}.")}

        training = whole_training({})
        return RunSpec(
            stream=names.stream,
            methods=names.methods,
            net=names.net,
            seeds=seeds_of(said.get("seeds", 1)),
            **{k: values[k] for k in _OF_A_RUN if k in values},
            stream_options=group("stream"),
            method_options={part: group(part) for part in names.parts},
            net_options=group("net"),
            training={k: values.get(k, v) for k, v in training.items()},
            code=names.code,
            sha256={where: code.fingerprint(where) for where in names.places},
            unnamed={key: str(said[f"{key.removeprefix('method.')}.unnamed"]) for key in sorted(names.unnamed)},
        )

    def to_yaml(self) -> str:
        """All that the run depends on, defaults included; `from_keys(flatten(yaml))` gives it back."""
        tree: dict[str, Any] = {}
        for kind, name, options in (("stream", self.stream, self.stream_options), ("net", self.net, self.net_options)):
            tree[kind] = {"unnamed": self.unnamed[kind]} if kind in self.unnamed else {"name": name, **options}
            if kind == "stream":
                tree["method"] = ",".join(self.methods)
                tree |= {part: dict(given) for part, given in self.method_options.items() if given}
        tree |= {k.removeprefix("method."): {"unnamed": v} for k, v in self.unnamed.items() if k.startswith("method.")}
        tree |= dict(self.training)
        tree |= {"seeds": list(self.seeds), "device": self.device, "precision": self.precision, "every": self.every}
        for key in ("scenario", "evaluate_every", "threads", "order", *BUDGETS, "tuned"):
            if getattr(self, key) is not None:
                tree[key] = getattr(self, key)
        tree |= {key: dict(given) for key, given in (("code", self.code), ("sha256", self.sha256)) if given}
        return yaml.safe_dump(plain(tree), sort_keys=False, allow_unicode=True)

    @staticmethod
    def load(path: Path, permission: Permission | None = None) -> RunSpec:
        """That of a run's directory. What it does not say of the training was `Training`'s own default when it was written, whatever the
        stream's usual training is now.

        Args:
            path: its ``config.yaml``.
            permission: what the user allows and names.

        Raises:
            MethodError: it names code, which was not allowed.
            RunError: the code has changed since the run began.
        """
        said = {**whole_training({}), **read_yaml(path)}
        permission = permission or NOTHING
        refuse_code(said, str(path), permission.allow_code, permission.named.values())
        _unchanged(said)
        return RunSpec.from_keys(permission.name(said))

    # --- building ---------------------------------------------------------------------------------------------------
    @property
    def names(self) -> Names:
        """What it names."""
        return Names(self.stream, self.methods, self.net, self.code, frozenset(self.unnamed))

    def build_stream(self, seed: int) -> Stream:
        """The stream that seed `seed` of the run learns, in the order given. ``notes["stream_seed"]`` is the seed that all seeds' streams are
        drawn with, or ``"each"`` where every seed has its own.

        Raises:
            MethodError: an option is missing; the order is a rule or a file, not yet the places that `curriculum.order_rules.settle` makes of it;
                the stream has no name, and was made in another process.
        """
        if "stream" in self.unnamed or "stream" in self.objects:
            found: Stream = self._object("stream")(seed)
            return found
        given = dict(self.stream_options)
        entry = self.names.entry("stream", self.stream)
        known = options_of("stream", entry)
        if self.scenario is not None and entry.takes("scenario"):
            given["scenario"] = self.scenario
        drawn = next((given.get("seed", o.default) for o in known if o.name == "seed"), None)  # None: nothing is drawn
        if drawn == EACH:
            given["seed"] = seed
        _nothing_missing("stream", self.stream, known, given)
        built = _stream(
            entry.target, tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in given.items()))
        )
        if drawn is not None:
            built = replace(built, notes={**built.notes, "stream_seed": drawn})
        if self.scenario not in (None, built.scenario):
            raise MethodError(
                f"the stream {self.stream!r} is of the scenario {built.scenario!r}, not {self.scenario!r}, and takes no other"
            )
        if isinstance(self.order, str):
            raise MethodError(f"order {self.order!r} is not settled: curriculum.order_rules.settle(spec) finds it")
        return built if self.order is None else built.reorder(self.order)

    def build_method(self, name: str) -> Method:
        """The method of that name, a chain where it is composed."""
        from ..core.chain import chain

        return chain(*(self._part(part) for part in name.split("+")))

    def _part(self, name: str) -> Method:
        if f"method.{name}" in self.unnamed or f"method.{name}" in self.objects:
            found: Method = self._object(f"method.{name}")
            return found
        from ..core.method import is_method

        entry = self.names.entry("method", name)
        return is_method(code.call(entry.target, entry.load(), **self.method_options.get(name, {})))

    def build_net(self) -> Build | Any:
        """What makes the network; or the network itself, where that was given."""
        if "net" in self.unnamed or "net" in self.objects:
            return self._object("net")
        entry = self.names.entry("net", self.net)
        _nothing_missing("net", self.net, options_of("net", entry), self.net_options)
        return network_maker(entry, self.net_options)

    def network(self, stream: Stream) -> Any:
        """A network for a stream, as it is first made."""
        import torch

        made = self.build_net()
        return made if isinstance(made, torch.nn.Module) else made(stream.shape, stream.outputs)

    def build_training(self) -> Training:
        """How a task is trained."""
        from ..training.settings import Training

        return Training(**self.training)

    def build_learner(self, method: str, seed: int, stream: Stream, ranks: Ranks | None = None) -> Learner:
        """The untrained learner of one method and seed."""
        from ..core.ranks import ALONE
        from ..training.build import learner_for

        return learner_for(
            self.build_method(method),
            self.build_net(),
            stream,
            self.build_training(),
            seed,
            device_of(self.device),
            precision_of(self.precision),
            ranks or ALONE,
        )

    def alone(self, method: str, seed: int) -> RunSpec:
        """That of one method and seed of the run, less what does not change what comes out: how often it is saved, with how many threads, and how
        its hyperparameters were chosen."""
        own = {f"method.{part}" for part in method.split("+")}

        def concerned(found: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in found.items() if k in own or not k.startswith("method.")}

        named = concerned(self.code)
        places = Names(self.stream, (method,), self.net, named).places
        return replace(
            self,
            methods=(method,),
            seeds=(seed,),
            every=0.0,
            threads=None,
            tuned=None,
            method_options={k: v for k, v in self.method_options.items() if f"method.{k}" in own},
            code=named,
            sha256={where: self.sha256[where] for where in places if where in self.sha256},
            unnamed=concerned(self.unnamed),
            objects=concerned(self.objects),
        )

    @property
    def budget(self) -> Budget:
        """What a seed may cost."""
        return Budget(self.budget_compute, self.budget_memory)

    def _object(self, key: str) -> Any:
        """What Python made without a name.

        Raises:
            MethodError: it was made in another process.
        """
        if key not in self.objects:
            kind, _, label = key.partition(".")
            what = f"the {kind} {label}".rstrip()
            raise MethodError(
                f"this run was made in Python, and {what} has no name that a command could build it by ({shortened(self.unnamed[key])}): name it, {_HOW[kind]}"
            )
        return self.objects[key]


def device_of(name: str) -> Any:
    """The device of that name.

    Raises:
        MethodError: it cannot be used here.
    """
    import torch

    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise MethodError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); 'cpu' always can"
        ) from error


def precision_of(name: str) -> Any:
    """The type of the numbers that a run calculates in.

    Raises:
        MethodError: there is none of that name.
    """
    import torch

    known = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
    if name not in known:
        raise MethodError(f"precision {name!r}: expected one of {', '.join(known)}")
    return known[name]


def refuse_code(said: Mapping[str, Any], where: str, allow_code: bool, typed: Iterable[str] = ()) -> None:
    """Raises `MethodError` where a file or a folder names code that nobody has allowed, or typed on the command line."""
    named = [str(v) for k, v in said.items() if k.startswith("code.")]
    named += [k.removeprefix("sha256.") for k in said if k.startswith("sha256.")]
    for key in ("stream", "net", "method"):
        named += [
            part for name in methods_of(said.get(key, "")) for part in code.split(name, "+") if code.is_code(part)
        ]
    known = {*typed, *(installed() if named else ())}
    unasked = list(dict.fromkeys(name for name in named if name not in known))
    if unasked and not allow_code:
        raise MethodError(
            f"{where} names code that would be run ({', '.join(unasked)}): say --allow-code if you trust it"
        )


def _unchanged(said: Mapping[str, Any]) -> None:
    """Raises `RunError` where code has changed since its fingerprint was taken."""
    for key, before in said.items():
        if key.startswith("sha256."):
            where = key.removeprefix("sha256.")
            now = code.fingerprint(where)
            if now != before:
                raise RunError(
                    f"{where} has changed since this run began (SHA-256 {str(before)[:12]} then, {now[:12]} now): put it back as it was, or begin "
                    "another run with another --out"
                )


@lru_cache(maxsize=2)
def _stream(target: str, given: tuple[tuple[str, Any], ...]) -> Stream:
    from ..core.stream import Stream

    built = code.call(target, code.load(target), **dict(given))
    if not isinstance(built, Stream):
        raise MethodError(
            f"{target} gives {shortened(repr(built))}: expected a lifelong.Stream, such as stream_of([...]) makes"
        )
    return built


def _nothing_missing(kind: str, name: str, known: Iterable[Option], given: Mapping[str, Any]) -> None:
    """Raises `MethodError` where an option must be given and is not."""
    wanted = [f"--{kind}.{o.name} {o.metavar}" for o in known if o.needed and o.name not in given]
    if wanted:
        raise MethodError(f"the {kind} {name!r} needs {', '.join(wanted)}")
