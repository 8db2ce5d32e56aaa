"""Files that are whole or not there, and folders that one process of this machine holds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RunError
from .system import locked_here

__all__ = ["instead", "locked", "write_atomically", "writing"]


def instead(error: OSError, then: str) -> str:
    """What to do where something could not be written: `then`, after freeing some space where the disk is full."""
    full = error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
    return f"free some space and {then}" if full else then


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file's content so that a reader sees the old or the new, never a part.

    Raises:
        RunError: the disk is full or cannot be written to; the old content is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says of what goes wrong within it that `path` cannot be written.

    Raises:
        RunError: the disk is full or cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; {instead(error, 'say the same again, or choose another --out')}"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Holds `folder` for this process alone, as far as the system has locks: False within it says that it has none.

    Raises:
        RunError: another process holds it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with writing(folder):
            held = locked_here(handle)
        if held is False:
            raise RunError(f"{folder} is in use by another process: wait for it, stop it, or choose another --out")
        yield held is not None
    finally:
        os.close(handle)
