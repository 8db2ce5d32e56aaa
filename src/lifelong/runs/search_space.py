"""What a search tries: hyperparameters, each with its values or its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from ..core.errors import MethodError, nearest
from ..core.options import convert, options
from .spec import RunSpec
from .spec_keys import options_of

__all__ = ["Try", "concerns", "hyperparameters", "with_values"]


# --- what is tried ------------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class Try:
    """A constant and what is tried of it: values, or a range.

    Args:
        key: as in a configuration, such as ``ewc.strength`` or ``lr``.
        values: to choose from; empty for a range.
        low, high: the range's ends, both in it.
        log: equal ratios are equally likely, not equal differences.
        whole: only whole numbers.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @staticmethod
    def read(said: str, config: RunSpec) -> Try:
        """``ewc.strength=1e-2:1e4:log``, ``lr=0.01,0.03,0.1``, ``replay.buffer_size=10:500``; ``strength=...`` where one method has it.

        Raises:
            MethodError: no such constant, or no such range.
        """
        known = hyperparameters(config)
        key, equals, text = said.partition("=")
        key = key.strip()
        if key not in known:
            own = [k for k in known if k.partition(".")[2] == key.removeprefix("method.")]
            if len(own) != 1:
                raise MethodError(f"nothing called {key!r} to try{nearest(key, known)}; there are: {', '.join(known)}")
            key = own[0]
        if not equals or not text.strip():
            raise MethodError(f"try {said!r}: expected {key}=LOW:HIGH, {key}=LOW:HIGH:log, or {key}=VALUE,VALUE,...")
        hint = known[key]
        if ":" not in text:
            return Try(key, tuple(convert(hint, v.strip(), key) for v in text.split(",")))
        low, high, *scale = text.split(":")
        ends = [convert(hint, end, key) for end in (low, high)]
        wrong = any(isinstance(e, bool) or not isinstance(e, int | float) for e in ends)
        if wrong or scale not in ([], ["log"]) or not ends[0] < ends[1] or (scale and not ends[0] > 0):
            raise MethodError(
                f"try {said!r}: expected numbers LOW < HIGH, as {key}=LOW:HIGH, or with LOW above 0 {key}=LOW:HIGH:log"
            )
        return Try(key, (), ends[0], ends[1], bool(scale), all(isinstance(e, int) for e in ends))

    def ask(self, trial: Any) -> Any:
        """What an Optuna trial suggests."""
        if self.values:
            return self.values[trial.suggest_categorical(self.key, list(range(len(self.values))))]
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values or ((int(self.low), int(self.high)) if self.whole else (self.low, self.high))


def hyperparameters(config: RunSpec) -> dict[str, Any]:
    """What may be tried: the hyperparameters of the methods, of the network and of training, with their types."""
    from ..training.settings import Training

    names = config.names
    groups = [(part, "method", part) for part in names.parts] + [("net", "net", config.net)]
    found = {
        f"{group}.{o.name}": o.hint
        for group, kind, name in groups
        if name and f"{kind}.{name}" not in config.unnamed
        for o in options_of(kind, names.entry(kind, name))
    }
    return found | {o.name: o.hint for o in options(Training)}


def with_values(config: RunSpec, method: str, values: Mapping[str, Any]) -> RunSpec:
    """The configuration of one method with some constants."""
    training, net = dict(config.training), dict(config.net_options)
    own = {p: dict(config.method_options.get(p, {})) for p in method.split("+")}
    for key, value in values.items():
        group, dot, name = key.partition(".")
        if not dot:
            training[key] = value
        elif group == "net":
            net[name] = value
        else:
            own[group][name] = value
    return replace(config, methods=(method,), training=training, net_options=net, method_options=own)


def concerns(key: str, method: str) -> bool:
    group, dot, _ = key.partition(".")
    return not dot or group == "net" or group in method.split("+")
