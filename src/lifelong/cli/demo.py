"""``lifelong demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .session import import_all, new_folder

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="a network forgets; L2, EWC and replay compared (offline, about a minute on two idle cores)"
    )
    parser.add_argument("--out", type=Path, help="directory to make (default: runs/DATE_demo)")
    parser.set_defaults(do=demo)


def demo(said: argparse.Namespace) -> int:
    import_all()
    from ..demo.demo import demo as tell_story

    return tell_story(said.out or new_folder("demo"))
