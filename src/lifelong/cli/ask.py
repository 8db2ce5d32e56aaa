"""``lifelong ask``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .flags import add_command, add_permission, permission

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands, "ask", "a question about a story, to what a run on the stream babi has learnt so far"
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    parser.add_argument("--story", type=Path, required=True, metavar="FILE", help="one sentence a line")
    parser.add_argument("--question", required=True, metavar="TEXT", help="in words that the stream has")
    parser.add_argument("--method", help="whose answer (default: the run's first method)")
    parser.add_argument("--seed", type=int, help="of which seed (default: the run's first)")
    parser.add_argument("--task", type=int, metavar="N", help="the number of the kind of question (scenario task only)")
    add_permission(parser)
    parser.set_defaults(do=ask)


def ask(said: argparse.Namespace) -> int:
    from ..release.story_qa import answer_question

    print(
        answer_question(said.dir, said.story, said.question, said.method, said.seed, said.task, permission(vars(said)))
    )
    return 0
