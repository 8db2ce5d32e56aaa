"""What the benchmarks share: their arguments, units of work that are kept as they are done, timings in turn, and what is saved.

A script makes a `Benchmark`, which parses its arguments, and asks it for `runs`: calls of a function in several processes. What a call
gives is a line of a file as soon as it is done, so that the same command, started again after it was stopped, goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stored import DOCS, RESULTS, load

if TYPE_CHECKING:
    from lifelong import Interval
    from lifelong.runs.choose import Choice

# Nothing of the library is imported before it is needed: a script may time its import.

__all__ = ["Benchmark", "Runs", "over_seeds", "pairs", "plain", "ratios", "say", "seconds"]

Key = TypeVar("Key", bound=Hashable)
USUAL: dict[str, str | None] = {
    "seeds": None,
    "jobs": "processes",
    "source": "of the images",
    "pairs": "timings in turn",
    "threads": "of each process",
    "methods": "only these, separated by commas; what was measured of the others stays",
}
NOT_MEASURED = {"draw", "jobs", "out", "work"}  # arguments that no number depends on


def say(*what: object) -> None:
    """How far it is: on stderr, so that results can be piped."""
    print(*what, file=sys.stderr, flush=True)


# --- a script -----------------------------------------------------------------------------------------------------------
class Benchmark:
    """A script that measures: its arguments, where its results and pictures go, and the units of its work.

    Args:
        name: of the file in results/.
        doc: the script's docstring, which says what is measured and how.
        draws: whether it has ``--draw``, to draw its pictures again.
        usual: defaults of the usual arguments (`USUAL`) that it has.
    """

    def __init__(self, name: str, doc: str | None, *, draws: bool = False, **usual: Any) -> None:
        self.name = name
        self.parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        for flag, default in usual.items():
            kind = int if isinstance(default, int) else str
            self.flag(f"--{flag}", type=kind, default=default, help=USUAL[flag])
        if "jobs" in usual:
            self.flag("--work", type=Path, default=Path("runs") / name, help="where what is done is kept until all is")
        if draws:
            self.flag("--draw", action="store_true", help="draw the pictures again from results/, and measure nothing")
        self.flag("--out", type=Path, help="a folder for results and pictures in the place of the project's")

    def flag(self, *names: str, **how: Any) -> None:
        """One more argument, as argparse has it."""
        self.parser.add_argument(*names, **how)

    @cached_property
    def said(self) -> argparse.Namespace:
        """The arguments, when all are known."""
        return self.parser.parse_args()

    @property
    def recipe(self) -> dict[str, Any]:
        """The arguments on which the numbers depend."""
        return {name: value for name, value in vars(self.said).items() if name not in NOT_MEASURED}

    def runs(self, *recipe: object) -> Runs:
        """Units of work under this script and library and these of its arguments: those that the units' keys do not name."""
        folder: Path = self.said.work
        folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps([*map(str, recipe), _code(Path(sys.argv[0]))])
        return Runs(folder / f"{self.name}.jsonl", told, self.said.jobs, getattr(self.said, "threads", 1))

    # --- what is stored ---
    @cached_property
    def _out(self) -> Path | None:
        folder: Path | None = self.said.out
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return folder and folder.resolve()  # a script may leave this folder

    @property
    def docs(self) -> Path:
        """Where pictures and texts for the documentation go."""
        return self._out or DOCS

    def before(self, name: str | None = None) -> dict[str, Any]:
        """What was measured before, empty where nothing was; of the project where it is only drawn again."""
        again = getattr(self.said, "draw", False)
        found = load(name or self.name, RESULTS if again else self._out or RESULTS)
        if again and found is None:
            self.parser.error(f"--draw: results/ holds no {name or self.name}.json")
        return found or {}

    def picture(self, name: str, png: bytes) -> None:
        (self.docs / name).write_bytes(png)

    def save(self, threads: int = 1, /, name: str | None = None, **what: object) -> None:
        """Writes NAME.json, and the tables of docs/ that are made of it."""
        folder = self._out or RESULTS
        folder.mkdir(exist_ok=True)
        (folder / f"{name or self.name}.json").write_text(json.dumps({**environment(threads), **what}, indent=1) + "\n")
        if self._out is None:
            from tables import write

            write()

    def add(self, threads: int = 1, /, **parts: object) -> None:
        """Saves parts of what is measured; the others stay as they were."""
        depends = environment(threads)
        stay = {k: v for k, v in self.before().items() if k not in depends}
        self.save(threads, **{**stay, **parts})


