"""``lifelong run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..core.progress import say
from .configured import Asked, Configured, add_name
from .session import warned

__all__ = ["COMMAND", "add", "execute"]


def add(commands: Any) -> None:
    add_name(commands, COMMAND)


def _add_what(group: Any) -> None:
    group.add_argument(
        "--order",
        help="learned, random, hard-first, easy-first, or a file with a task's name a line: in which order the tasks come "
        "(default: the stream's); what it takes to find out counts as a cost of the run",
    )


def _add_how(group: Any) -> None:
    group.add_argument(
        "--tuned",
        metavar="PROTOCOL",
        help="how constants were chosen: first, held-out, two-phase, or oracle, whose results are labelled as peeking",
    )
    group.add_argument(
        "--evaluate_every",
        metavar="N",
        help="measure all tasks so far after every N steps within a task, too (default: at its end only)",
    )


def _run(asked: Asked) -> int:
    return execute(asked.spec, asked.out, asked.engine, again=False)


COMMAND = Configured(
    "run",
    "a stream, one or several methods, some seeds (run --help tells the options)",
    "Learns the tasks of a stream one after another, once for each method and seed, measures every task "
    "after each, and writes a directory of results with a report.",
    _run,
    add_what=_add_what,
    add_how=_add_how,
)


def execute(config: Any, folder: Path, engine: Any, again: bool) -> int:
    """Runs a configuration, or goes on with it; gives the exit status."""
    from ..runs import jobs
    from ..runs.progress_bars import Progress

    if not again:
        jobs.refuse(folder)
    more: dict[str, str] = {}
    if isinstance(config.order, str):
        from ..curriculum.order_rules import settle

        config, more["order.json"] = settle(config, engine, say)
    tasks = _announce(config, folder, engine)
    if again:
        say(f"goes on  {_standing(config, folder, tasks)}")
    try:
        with Progress(len(config.methods) * len(config.seeds), tasks) as progress:
            _, failed = jobs.execute(config, folder, engine, progress, again=again, **more)
        for message in failed:
            print(f"lifelong: {message.job.method}, seed {message.job.seed}: {message.text}", file=sys.stderr)
        _report(folder)
        return 1 if failed else 0
    except KeyboardInterrupt:
        if not (folder / "config.yaml").exists():
            raise  # nothing was written
        print(f"\nstopped; everything learnt is saved. Go on with: lifelong resume {folder}", file=sys.stderr)
        return 130


def _announce(config: Any, folder: Path, engine: Any) -> int:
    """Says what is run, with notes on it; gives the number of tasks."""
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:  # refused before it is announced
        config.build_method(name).check(stream.scenario)
    about = [
        f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks, {stream.outputs} outputs",
        f"data     {stream.source}",
        f"net      {config.build_net()}",
        f"training {config.build_training()}",
        f"method   {', '.join(str(config.build_method(m)) for m in config.methods)}",
        f"seeds    {', '.join(map(str, config.seeds))}; {engine}, {config.threads} thread(s) a process",
        f"out      {folder}",
    ]
    say("\n".join(about))
    for remark in stream.notes.get("remarks", ()):
        if remark not in warned:
            say(f"note     {remark}")
    for name in config.methods:
        advice = config.build_method(name).advice(stream.scenario)
        if advice:
            say(f"note     {advice}")
    return len(stream)


def _report(folder: Path) -> None:
    """Prints the table of what was learnt, and writes the page."""
    from .. import report
    from ..runs.stream_loop import graceful

    with graceful():  # a second or two: it is finished
        if (folder / "summary.json").exists() and json.loads((folder / "summary.json").read_text())["methods"]:
            print(report.as_text(report.read(folder)))
            print(report.write(folder), file=sys.stderr)


def _standing(config: Any, folder: Path, tasks: int) -> str:
    """How far the jobs of a run are by their checkpoints."""
    from ..runs.jobs import recorded
    from ..runs.run import Job

    far = []
    for job in (Job(m, s) for m in config.methods for s in config.seeds):
        record = recorded(folder, job)
        done = 0 if record is None else len(record.accuracy) - 1
        far.append(f"{job.method} seed {job.seed}: {max(done, 0)} of {tasks} tasks")
    shown = "; ".join(far[:6])
    return shown if len(far) <= 6 else f"{shown}; and {len(far) - 6} more"
