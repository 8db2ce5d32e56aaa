"""What the commands share that take a run's configuration: their options depend on the stream, methods and network named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..core.code import split
from ..core.registry import METHODS, NETS, STREAMS
from .flags import Parser, add_budgets, add_engine, engine, help_text
from .session import import_all, new_folder

if TYPE_CHECKING:
    from ..runs.spec_keys import Names

__all__ = ["Asked", "Configured", "add_name", "start", "study"]


@final
@dataclass(frozen=True)
class Asked:
    """What a command line asks for: a configuration, a directory, who does the jobs, and the command's own options."""

    spec: Any  # lifelong.runs.spec.RunSpec, whose import takes long
    out: Path
    engine: Any  # lifelong.runs.executor.Engine
    own: Mapping[str, Any]


@final
@dataclass(frozen=True)
class Configured:
    """A command that takes a run's configuration.

    Args:
        name: as it is typed.
        summary: a line of ``lifelong --help``.
        description: the head of its own help.
        start: does it; gives the exit status.
        own: the names of its own options, which are none of the configuration's.
        add_what: adds options to the group "what to run".
        add_how: adds options to the group "how and where".
        methods: whether it takes methods, and budgets of theirs.
        one_thread: whether a process has one thread where nothing is said, even if it is this one.
    """

    name: str
    summary: str
    description: str
    start: Callable[[Asked], int]
    own: tuple[str, ...] = ()
    add_what: Callable[[Any], None] = lambda group: None
    add_how: Callable[[Any], None] = lambda group: None
    methods: bool = True
    one_thread: bool = False


def add_name(commands: Any, command: Configured) -> None:
    """Adds a command to the list of ``lifelong --help``; `start` reads its options."""
    commands.add_parser(command.name, help=command.summary)


def start(command: Configured, args: list[str]) -> int:
    """Reads the options of a command, and does it."""
    if not {"-h", "--help"} & set(args):
        import_all()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--config", "--stream", "--method", "--net"):
        first.add_argument(flag)
    first.add_argument("--allow-code", action="store_true")
    names, _ = first.parse_known_args(args)
    from ..core.yaml_io import read_yaml
    from ..runs.spec import RunSpec, refuse_code
    from ..runs.spec_keys import Names

    filed = read_yaml(Path(names.config)) if names.config else {}
    said = {key: getattr(names, key) for key in ("stream", "method", "net") if getattr(names, key) is not None}
    refuse_code({**filed, **said}, str(names.config), names.allow_code, _parts(said.values()))
    filed |= said
    given = vars(_parser(command, Names.of(filed)).parse_args(args))
    ours = ("out", "jobs", "engine", "address", "config", "print_config", "allow_code", *command.own)
    own = {k: given.pop(k) for k in ours if k in given}
    if not command.methods:
        filed.pop("method", None)
    spec = RunSpec.from_keys({**filed, **{k: v for k, v in given.items() if v is not None}})
    if own["print_config"]:
        print(spec.to_yaml(), end="")
        return 0
    spec = replace(spec, threads=spec.threads or _threads(command, own))
    out = own["out"] or new_folder(spec.stream if command.name == "run" else f"{command.name}_{spec.stream}")
    return command.start(Asked(spec, out, engine(own, spec.threads or 1), own))


def _parts(names: Iterable[str]) -> list[str]:
    """What names are composed of: ``ewc+l2,si`` of three."""
    return [part for given in names for each in split(given, ",") for part in split(each, "+")]


def study(asked: Asked, measure: Callable[[], None]) -> int:
    """Measures what a later call with the same directory goes on with; gives the exit status."""
    import torch

    torch.set_num_threads(asked.spec.threads)
    try:
        measure()
    except KeyboardInterrupt:
        print(
            f"\nstopped; what was measured is kept. Say the same again with --out {asked.out} to go on", file=sys.stderr
        )
        return 130
    return 0


