"""What differs between operating systems: locks, ordinary files, folders on the disk, and other processes."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["GROUPS", "flushed", "heard_again", "held_back", "locked_here", "open_plain", "running"]

GROUPS = hasattr(os, "setpgid")  # whether a process can leave the group that the terminal's Ctrl-C reaches
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


def locked_here(handle: int) -> bool | None:
    """Locks an open file until it is closed or its process ends, however it ends.

    Returns:
        Whether it is this process's now. None: the system or the file system has no such locks.

    Raises:
        OSError: anything else that the system says.
    """
    from filelock import lock_descriptor

    try:
        return lock_descriptor(handle, blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None


def open_plain(path: Path) -> int:
    """A handle to read a file. A link at its end is not followed, and a pipe is not waited for.

    Raises:
        OSError: the file cannot be opened, or is a link.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    return os.open(path, os.O_RDONLY | sum(flags))


def flushed(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the system opens folders (Windows does not).

    Raises:
        OSError: the disk cannot be written to.
    """
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def held_back() -> Iterator[None]:
    """Within it Ctrl-C waits: an import that it breaks off leaves a module half made, and torch's may end the process. A process that is
    started within it has it held back as well. Where the system holds no signals back (Windows) nothing is done."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heard_again() -> bool:
    """From now on Ctrl-C reaches this process, which was started with it held back. False: it has come already."""
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        time.sleep(0)  # where one that came is noticed
    except KeyboardInterrupt:
        return False
    return True


def running(pid: int) -> bool | None:
    """Whether this machine has a process of that number. None: it cannot be asked without ending it (on Windows signal 0 does)."""
    if os.name != "posix":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, and is somebody else's
    return True
