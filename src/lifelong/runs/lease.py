"""Who may write to a directory: one process, on whatever machine.

On one machine a lock of the kernel decides, and falls with the process that held it (`lifelong.core.files.locked`). Machines that share a
file system need not share such locks. So whoever writes leaves a lease beside, made so that only one can make it, and renews it every
few seconds; one that was not renewed for too long is taken over. Where the system has no locks the lease alone decides. Before a checkpoint
gets its name its writer looks whether the lease is still its own: a process that was away for so long that another took its place writes
nothing more.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import final

from ..core.errors import RunError
from ..core.files import locked, writing

__all__ = ["LEASE_SECONDS", "Lease", "leased"]

LEASE_SECONDS = 20.0  # after so many without a renewal a lease is nobody's
RENEW_EVERY = 4.0  # seconds


def machine() -> str:
    """This machine, as long as it is up: where two processes share it they share the kernel's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


@final
class Lease:
    """What the process that holds a directory has in hand."""

    def __init__(self, folder: Path, machine: str) -> None:
        self.path = folder / ".owner"
        self.token = uuid.uuid4().hex[:12]
        self.text = json.dumps(
            {"token": self.token, "machine": machine, "host": platform.node(), "process": os.getpid()}
        )
        self._over = threading.Event()

    @property
    def held(self) -> bool:
        found = _read(self.path)
        return found is not None and found[0] == self.text

    def check(self) -> None:
        """Raises `RunError` where another has taken the directory over."""
        if not self.held:
            raise RunError(
                f"{self.path.parent} was taken over by another process while this one did not answer for {LEASE_SECONDS:.0f} s or more; what it "
                "had saved before is whole, and the other goes on from there"
            )

    def _make(self) -> bool:
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, self.text.encode())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return True

    def _renew(self) -> None:
        while not self._over.wait(RENEW_EVERY):
            if not self.held:
                return
            try:
                os.utime(self.path)
            except OSError:
                return


@contextmanager
def leased(folder: Path, wait: float = 0.0) -> Iterator[Lease]:
    """Holds `folder` for this process alone, among all machines that see it; waits up to `wait` seconds for who holds it now.

    Raises:
        RunError: another process holds it.
    """
    until = time.monotonic() + wait
    with ExitStack() as stack:
        while True:
            try:
                sure = stack.enter_context(locked(folder))
                break
            except RunError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.2)
        lease = Lease(folder, machine())
        with writing(folder):
            _take(lease, until, sure)
        threading.Thread(target=lease._renew, daemon=True).start()
        try:
            yield lease
        finally:
            lease._over.set()
            if lease.held:
                lease.path.unlink(missing_ok=True)


def _take(lease: Lease, until: float, sure: bool) -> None:
    """Makes `lease` the folder's. `sure`: the kernel's lock is held, so that no other process of this machine is alive."""
    first = seen = None
    since = 0.0
    while not lease._make():
        found, now = _read(lease.path), time.monotonic()
        if found is None:
            continue
        first = first or found
        if found != seen:
            seen, since = found, now
        here = sure and machine() in found[0]  # its holder has lost the kernel's lock, which is ours now: it is dead
        if here or now - since > LEASE_SECONDS:
            aside = lease.path.with_name(f".owner.{lease.token}")
            try:
                os.rename(lease.path, aside)  # one of those that try succeeds
            except FileNotFoundError:
                continue
            moved = _read(aside)
            if moved is not None and moved[0] != found[0]:  # a new owner's: it will see that it lost it, and stop
                seen = None
            aside.unlink(missing_ok=True)
        elif found != first and now >= until:
            raise RunError(
                f"{lease.path.parent} is in use by another process ({found[0]}): wait for it, stop it, or choose another --out"
            )
        else:
            time.sleep(0.2)


def _read(path: Path) -> tuple[str, int] | None:
    """What a lease says, and when it was renewed; None where there is none."""
    try:
        return path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
    except OSError:
        return None