def _threads(command: Configured, own: Mapping[str, Any]) -> int:
    """Of a process, where nothing is said: torch's own number where all is done in this one."""
    import torch

    return 1 if command.one_thread or not engine(own).here else torch.get_num_threads()


# --- the parser --------------------------------------------------------------------------------------------------------
def _parser(command: Configured, named: Names) -> argparse.ArgumentParser:
    from ..runs.spec_keys import defaults_of

    parser = Parser(
        prog=f"lifelong {command.name}",
        description=command.description,
        epilog="Several methods: --method finetune,ewc; composed: --method ewc+l2. Options of a method that runs alone may "
        "be written --method.NAME. The options shown are those of the stream, methods and network named.",
        allow_abbrev=False,
    )
    _add_what(parser.add_argument_group("what to run"), command, named)
    _add_how(parser.add_argument_group("how and where"), command)
    usual = defaults_of(named)
    _add_training(parser.add_argument_group("training", "defaults belong to the stream"), usual)
    _add_options(parser, command, named, usual)
    return parser


def _add_what(group: Any, command: Configured, named: Names) -> None:
    from ..runs.spec_keys import DEFAULTS, Names

    group.add_argument(
        "--stream", help=f"one of {', '.join(STREAMS)}, or ./file.py:make (default: {DEFAULTS['stream']})"
    )
    if command.methods:
        group.add_argument(
            "--method", help=f"one or several of {', '.join(METHODS)}, or ./file.py:Class (default: finetune)"
        )
    usual = Names.of({"stream": named.stream, **{f"code.{k}": v for k, v in named.code.items()}}).net
    group.add_argument(
        "--net", help=f"one of {', '.join(NETS)}, or package.module:make (default: the stream's, {usual})"
    )
    group.add_argument("--scenario", help="task|domain|class: what is known at test time (default: the stream's)")
    group.add_argument("--seeds", help="how many (5 means 0 to 4) or a list (3,7) (default: 1)")
    command.add_what(group)


def _add_how(group: Any, command: Configured) -> None:
    group.add_argument("--out", type=Path, help="directory to make (default: runs/DATE_STREAM)")
    add_engine(group)
    if command.methods:
        add_budgets(
            group,
            "of each method and seed; training ends there",
            "of each method and seed; one that would keep more is refused",
        )
    group.add_argument("--threads", help="threads of a process (default: torch's; 1 with several jobs)")
    group.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    group.add_argument("--precision", help="float32|float64|bfloat16 (default: float32)")
    group.add_argument("--every", help="seconds between checkpoints within a task (default: 30)")
    command.add_how(group)
    group.add_argument("--config", help="a YAML file that says what flags say; flags win")
    group.add_argument("--allow-code", action="store_true", help="load code that --config names (./file.py:Name)")
    group.add_argument("--print_config", action="store_true", help="print the whole configuration as YAML and stop")


def _add_training(group: Any, usual: Mapping[str, Any]) -> None:
    from ..core.options import options
    from ..training.settings import Training

    for o in options(Training):
        default = usual.get(o.name, o.default)
        group.add_argument(f"--{o.name}", dest=o.name, metavar=o.metavar, help=help_text(o.help, default))


def _add_options(parser: argparse.ArgumentParser, command: Configured, named: Names, usual: Mapping[str, Any]) -> None:
    """Adds a group of options for the stream, the network, and each method."""
    from ..runs.spec_keys import options_of

    parts = named.parts
    groups = [("stream", "stream", named.stream), ("net", "net", named.net)]
    if command.methods:
        groups += [("method", part, part) for part in parts]
    for kind, prefix, name in groups:
        found = named.entry(kind, name)
        section = parser.add_argument_group(f"{kind} {name}", named.summary(kind, name))
        for o in options_of(kind, found):
            flags = [f"--{prefix}.{o.name}"]
            if parts == [prefix]:
                flags.append(f"--method.{o.name}")
            default = usual.get(f"{prefix}.{o.name}", o.default)
            section.add_argument(*flags, dest=f"{prefix}.{o.name}", metavar=o.metavar, help=help_text(o.help, default))
