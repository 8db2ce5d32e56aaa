"""``lifelong order``."""

from __future__ import annotations

from typing import Any

from .configured import Asked, Configured, add_name, study

__all__ = ["COMMAND", "add"]


def add(commands: Any) -> None:
    add_name(commands, COMMAND)


def _add_what(group: Any) -> None:
    group.add_argument("--orders", type=int, default=20, help="how many, all if there are not more (default: 20)")


def _order(asked: Asked) -> int:
    from ..curriculum import studies

    return study(asked, lambda: studies.order(asked.spec, asked.own["orders"], asked.out, asked.engine))


COMMAND = Configured(
    "order",
    "how much the order of a stream's tasks matters (order --help tells the options)",
    "Learns the tasks of a stream in several orders, and shows what the order does: accuracy and transfer by order, which "
    "tasks want to come early or late. Said again with the same --out it goes on where it was.",
    _order,
    own=("orders",),
    add_what=_add_what,
)