def environment(threads: int) -> dict[str, object]:
    """What a measurement depends on: versions, cores, threads, date."""
    versions = {name: _version(name) for name in ("lifelong", "torch", "numpy")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {**versions, "python": platform.python_version()},
        "cores": os.cpu_count(),
        "threads": threads,
    }


def _version(name: str) -> str:
    """That of an installed package; another environment may use the library from its folder."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _code(script: Path) -> str:
    """A sum of the script and of the library: what other code measured is no part of this."""
    import lifelong

    files = [script, *sorted(Path(lifelong.__path__[0]).rglob("*.py"))]
    return sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()


# --- units of work ------------------------------------------------------------------------------------------------------
class Runs:
    """Units of work in several processes. What is done is kept in a file, and the file is removed at the end.

    Args:
        file: a unit a line.
        recipe: what all units have in common; those of another recipe are not taken for these.
        jobs: how many processes; 1: this one.
        threads: of each.
    """

    def __init__(self, file: Path, recipe: str, jobs: int, threads: int = 1) -> None:
        self.file, self.recipe, self.jobs, self.threads = file, recipe, jobs, threads
        self.kept: dict[str, Any] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            with suppress(ValueError):  # the last may be torn
                unit = json.loads(line)
                if unit["recipe"] == recipe:
                    self.kept[unit["of"]] = unit["gives"]

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.file.unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                self.file.parent.rmdir()

    def __call__(self, function: Callable[..., Any], units: Mapping[Key, Sequence[Any]]) -> dict[Key, Any]:
        """``function(*units[key])``, as JSON has it, for each key; what is kept of an earlier start is not done again.

        Args:
            function: gives what JSON has; picklable by its name, as the arguments are.
            units: by what tells them apart, in words and numbers, within the recipe.
        """
        from lifelong.runs.executor import each

        names = {key: json.dumps([function.__name__, key]) for key in units}
        todo = [key for key in units if names[key] not in self.kept]
        done = len(units) - len(todo)
        for i, found in each(_called, [(self.threads, function, *units[key]) for key in todo], self.jobs):
            self._keep(names[todo[i]], found)
            done += 1
            say(f"{done} of {len(units)}:", *(todo[i] if isinstance(todo[i], tuple) else (todo[i],)))
        return {key: self.kept[names[key]] for key in units}

    def once(self, key: Hashable, work: Callable[[], Any]) -> Any:
        """What is worked out in this process, kept likewise."""
        name = json.dumps(["once", key])
        if name not in self.kept:
            self._keep(name, work())
        return self.kept[name]

    def choices(self, key: Hashable, choose: Callable[[], Mapping[str, Choice]]) -> dict[str, Choice]:
        """Strengths that were chosen on held-out data, by method, kept likewise."""
        from lifelong.runs.choose import Choice

        found = self.once(key, lambda: plain(choose()))
        chosen = {name: Choice(**choice) for name, choice in found.items()}
        say(key, {name: str(choice) for name, choice in chosen.items()})
        return chosen

    def _keep(self, name: str, found: Any) -> None:
        line = json.dumps({"recipe": self.recipe, "of": name, "gives": found})
        with self.file.open("a") as file:
            file.write("\n" + line)  # behind a line that may be torn
        self.kept[name] = json.loads(line)["gives"]


def _called(threads: int, function: Callable[..., Any], *given: Any) -> Any:
    """In whatever process: numbers depend on the threads, and not on how many processes there are."""
    import torch

    torch.set_num_threads(threads)
    return function(*given)


# --- what is made of numbers --------------------------------------------------------------------------------------------
def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Mean and 95% interval of each number, over the seeds that gave a row each."""
    from lifelong import interval

    return {name: interval([row[name] for row in rows]) for name in rows[0]}


def plain(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Intervals or choices, as results/ has them."""
    return {name: cast(dict[str, Any], value._asdict()) for name, value in found.items()}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratios(found: Sequence[float]) -> dict[str, float]:
    """Of ratios that were measured pair by pair."""
    return {"ratio_median": statistics.median(found), "ratio_min": min(found), "ratio_max": max(found)}


def pairs(ours: Callable[[], object], by_hand: Callable[[], object], n: int) -> dict[str, object]:
    """Ours and theirs in turn, each once beforehand; the ratio pair by pair."""
    ours(), by_hand()
    found = []
    for i in range(n):
        order = (ours, by_hand) if i % 2 == 0 else (by_hand, ours)
        took = {f: seconds(f) for f in order}
        found.append((took[ours], took[by_hand]))
        say(f"  {took[ours]:.2f} s against {took[by_hand]:.2f} s")
    return {"ours": [a for a, _ in found], "by_hand": [b for _, b in found], **ratios([a / b for a, b in found])}
