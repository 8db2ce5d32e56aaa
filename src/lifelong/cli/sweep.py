"""``lifelong sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import MethodError
from ..core.progress import say
from .configured import Asked, Configured, add_name, study
from .flags import help_text

__all__ = ["COMMAND", "add"]


def add(commands: Any) -> None:
    add_name(commands, COMMAND)


def _add_what(group: Any) -> None:
    from ..core.options import options
    from ..runs.search import Protocol

    group.add_argument(
        "--try",
        action="append",
        metavar="NAME=RANGE",
        help="a constant and what is tried of it, once for each: ewc.strength=1e-2:1e4:log, replay.buffer_size=10:500, lr=0.01,0.03,0.1",
    )
    for o in options(Protocol):
        group.add_argument(f"--{o.name}", metavar=o.metavar, help=help_text(o.help, o.default))
    group.add_argument(
        "--on",
        action="append",
        metavar="KEY=VALUE",
        help="the other stream of the protocol two-phase: --on stream=NAME, --on stream.OPTION=VALUE",
    )
    group.add_argument("--trials", type=int, default=20, help="how many for each method (default: 20)")
    group.add_argument(
        "--trial_seeds", help="seeds of a trial (default: 1000, none of the run's; of an oracle: the run's)"
    )
    group.add_argument(
        "--together", type=int, default=4, help="trials that are asked before any of them is told (default: 4)"
    )


def _sweep(asked: Asked) -> int:
    from ..core.options import convert, options
    from ..runs.search import Protocol
    from ..runs.spec_keys import seeds_of
    from ..runs.sweep import sweep

    config, own = asked.spec, asked.own

    def search() -> None:
        hints = {o.name: o.hint for o in options(Protocol)}
        said = {k: convert(hints[k], own[k], k) for k in hints if own[k] is not None}
        other = _other_stream(config, own["on"]) if own["on"] else None
        protocol = Protocol(**said)
        told = sweep(
            config,
            other,
            own["try"] or [],
            protocol,
            asked.out,
            trials=own["trials"],
            seeds=seeds_of(own["trial_seeds"] or (config.seeds if protocol.peeks else [1000])),
            together=own["together"],
            engine=asked.engine,
            say=say,
        )
        print(told)

    return study(asked, search)


def _other_stream(config: Any, said: Sequence[str]) -> Any:
    """The configuration with another stream, which ``--on`` names; what trains is that of the stream which is tuned for."""
    from ..runs.spec import RunSpec

    pairs = [(key.strip(), value) for key, _, value in (word.partition("=") for word in said)]
    wrong = [k for k, v in pairs if not v or not (k in ("stream", "scenario", "order") or k.startswith("stream."))]
    if wrong or "stream" not in dict(pairs):
        raise MethodError(
            f"on {' '.join(said)}: expected stream=NAME, and stream.OPTION=VALUE and scenario=... as needed"
        )
    scenario = {"scenario": config.scenario} if config.scenario else {}
    there = RunSpec.from_keys({**scenario, **dict(pairs), "net": config.net})
    return replace(
        config, stream=there.stream, stream_options=there.stream_options, scenario=there.scenario, order=there.order
    )


COMMAND = Configured(
    "sweep",
    "search for the constants of methods (sweep --help tells the options)",
    "Searches for the constants of methods on data that may be used for it, runs the best of each method on the test sets, and "
    "prints its command. Said again with the same --out it goes on where it was.",
    _sweep,
    own=("try", "protocol", "tasks", "fraction", "on", "trials", "trial_seeds", "together"),
    add_what=_add_what,
    one_thread=True,
)
