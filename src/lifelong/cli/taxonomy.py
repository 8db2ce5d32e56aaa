"""``lifelong taxonomy``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.errors import MethodError
from .flags import add_command

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "taxonomy",
        "which tasks to learn from, and in which order: the best transfers within a budget, exactly",
    )
    parser.add_argument(
        "affinities",
        type=Path,
        metavar="DIR|FILE",
        help="a directory of `lifelong affinity`, a JSON file of affinities, or the word taskonomy: the published ones",
    )
    parser.add_argument(
        "--budget", required=True, help="how many sources may be supervised: 3, or several: 1,2,5 or 1-22"
    )
    parser.add_argument(
        "--sources", type=int, help="most sources of one transfer, 1 or 2 (default: as many as were measured)"
    )
    parser.add_argument(
        "--goal",
        choices=("acc", "fwt"),
        default="acc",
        help="of the recommended order: accuracy at the end, or forward transfer",
    )
    parser.add_argument("--out", type=Path, help="directory for the graph and order.json (default: DIR)")
    parser.set_defaults(do=taxonomy)


def taxonomy(said: argparse.Namespace) -> int:
    from ..curriculum import studies

    studies.taxonomy(said.affinities, budgets(said.budget), said.sources, said.goal, said.out)
    return 0


def budgets(said: str) -> list[float]:
    """``3``, ``1,2,5`` or ``1-22``."""
    first, dash, last = said.partition("-")
    try:
        found = [float(b) for b in range(int(first), int(last) + 1)] if dash else [float(b) for b in said.split(",")]
    except ValueError:
        found = []
    if not found or not all(b >= 0 for b in found):
        raise MethodError(f"budget {said!r}: expected a number (3), several (1,2,5) or a range (1-22)")
    return found
