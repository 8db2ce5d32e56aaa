"""``lifelong resume``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .flags import add_command, add_engine, add_permission, engine, engine_again, permission
from .run import execute
from .session import import_all

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands, "resume", "go on exactly where a run was stopped, with the processes it was begun with"
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    add_engine(parser)
    parser.add_argument("--method", metavar="CODE", help="./file.py:Class, where its method has no name")
    add_permission(parser)
    parser.set_defaults(do=resume)


def resume(said: argparse.Namespace) -> int:
    import_all()
    from ..runs import jobs
    from ..runs.run import Job

    folder: Path = said.dir
    spec = jobs.resume(folder, permission(vars(said)))
    doer = engine(engine_again(jobs.begun_with(folder), vars(said)), spec.threads or 1)
    records = [jobs.recorded(folder, Job(m, s)) for m in spec.methods for s in spec.seeds]
    complete = all(record is not None and record.complete for record in records)
    if complete and (folder / "results.csv").exists() and (folder / "report.html").exists():
        print(f"{folder} is finished: there is nothing to go on with", file=sys.stderr)
        return 0
    return execute(spec, folder, doer, again=True)
