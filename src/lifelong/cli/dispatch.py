"""Which command is meant: its module is asked for its flags, and does it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..core.errors import LifelongError, MethodError, enough_memory
from . import affinity, ask, demo, listing, order, release, report, resume, run, sweep, taxonomy, watch
from .configured import Configured, start
from .flags import Parser
from .session import reporting, terminable

__all__ = ["main"]

# In the order in which `lifelong --help` shows them. The options of a `Configured` one depend on what its flags name.
COMMANDS = (demo, run, order, affinity, sweep, taxonomy, resume, report, watch, ask, release, listing)
CONFIGURED: dict[str, Configured] = {module.COMMAND.name: module.COMMAND for module in (run, order, affinity, sweep)}
EPILOG = """\
A first look:           lifelong demo
Ten permuted tasks:     lifelong run --stream permuted --method finetune,ewc,joint --ewc.strength 100 --ewc.implicit true
The options of a run:   lifelong run --stream permuted --method ewc --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; gives its exit status: 0, 1 failure, 2 usage, 130 Ctrl-C or SIGTERM."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminable(), enough_memory("lifelong"), reporting(args):
            return _dispatch(args)
    except KeyboardInterrupt:
        print("\nlifelong: stopped before anything was learnt; nothing was written", file=sys.stderr)
        return 130
    except MethodError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 2
    except LifelongError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1


def _dispatch(args: list[str]) -> int:
    if args[:1] and args[0] in CONFIGURED:
        return start(CONFIGURED[args[0]], args[1:])
    parser = Parser(
        prog="lifelong",
        description="One network learns many tasks in a row without forgetting, and is measured.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    said = parser.parse_args(args)
    if said.version:
        from importlib.metadata import version

        print(version("lifelong"))
        return 0
    if said.command is None:
        parser.print_help()
        return 0
    do: Callable[[argparse.Namespace], int] = said.do
    return do(said)
