"""``lifelong affinity``."""

from __future__ import annotations

from typing import Any

from .configured import Asked, Configured, add_name, study
from .flags import help_text

__all__ = ["COMMAND", "add"]


def add(commands: Any) -> None:
    add_name(commands, COMMAND)


def _add_what(group: Any) -> None:
    from ..core.options import options
    from ..curriculum.affinity import Probe

    for o in options(Probe):
        group.add_argument(f"--{o.name}", metavar=o.metavar, help=help_text(o.help, o.default))


def _affinity(asked: Asked) -> int:
    from ..core.options import convert, options
    from ..curriculum import studies
    from ..curriculum.affinity import Probe

    hints = {o.name: o.hint for o in options(Probe)}

    def measure() -> None:
        said = {k: convert(hints[k], asked.own[k], k) for k in COMMAND.own if asked.own[k] is not None}
        studies.affinity(asked.spec, Probe(**said), asked.out, asked.engine)

    return study(asked, measure)


COMMAND = Configured(
    "affinity",
    "which task of a stream helps which (affinity --help tells the options)",
    "Measures which task of a stream helps which, on held-out training examples: a network learns each task, and its "
    "features are read out for every other from few examples. Said again with the same --out it goes on where it was.",
    _affinity,
    own=("few", "pairs", "how", "fraction", "decay"),
    add_what=_add_what,
    methods=False,
)
