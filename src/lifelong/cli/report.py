"""``lifelong compare`` and ``lifelong report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .flags import add_budgets, add_command

__all__ = ["add"]


def add(commands: Any) -> None:
    compared = add_command(
        commands,
        "compare",
        "methods of several runs side by side: table, paired differences on the same seeds, pictures",
    )
    compared.add_argument("dirs", type=Path, nargs="+", metavar="DIR", help="a run's directory (runs/DATE_STREAM)")
    compared.add_argument(
        "--out", type=Path, help="a page FILE.html, or a directory for page, table and pictures (default: print only)"
    )
    add_budgets(compared, *["runs that cost more are left out, and named"] * 2)
    compared.set_defaults(do=compare)
    reported = add_command(commands, "report", "write a run's report.html again from its stored results")
    reported.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    reported.set_defaults(do=report)


def compare(said: argparse.Namespace) -> int:
    from ..measures.budget import Budget, amount
    from ..report import compare as compared

    budget = Budget(amount(said.budget_compute, "--budget-compute"), amount(said.budget_memory, "--budget-memory"))
    print(compared(said.dirs, said.out, budget=budget))
    return 0


def report(said: argparse.Namespace) -> int:
    from ..report import write

    print(write(said.dir))
    return 0
