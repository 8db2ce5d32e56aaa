"""``lifelong watch`` and ``lifelong track``: a run as it is, on a page or in somebody's tracker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .flags import add_command

__all__ = ["add"]


def add(commands: Any) -> None:
    watched = add_command(
        commands, "watch", "a page that shows the runs below a directory as they are, on this machine alone"
    )
    watched.add_argument("dir", type=Path, metavar="DIR", help="a run's directory, or one that holds runs")
    watched.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1); anything but this machine's own asks visitors for a token",
    )
    watched.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: 8765)")
    watched.set_defaults(do=watch)
    tracked = add_command(
        commands, "track", "a run's numbers as TensorBoard, MLflow or Weights & Biases (offline) keep them"
    )
    tracked.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    tracked.add_argument("--to", required=True, metavar="NAME", help="tensorboard, mlflow or wandb")
    tracked.add_argument("--out", help="the tracker's directory (default: DIR/NAME); of mlflow also a server's address")
    tracked.add_argument("--follow", action="store_true", help="go on until the run ends")
    tracked.set_defaults(do=track)


def watch(said: argparse.Namespace) -> int:
    from ..watch import serve

    serve(said.dir, said.host, said.port)
    return 0


def track(said: argparse.Namespace) -> int:
    from ..watch.trackers import write_to_tracker

    print(write_to_tracker(said.dir, said.to, said.out, said.follow))
    return 0
