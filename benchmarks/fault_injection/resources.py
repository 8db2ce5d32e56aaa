"""Runs on a full disk, and with too little memory."""

from __future__ import annotations

import builtins
import errno
import mmap
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_injection.processes import around, call
from fault_injection.trials import Bench, Tally, config_of, learn


@contextmanager
def _tmpfs(place: Path, kilobytes: int) -> Iterator[bool]:
    """A file system of so many bytes, where this machine lets us make one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield made
    finally:
        if made:
            subprocess.run(["umount", str(place)], check=True)


def _full_after(n: int, short: bool) -> list[int]:
    """From the n-th call that writes on, every one fails: the disk is full. `short`: the n-th writes half of what it should."""
    count = [0]

    def room(half: Callable[[], Any] | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what only says how far a run is
        count[0] += 1
        if count[0] >= n:
            if half is not None and short and count[0] == n:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: Any) -> int:
            room(lambda: self.file.write(data[: len(data) // 2]))
            return self.file.write(data)

    def if_room(go_on: Callable[[], Any]) -> Any:
        room()
        return go_on()

    for name in ("fsync", "rename", "replace", "mkdir"):
        around(os, name, if_room)
    write, opened = os.write, builtins.open

    def os_write(handle: int, data: bytes) -> int:
        if short and count[0] + 1 == n:  # the kernel's way: fewer bytes, and no error
            count[0] += 1
            return write(handle, data[: len(data) // 2])
        room()
        return write(handle, data)

    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        found = opened(file, mode, *args, **kwargs)
        return Full(found) if "wb" in mode else found

    os.write, builtins.open = os_write, open_  # type: ignore[assignment]
    return count


def disk(bench: Bench) -> Tally:
    """The disk is full from the n-th write on, for n all over the run; files may not grow beyond a size; a small file system."""
    config, tally = config_of("ewc"), Tally()
    done, reference, _ = bench.reference(config)

    def count() -> int:
        found = _full_after(10**9, False)
        status = learn(config, bench.fresh())
        print("writes", found[0])
        return status

    writes = int(call(count, bench.said())[1].split()[-1])
    for case in range(bench.cases):
        n, folder = 1 + case * writes // bench.cases, bench.fresh()
        short = bool(case % 2)

        def work() -> int:
            _full_after(n, short)  # noqa: B023
            return learn(config, folder)  # noqa: B023

        how, said = call(work, bench.said())
        tally.end(f"{how}, full from a write on", said, how == "status 1" and "No space left" in said)
        bench.finish(config, folder, reference, tally)
    largest = max(p.stat().st_size for p in done.rglob("*") if p.is_file())
    for _ in range(bench.cases // 2):
        limit, folder = bench.rng.randint(0, largest - 1), bench.fresh()

        def limited() -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: B023
            return learn(config, folder)  # noqa: B023

        how, said = call(limited, bench.said())
        tally.end(f"{how}, files of a limited size", said, how == "status 1" and "File too large" in said)
        bench.finish(config, folder, reference, tally)
    total = sum(p.stat().st_size for p in done.rglob("*") if p.is_file()) // 1024
    for case in range(bench.cases // 2):
        with _tmpfs(bench.fresh(), 16 + case * total // (bench.cases // 2)) as made:
            if not made:
                break
            folder = bench.place / f"run{bench.count:05d}" / "run"
            how, said = call(lambda: learn(config, folder), bench.said())  # noqa: B023
            tally.end(
                f"{how}, small file system",
                said,
                how in ("status 0", "status 1") and (how[-1] == "0" or "No space" in said),
            )
            moved = bench.fresh()
            shutil.copytree(folder.parent, moved)  # some room is made
        bench.finish(config, moved / "run", reference, tally)
    tally.more = {"writes_of_a_run": writes}
    return tally


def memory(bench: Bench) -> Tally:
    """An address space that is a little larger than what the process has, with a network that needs more."""
    config, tally = config_of("ewc", **{"net.hidden": (3000,)}), Tally()
    _, reference, _ = bench.reference(config)
    for case in range(bench.cases):
        folder, more = bench.fresh(), 2**20 * (1 + case * 100 // bench.cases)

        def work() -> int:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * mmap.PAGESIZE + more  # noqa: B023
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return learn(config, folder)  # noqa: B023

        how, said = call(work, bench.said())
        tally.end(how, said, how == "status 0" or (how == "status 1" and "not enough memory" in said))
        bench.finish(config, folder, reference, tally)
    return tally
