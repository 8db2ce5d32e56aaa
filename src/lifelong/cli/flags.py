"""Flags that several commands share, and the parser that reads them."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from typing import Any, NoReturn

from ..core.errors import MethodError, nearest
from ..core.registry import METHODS

__all__ = [
    "Parser",
    "add_budgets",
    "add_command",
    "add_engine",
    "add_permission",
    "engine",
    "engine_again",
    "help_text",
    "permission",
]


class Parser(argparse.ArgumentParser):
    """Takes - and _ in names for each other, and says the nearest name of what it does not know."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known = {o.replace("_", "-"): o for a in self._actions for o in a.option_strings}

        def spelt(word: str) -> str:
            name, equals, value = word.partition("=")
            return known.get(name.replace("_", "-"), name) + equals + value if word.startswith("--") else word

        return super().parse_known_args(None if args is None else [spelt(w) for w in args], namespace)

    def error(self, message: str) -> NoReturn:
        known = [o for a in self._actions for o in a.option_strings]
        unknown = [w for w in message.split() if w.startswith("--")]
        hint = ""
        if unknown and "unrecognized" in message:
            flag = unknown[0].split("=")[0]
            method = flag[2:].partition(".")[0]
            near = nearest(flag, known)
            there = any(o.startswith(f"--{method}.") for o in known)
            hint = f"; it belongs to --method {method}" if method in METHODS and not there else near
            if method == "stream" and not near:
                hint = "; the stream that was named (--stream) has no such option"
        self.exit(2, f"{self.prog}: {message}{hint}; see {self.prog} --help\n")


def add_command(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    """Adds a command whose help and description are the same words."""
    added: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    return added


def help_text(text: str, default: Any) -> str:
    """The help of an option, with its default."""
    if default is inspect.Parameter.empty:
        return f"{text.rstrip('.')} (must be given)".replace("%", "%%")
    shown = (
        ",".join(map(str, default)) or "none"
        if isinstance(default, tuple)
        else str(default).lower()
        if default is None
        else default
    )
    return f"{text.rstrip('.')} (default: {shown})".replace("%", "%%")


# --- budgets -----------------------------------------------------------------------------------------------------------
def add_budgets(parser: Any, compute: str, memory: str) -> None:
    """Adds ``--budget-compute`` and ``--budget-memory``, with what each does in this command."""
    parser.add_argument(
        "--budget-compute", metavar="PASSES", help=f"examples forward and back in training (50000, 2M): {compute}"
    )
    parser.add_argument("--budget-memory", metavar="BYTES", help=f"kept because of past tasks (64kB, 2M): {memory}")


# --- code and names ------------------------------------------------------------------------------------------------------
def add_permission(parser: Any, names: bool = True) -> None:
    """Adds ``--allow-code``, and options that name what a run made in Python has no name for."""
    parser.add_argument("--allow-code", action="store_true", help="load code that the folder names (./file.py:Name)")
    if names:
        parser.add_argument(
            "--stream", metavar="CODE", help="./file.py:make, which gives the stream of a run that was made in Python"
        )
        parser.add_argument("--net", metavar="CODE", help="./file.py:make, which gives the network of such a run")


def permission(said: Mapping[str, Any]) -> Any:
    """What flags allow, and name."""
    from ..core.code import is_code
    from ..runs.spec import Permission

    named = {key: said[key] for key in ("stream", "net") if said.get(key)}
    if said.get("method") and is_code(said["method"]):
        named["method"] = said["method"]
    return Permission(bool(said.get("allow_code")), named)


# --- who does the jobs -------------------------------------------------------------------------------------------------
def add_engine(parser: Any) -> None:
    """Adds ``--jobs``, ``--engine`` and ``--address``."""
    parser.add_argument(
        "--jobs", type=int, help="processes, each with one thread (default: 1; ray: as many as there are)"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="who does the jobs: local processes, or a Ray cluster (default: local)",
    )
    parser.add_argument("--address", help="of the Ray cluster, HOST:PORT (default: the one that runs on this machine)")


def engine(said: Mapping[str, Any], threads: int = 1) -> Any:
    """The engine that flags name.

    Raises:
        MethodError: an address without ray, fewer than one process.
    """
    from ..runs.executor import Local

    jobs = said["jobs"]
    if jobs is not None and jobs < 1:
        raise MethodError(f"jobs {jobs}: expected at least 1 process")
    if said["engine"] == "ray":
        from ..runs.ray_executor import Ray

        return Ray(said["address"] or "auto", jobs, threads)
    if said["address"]:
        raise MethodError(f"address {said['address']}: local processes have none; say --engine ray")
    return Local(jobs or 1)


def engine_again(begun: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What flags say of the engine, and what they leave out as it was when the run was begun."""
    own = {key: said[key] for key in ("jobs", "engine", "address")}
    if own["engine"] not in (None, begun.get("name")):
        return own
    before = {"engine": begun.get("name"), "jobs": begun.get("jobs"), "address": begun.get("address")}
    return {key: before[key] if value is None else value for key, value in own.items()}
