"""``lifelong methods``, ``lifelong streams`` and ``lifelong nets``: what there is by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..core.registry import METHODS, NETS, STREAMS

__all__ = ["add"]

TABLES = {"methods": METHODS, "streams": STREAMS, "nets": NETS}


def add(commands: Any) -> None:
    for kind in TABLES:
        parser = commands.add_parser(kind, help=f"the {kind} there are")
        parser.add_argument("--json", action="store_true", help="as JSON")
        parser.set_defaults(do=show)


def show(said: argparse.Namespace) -> int:
    table = TABLES[said.command]
    marks = table is METHODS
    if said.json:
        entries = [
            {"name": n, "summary": e.summary, "source": e.source}
            | ({"scenarios": list(e.scenarios), "own_loop": e.portable, "ranks": e.ranks} if marks else {})
            for n, e in table.items()
        ]
        print(json.dumps(entries, indent=1))
        return 0
    width = max(map(len, table))
    for name, entry in table.items():
        where = f"{'loop' if entry.portable else '':4}  {'ranks' if entry.ranks else '':5}  " if marks else ""
        fits = f"  ({', '.join(entry.scenarios)})" if marks else ""
        print(f"{name:{width}}  {where}{entry.summary}" + (f" [{entry.source}]" if entry.source else "") + fits)
    if marks:
        print(
            "\nloop: works in your own training loop (protect); ranks: several processes give what one gives; (...): its scenarios"
        )
    return 0
