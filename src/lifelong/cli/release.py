"""``lifelong gate``, ``lifelong export`` and ``lifelong predict``: from a run to what is shipped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import LifelongError, MethodError
from .flags import add_command, add_permission, help_text, permission

if TYPE_CHECKING:
    from ..release.answers import Answers
    from ..runs.spec import Permission

__all__ = ["add"]


def add(commands: Any) -> None:
    _add_gate(commands)
    _add_export(commands)
    _add_predict(commands)


# --- gate --------------------------------------------------------------------------------------------------------------
def _add_gate(commands: Any) -> None:
    parser = add_command(
        commands,
        "gate",
        "did a new model forget what an old one knew? Exit status 0: passed, 1: failed, 2: nothing was decided",
    )
    for which in ("old", "new"):
        parser.add_argument(
            f"--{which}",
            type=Path,
            required=True,
            metavar="DIR|CSV",
            help=f"the {which} model: a run's directory, or its answers: columns label, prediction, and if known task and id",
        )
        parser.add_argument(f"--{which}-method", metavar="NAME", help=f"of the {which} run (default: its first)")
        parser.add_argument(f"--{which}-seed", type=int, metavar="N", help=f"of the {which} run (default: its first)")
    for flag, default, what in (
        ("--max-drop", "0.01", "most that the accuracy may drop, over all and in each task"),
        ("--max-negative-flips", "none", "most examples that may be right before and wrong now"),
        ("--worst-class", "none", "most that any class may drop"),
        ("--max-error", "none", "most examples that the new model may get wrong, over all and in each task"),
    ):
        parser.add_argument(flag, default=default, metavar="X|none", help=help_text(what, default))
    parser.add_argument(
        "--decide",
        choices=("point", "shown", "excluded"),
        default="point",
        help="on the measured numbers; or on the intervals, failing where more than the limit is shown, or passing only where it is excluded",
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default: 0.95)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the findings there (default: print them)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write them there as JSON")
    add_permission(parser)
    parser.set_defaults(do=gate)


def gate(said: argparse.Namespace) -> int:
    from ..core.files import write_atomically
    from ..core.options import convert
    from ..release.gate import LIMITED, Limits
    from ..release.gate import gate as decide

    try:
        named = {k: convert(float | None, getattr(said, k), k) for k in LIMITED}
        limits = Limits(**named, decide=said.decide, confidence=said.confidence)
        allowed = permission(vars(said))
        old = _answers(said.old, said.old_method, said.old_seed, allowed)
        tasks = list(dict.fromkeys(old.task or ())) if old.inputs else None
        found = decide(old, _answers(said.new, said.new_method, said.new_seed, allowed, tasks), limits)
        if said.json is not None:
            write_atomically(said.json, found.to_json())
        if said.markdown is not None:
            write_atomically(said.markdown, found.to_markdown())
    except LifelongError as error:  # 1 means that the new model forgot, and nothing else
        print(f"lifelong: {error}", file=sys.stderr)
        return 2
    if said.markdown is None:
        print(found.to_markdown())
    failed = sum(not c.passed for c in found.checks)
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(f"gate {'failed' if failed else 'passed'}: {failed} of {len(found.checks)} limits exceeded", file=sys.stderr)
    return 0 if found.passed else 1


def _answers(
    path: Path, method: str | None, seed: int | None, allowed: Permission, tasks: Sequence[str] | None = None
) -> Answers:
    """The answers of a run, or those of a file."""
    from ..release.answers import Answers

    if path.is_dir():
        return Answers.of_run(path, method, seed, tasks, allowed)
    if method is not None or seed is not None:
        raise MethodError(f"{path} is no run's directory: a file of answers has no methods and seeds")
    return Answers.read(path)


# --- export ------------------------------------------------------------------------------------------------------------
def _add_export(commands: Any) -> None:
    parser = add_command(
        commands, "export", "what a run has learnt to predict, as a folder to be shipped, with a model card"
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    parser.add_argument(
        "--to",
        choices=("safetensors", "torch", "onnx"),
        default="safetensors",
        help="safetensors (reading it runs nothing), a torch.export program, or ONNX (default: safetensors)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--method", help="whose (default: the run's first method)")
    parser.add_argument("--seed", type=int, help="of which seed (default: the run's first)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="most that a program's scores may differ from the run's (default: 1e-4)",
    )
    add_permission(parser)
    parser.set_defaults(do=export)


def export(said: argparse.Namespace) -> int:
    from ..release.export import export as write

    done = write(said.dir, said.out, said.to, said.method, said.seed, said.tolerance, permission(vars(said)))
    for name, size in done.files.items():
        print(f"{size:>12,} bytes  {done.folder / name}")
    print(
        f"read back: {done.inputs} test inputs, largest difference of the scores from the run's {done.difference:.2e}"
    )
    print(f"model card: {done.folder / 'README.md'}")
    return 0


# --- predict -----------------------------------------------------------------------------------------------------------
def _add_predict(commands: Any) -> None:
    parser = add_command(commands, "predict", "answers of an export, as CSV: id, answer, probability")
    parser.add_argument("dir", type=Path, metavar="EXPORT", help="a folder that `lifelong export` made")
    parser.add_argument(
        "inputs", metavar="FILE|FOLDER|-", help="CSV, images, or text, as the export takes it; - reads standard input"
    )
    parser.add_argument("--task", help="name or number of the task that the inputs belong to, where it must be known")
    parser.add_argument("--resize", action="store_true", help="resize images of other sizes")
    parser.add_argument("--trust", action="store_true", help="run a program (torch, onnx), whose maker you trust")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the answers there (default: print them)")
    add_permission(parser, names=False)
    parser.set_defaults(do=predict)


def predict(said: argparse.Namespace) -> int:
    from ..core.files import write_atomically
    from ..release.export import reader
    from ..release.inputs import answers_csv, read_inputs

    about, scores = reader(said.dir, said.trust, said.allow_code)
    text = answers_csv(about, scores, read_inputs(about, said.inputs, said.resize), said.task)
    if said.out is None:
        print(text, end="")
    else:
        write_atomically(said.out, text)
    return 0
