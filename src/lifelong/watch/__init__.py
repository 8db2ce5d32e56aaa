"""``lifelong watch DIR``: a page of the runs below a folder, as they are. It reads, and changes nothing.

`page` makes HTML of what `lifelong.runs.run_status` reads; `app` serves it, and tells open pages what has changed.
"""

from __future__ import annotations

from pathlib import Path

from ..core.errors import RunError

__all__ = ["serve"]


def serve(folder: Path, host: str = "127.0.0.1", port: int = 8765) -> None:
    """Serves the page of `folder` until Ctrl-C, and prints its address on stdout.

    Args:
        folder: a run's directory, or one that holds runs.
        host: the address to listen on. Anything but this machine's own (loopback) asks visitors for a token, which is part of
            the printed address: that of the environment variable ``LIFELONG_WATCH_TOKEN``, or a new one.
        port: 0 takes a free one.

    Raises:
        RunError: the extra ``watch`` is not installed, there is no such folder, or the address cannot be listened on.
    """
    try:
        from .app import run
    except ImportError as error:
        raise RunError(f"the page needs Starlette and uvicorn ({error}): pip install 'lifelong[watch]'") from error
    run(folder, host, port)
