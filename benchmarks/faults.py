"""What can go wrong with a run, done to it: killed, told to stop, a full disk, damaged and forged checkpoints, numbers that are none,
too little memory. Each time the run must end in order or go on, and its last bits must be those of a run that nobody touched.

    python benchmarks/faults.py                                         all of it: a few minutes of one core
    python benchmarks/faults.py --kills 1 --cases 3 --only kills,disk --methods ewc,replay --out FILE

Every run is a fork of this process, which has imported everything, has started no thread and has never trained: so a run costs a
fraction of a second, and hundreds can be killed.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import json
import mmap
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from environment import save
from lifelong import MLP, Finetune, Stream, Training, fit, report
from lifelong.checkpoint import Store
from lifelong.cli import main as command_line
from lifelong.config import Config
from lifelong.errors import LifelongError, enough_memory
from lifelong.jobs import execute
from lifelong.learner import Learner
from lifelong.registry import METHODS
from lifelong.run import Job, Run
from lifelong.stream import Lazy
from lifelong.streams import split
from lifelong.streams.sources import unpacked
from pages.cells import load

torch.set_num_threads(1)
torch.optim.Adam(nn.Linear(1, 1).parameters())  # the first optimiser imports a good deal

STREAM = {"stream": "split", "stream.source": "digits", "stream.tasks": 3, "stream.seed": 0, "scenario": "task"}
TRAINING = {"optimizer": "adam", "lr": 0.003, "epochs": 2, "batch_size": 32, "threads": 1, "every": 0}
NET = {"net.hidden": (32,), "net.dropout": 0.2}
CONSTANTS: dict[str, dict[str, Any]] = {  # where the usual ones are slow on so short a stream
    "ewc": {"strength": 10.0},
    "gdumb": {"slots": 60, "passes": 2},
    "gem": {"slots": 30},
    "generative_replay": {"hidden": (32,), "code": 8},
    "fearnet": {"every": 1, "gate_steps": 20},
    "grow": {"threshold": 1.0, "times": 1},
    "expert_gate": {"code": 16, "gate_epochs": 1},
}
PHASES = {
    "building the stream": (Config, "build_stream"),
    "beginning a task": (Learner, "_enter"),
    "training": (Learner, "_chunk"),
    "ending a task": (Learner, "_leave"),
    "evaluating": (Learner, "_evaluate"),
    "saving": (Store, "save"),
    "loading": (Store, "newest"),
    "writing results": (Run, "write"),
    "reporting": (report, "write"),
}
PHASE = mmap.mmap(-1, 1)  # where a forked run is, for the process that kills it
SAID = 3  # lines of a message that are kept
MINUTE = 60.0


@dataclass
class Tally:
    """What came of the faults of one kind."""

    cases: int = 0
    ended: Counter[str] = field(default_factory=Counter)  # how the process ended
    bits: int = 0  # compared with the run that nobody touched
    differing: int = 0
    unclear: list[str] = field(default_factory=list)  # anything but an error of this library: should stay empty
    lost: list[str] = field(default_factory=list)  # runs that could not go on: should stay empty
    more: dict[str, Any] = field(default_factory=dict)

    def end(self, how: str, said: str, expected: bool = True) -> None:
        self.cases += 1
        self.ended[how] += 1
        if not expected or "Traceback" in said:
            self.unclear.append(f"{how}: {said[-800:]}")

    def to_json(self) -> dict[str, Any]:
        return {"cases": self.cases, "ended": dict(self.ended), "bits": self.bits, "differing": self.differing} | {
            "unclear": self.unclear,
            "lost": self.lost,
            **self.more,
        }


# --- processes ---------------------------------------------------------------------------------------------------------
def forked(work: Callable[[], int], said: Path) -> int:
    """Starts `work` in a process of its own, whose output goes to a file; gives its number."""
    PHASE[0] = 255
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        _watch_phases()
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _watch_phases(enter: Callable[[str], None] = lambda phase: None) -> None:
    """Has every phase leave its number in PHASE."""

    def within(number: int, name: str, go_on: Callable[[], Any]) -> Any:
        before, PHASE[0] = PHASE[0], number
        try:
            enter(name)
            return go_on()
        finally:
            PHASE[0] = before

    for number, (name, (owner, attribute)) in enumerate(PHASES.items()):
        _around(owner, attribute, partial(within, number, name))


def _around(owner: Any, name: str, do: Callable[[Callable[[], Any]], Any]) -> None:
    """Has `do` in the place of a function; it is given what the call would be."""
    real = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: do(partial(real, *args, **kwargs)))


def ended(pid: int, within: float = MINUTE) -> str:
    """Waits for a process: ``status 1``, or ``signal 9``. One that takes too long is killed and said to hang."""
    late = time.monotonic() + within
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return f"status {code}" if code >= 0 else f"signal {-code}"
        if time.monotonic() > late:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(0.002)


def call(work: Callable[[], int], said: Path) -> tuple[str, str]:
    """How a forked process ended, and what it said."""
    how = ended(forked(work, said))
    return how, said.read_text(errors="replace")


def learn(config: Config, folder: Path) -> int:
    """The run, or what is left of it; gives the exit status that the command line would."""
    try:
        with enough_memory("lifelong"):
            _, failed = execute(config, folder, again=(folder / "config.yaml").exists())
    except LifelongError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1
    for message in failed:
        print(f"lifelong: {message.text}", file=sys.stderr)
    return 1 if failed else 0


def config_of(method: str, **more: Any) -> Config:
    constants = {f"{method}.{k}": v for k, v in CONSTANTS.get(method, {}).items()}
    return Config.from_keys({**STREAM, **TRAINING, **NET, "method": method, **constants, **more})


# --- what a run ended on ------------------------------------------------------------------------------------------------
def outcome(folder: Path) -> tuple[dict[str, Tensor], str]:
    """All tensors of the last checkpoint (weights, optimiser, method state, random generators), and all that was measured but times."""
    tensors: dict[str, Tensor] = {}
    plain: list[Any] = []
    for place in sorted(p for p in (folder / "checkpoint").glob("*/*")):
        found = Store(place).newest()
        if found is None:
            return {}, "nothing"
        tensors |= {f"{place.relative_to(folder)}/{k}": v for k, v in found["tensors"].items()}
        meta, record = found["meta"], found["meta"].pop("record")
        plain += [{k: v for k, v in meta.items() if k != "costs"}, meta["costs"]["forward"], meta["costs"]["backward"]]
        plain += [{k: v for k, v in record.items() if "seconds" not in k}]
    lines = (folder / "results.csv").read_text().splitlines() if (folder / "results.csv").exists() else []
    plain += [line.rpartition(",")[0] for line in lines if "_seconds," not in line]
    return tensors, json.dumps(plain, sort_keys=True)


def compare(reference: tuple[dict[str, Tensor], str], folder: Path, tally: Tally) -> None:
    """Counts the bits in which a finished run differs from the reference."""
    (tensors, said), (others, also_said) = reference, outcome(folder)
    for key in tensors.keys() | others.keys():
        a, b = tensors.get(key), others.get(key)
        size = 8 * (a if a is not None else others[key]).nbytes
        tally.bits += size
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            tally.differing += size
        else:
            pair = [t.contiguous().view(-1).view(torch.uint8).numpy() for t in (a, b)]
            tally.differing += int(np.unpackbits(pair[0] ^ pair[1]).sum())
    tally.bits += 8 * len(said)
    if said != also_said:
        tally.differing += 8 * sum(a != b for a, b in zip(said.ljust(len(also_said)), also_said.ljust(len(said))))


@dataclass
class Bench:
    """Where the faults are made, and what every run is compared with."""

    place: Path
    cases: int
    rng: random.Random
    count: int = 0

    def fresh(self) -> Path:
        self.count += 1
        return self.place / f"run{self.count:05d}"

    def said(self) -> Path:
        return self.place / "said"

    def reference(self, config: Config) -> tuple[Path, tuple[dict[str, Tensor], str], float]:
        """A run that nobody touches: its folder, its outcome, and the seconds it takes."""
        folder = self.fresh()
        began = time.monotonic()
        how, said = call(lambda: learn(config, folder), self.said())
        if how != "status 0":
            raise RuntimeError(f"{config.methods}: {how}: {said}")
        return folder, outcome(folder), time.monotonic() - began

    def finish(self, config: Config, folder: Path, reference: Any, tally: Tally) -> None:
        """Goes on with a run until it is done, compares it, and removes it."""
        how, said = call(lambda: learn(config, folder), self.said())
        if how != "status 0":
            tally.lost.append(f"{how}: {said[-800:]}")
        compare(reference, folder, tally)
        shutil.rmtree(folder)

    def half(self, config: Config) -> Path:
        """A run that was killed when its fourth checkpoint was to be put in its place."""
        folder = self.fresh()

        def work() -> int:
            _at_call(os, "rename", 4, lambda: os.kill(os.getpid(), signal.SIGKILL))
            return learn(config, folder)

        how, said = call(work, self.said())
        if how != "signal 9":
            raise RuntimeError(f"{how}: {said}")
        return folder


def _at_call(owner: Any, name: str, n: int, do: Callable[[], None]) -> None:
    """Has the n-th call of a function, and no other, begin with `do`."""
    count = 0

    def counted(go_on: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        if count == n:
            do()
        return go_on()

    _around(owner, name, counted)


# --- the faults ---------------------------------------------------------------------------------------------------------
def kills(bench: Bench, each: int, methods: list[str]) -> Tally:
    """SIGKILL at random moments, up to three in one run."""
    tally, phases, by_method = Tally(), Counter[str](), dict[str, int]()
    for method in methods:
        config = config_of(method)
        _, reference, seconds = bench.reference(config)
        killed = 0
        while killed < each:
            folder, here = bench.fresh(), 0
            for _ in range(bench.rng.randint(1, 3)):
                pid = forked(lambda: learn(config, folder), bench.said())  # noqa: B023
                time.sleep(bench.rng.uniform(0, seconds))
                where = PHASE[0]
                os.kill(pid, signal.SIGKILL)
                how = ended(pid)
                if how == "signal 9":
                    here += 1
                    phases[list(PHASES)[where] if where < len(PHASES) else "between"] += 1
                    tally.end(how, bench.said().read_text(errors="replace"))
                if killed + here == each:
                    break
            killed += here
            bench.finish(config, folder, reference, tally)
        by_method[method] = killed
        other = replace(config, seeds=(1,))  # a comparison that finds nothing must be able to find something
        control = Tally()
        compare(reference, bench.reference(other)[0], control)
        if not control.differing:
            tally.lost.append(f"{method}: another seed ends on the same bits")
    tally.more = {"by_method": by_method, "by_phase": dict(phases.most_common())}
    return tally


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
        _around(os, name, if_room)
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


def damage(bench: Bench) -> Tally:
    """Checkpoints that are cut short, changed in a bit, empty, missing, older than they were, or another run's."""
    config, tally = config_of("derpp"), Tally()
    _, reference, _ = bench.reference(config)
    half = bench.half(config)
    names = ("tensors.safetensors", "state.json", "sealed.json")

    def copy() -> tuple[Path, list[Path]]:
        folder = bench.fresh()
        shutil.copytree(half, folder)
        return folder, sorted((folder / "checkpoint" / "derpp" / "0").glob("[0-9]*"))

    def spoil(path: Path, how: str) -> None:
        data = bytearray(path.read_bytes())
        if how == "missing":
            path.unlink()
        elif how == "a bit":
            data[bench.rng.randrange(len(data))] ^= 1 << bench.rng.randrange(8)
            path.write_bytes(data)
        else:
            path.write_bytes(data[: 0 if how == "empty" else bench.rng.randrange(len(data))])

    def go_on(folder: Path, what: str, noted: bool) -> None:
        how, said = call(lambda: learn(config, folder), bench.said())
        seen = "damaged" in (folder / "events.jsonl").read_text()
        tally.end(f"{how}, {what}", said, how == "status 0" and seen == noted)
        compare(reference, folder, tally)
        shutil.rmtree(folder)

    for case in range(2 * bench.cases):
        how = ("a bit", "cut short", "a bit", "empty", "missing")[case % 5]
        folder, found = copy()
        spoil(found[-1] / names[case % 3], how)
        if case % 4 == 3:
            spoil(found[0] / names[(case + 1) % 3], "a bit")
        go_on(folder, "both damaged" if case % 4 == 3 else f"the newest damaged: {how}", True)
    folder, found = copy()
    shutil.rmtree(found[-1])
    go_on(folder, "stale: an older one put in its place", False)
    for what, other in {
        "another training": config_of("derpp", lr=0.001),
        "another strength": config_of("derpp", **{"derpp.alpha": 0.1}),
        "another network": config_of("derpp", **{"net.hidden": (16,)}),
        "other data": config_of("derpp", **{"stream.tasks": 2}),
        "another precision": config_of("derpp", precision="float64"),
    }.items():
        theirs, (folder, found) = bench.half(other), copy()
        shutil.rmtree(folder / "checkpoint")
        shutil.copytree(theirs / "checkpoint", folder / "checkpoint")
        how, said = call(lambda: learn(config, folder), bench.said())  # noqa: B023
        clear = "another run's" in said or "does not fit this run" in said
        tally.end(f"{how}, stale: of a run with {what}", said, how == "status 1" and clear)
    return tally


def forged(bench: Bench) -> Tally:
    """Checkpoints with a valid seal in which one value was replaced: an error or other numbers, never a crash."""
    config, tally = config_of("ewc"), Tally()
    half = bench.half(config)
    strange = (None, -1, 10**15, 1.5, "os:system", [], {}, {"__reduce__": "os.system"}, True, [[[]]])
    for _ in range(4 * bench.cases):
        folder = bench.fresh()
        shutil.copytree(half, folder)
        newest = max((folder / "checkpoint" / "ewc" / "0").glob("[0-9]*"))
        meta = json.loads((newest / "state.json").read_text())
        node, key = meta, bench.rng.choice(list(meta))
        while isinstance(node[key], dict | list) and node[key] and bench.rng.random() < 0.9:
            node = node[key]
            key = bench.rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[key] = bench.rng.choice(strange)
        (newest / "state.json").write_text(json.dumps(meta))
        sums = {n: sha256((newest / n).read_bytes()).hexdigest() for n in ("tensors.safetensors", "state.json")}
        (newest / "sealed.json").write_text(json.dumps(sums))
        how, said = call(lambda: learn(config, folder), bench.said())  # noqa: B023
        tally.end(how, f"{key} = {node[key]!r}: {said}", how in ("status 0", "status 1"))
        shutil.rmtree(folder)
    return tally


def archives(bench: Bench) -> Tally:
    """Archives with links, paths that lead elsewhere, devices, bombs; and broken ones."""
    tally, outside = Tally(), bench.place / "outside"
    outside.write_text("untouched")
    sizes = {"train.bin": 1000, "names.txt": 100}

    def member(name: str, data: bytes = b"x" * 100, **kind: Any) -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.size = 0 if kind else len(data)
        for key, value in kind.items():
            setattr(info, key, value)
        return info, data

    good = [member("data/train.bin"), member("data/names.txt")]
    bad = {
        "a symbolic link": [member("data/train.bin", type=tarfile.SYMTYPE, linkname=str(outside)), good[1]],
        "a hard link": [member("data/train.bin", type=tarfile.LNKTYPE, linkname=str(outside)), good[1]],
        "a link and a file through it": [
            member("data/train.bin", type=tarfile.SYMTYPE, linkname=str(bench.place)),
            member("data/train.bin/outside"),
            good[1],
        ],
        "a device": [member("data/train.bin", type=tarfile.CHRTYPE, devmajor=1, devminor=5), good[1]],
        "a folder": [member("data/train.bin", type=tarfile.DIRTYPE), good[1]],
        "a file too large": [member("data/train.bin", b"0" * 1001), good[1]],
        "a bomb before it": [member("data/other", b"0" * 2**28), *good],
        "a file missing": [good[0]],
    }
    kept = {
        "absolute paths": [member(str(outside)), member("/names.txt"), *good],
        "paths upwards": [member("../outside"), member("../../../train.bin"), good[1]],
    }
    for what, members in {**bad, **kept}.items():
        path = bench.fresh().with_suffix(".tar.gz")
        with tarfile.open(path, "w:gz") as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        _unpack(tally, path, sizes, what, refused=what in bad)
    whole = path.read_bytes()
    for what, content in {"cut short": whole[: len(whole) // 2], "no archive": b"hello", "empty": b""}.items():
        path = bench.fresh().with_suffix(".tar.gz")
        path.write_bytes(content)
        _unpack(tally, path, sizes, what, refused=True)
    if outside.read_text() != "untouched" or any(p.is_symlink() for p in bench.place.rglob("*")):
        tally.lost.append("a file outside was touched")
    return tally


def _unpack(tally: Tally, path: Path, sizes: dict[str, int], what: str, refused: bool) -> None:
    try:
        files = unpacked(path, sizes)
        tally.end(f"{what}: the files asked for, and no others", "", not refused and all(f.is_file() for f in files))
    except LifelongError as error:
        tally.end(f"{what}: refused", str(error), refused)


def configurations(bench: Bench) -> Tally:
    """Configurations that name code, or that grow without bound when they are read."""
    tally, canary = Tally(), bench.place / "canary"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
    )
    texts = {
        "python/object/apply": f"method: !!python/object/apply:os.system ['touch {canary}']\n",
        "python/object/new": f"stream: !!python/object/new:subprocess.Popen [['touch', '{canary}']]\n",
        "python/name": "net: !!python/name:os.system\n",
        "python/module": "net: !!python/module:os\n",
        "a class path as a method": "method: lifelong.methods:EWC\n",
        "a class path as a stream": "stream: {name: 'os:system'}\n",
        "a class path as a network": "net: {name: torch.nn.Linear}\n",
        "an attribute of the configuration": "__class__: os.system\n",
        "a billion laughs": bomb + "method: *i\n",
        "a loop": "stream: &a {name: *a}\n",
        "a thousand brackets": "method: " + "[" * 5000 + "]" * 5000 + "\n",
        "digits without end": "seeds: " + "9" * 10_000 + "\n",
        "a binary file": "\x00\x01\x02",
        "a list": "- method\n",
        "two documents": "method: ewc\n---\nmethod: l2\n",
    }
    for what, text in texts.items():
        path, folder = bench.fresh().with_suffix(".yaml"), bench.fresh()
        path.write_text(text)
        how, said = call(lambda: command_line(["run", "--config", str(path), "--out", str(folder)]), bench.said())  # noqa: B023
        tally.end(f"{how}, {what}", said, how == "status 2" and not folder.exists())
    if canary.exists():
        tally.lost.append("a configuration ran a command")
    return tally


class _Spoilt(Dataset[Any]):
    """Examples of which one has an input that is NaN."""

    def __init__(self, x: Tensor, y: Tensor, at: int) -> None:
        self.x, self.y, self.at = x, y, at

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.x[i] * (float("nan") if i == self.at else 1.0), int(self.y[i])


class _Gradient(torch.autograd.Function):
    """The identity, whose gradient is NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * float("nan")


class _Net(nn.Module):
    """An MLP whose loss, or gradient, breaks at a step."""

    def __init__(self, inner: nn.Module, what: str, at: int) -> None:
        super().__init__()
        self.inner, self.what, self.at, self.step = inner, what, at, 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        self.step += self.training
        if self.training and self.step == self.at:
            return out * float("inf") if self.what == "loss" else _Gradient.apply(out)
        return out


def numbers(bench: Bench) -> Tally:
    """NaN among inputs, in the loss, in a gradient: an error that names the task and the steps, and no checkpoint with NaN in it."""
    tally = Tally()
    base = split(tasks=3, source="digits", scenario="task", seed=0)
    base = replace(base, tasks=tuple(replace(t, train=t.train.prepared, test=t.test.prepared) for t in base))
    as_float = [
        replace(t, train=replace(t.train, x=t.train.x.float() / 255), test=replace(t.test, x=t.test.x.float() / 255))
        for t in base
    ]
    stream = replace(base, tasks=tuple(as_float))
    training = Training(lr=0.05, momentum=0.9, epochs=3, batch_size=32)
    net = MLP((32,))

    def with_task(index: int, **parts: Any) -> Stream:
        return replace(stream, tasks=tuple(replace(t, **parts) if t.index == index else t for t in stream))

    def run(stream: Stream, build: Any, folder: Path, training: Training = training) -> int:
        try:
            fit(Finetune(), build, stream, training=training, out=folder, every=0.0)
        except LifelongError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        return 0

    def broken(what: str, at: int) -> Any:
        return lambda shape, outputs: _Net(net(shape, outputs), what, at)

    x, y = stream[1].train.x.clone(), stream[1].train.y
    spoilt = x.clone()
    spoilt[7, 0] = float("nan")
    test = stream[2].test.x.clone()
    test[3] = float("nan")
    steps = 3 * -(-len(stream[0].train) // 32)
    clean = replace(stream[1].train, x=x)
    lazy = Lazy(_Spoilt(x, y, at=11), y)
    cases: dict[str, tuple[Stream, Any, str]] = {
        "an input, in memory": (with_task(1, train=replace(clean, x=spoilt)), net, r"rows [7]"),
        "an input, read as needed": (with_task(1, train=lazy), net, "task 2"),
        "a test input": (with_task(2, test=replace(stream[2].test, x=test)), net, stream[2].name),
    }
    # within an epoch, in the second task; the first, the last of a task
    for at in (3, steps + 5, *((1, steps) if bench.cases > 5 else ())):
        task = f"task {1 + (at > steps)}"
        cases[f"the loss, step {at}"] = (stream, broken("loss", at), task)
        cases[f"a gradient, step {at}"] = (stream, broken("gradient", at), task)
    for what, (data, build, named) in cases.items():
        folder, whole = bench.fresh(), bench.fresh()
        how, said = call(lambda: run(data, build, folder), bench.said())  # noqa: B023
        tally.end(f"{how}, {what}", said, how == "status 1" and named in said)
        found = Store(folder / Job("finetune", 0).folder).newest()
        if found is not None and any(
            not bool(t.isfinite().all()) for k, t in found["tensors"].items() if t.is_floating_point()
        ):
            tally.lost.append(f"{what}: a checkpoint holds NaN")
        mended = net if build is net else broken("none", 0)
        for place in (folder, whole):  # mended, the run goes on; another one begins
            how, said = call(lambda: run(stream, mended, place), bench.said())  # noqa: B023
            if how != "status 0":
                tally.lost.append(f"{what}: {how}: {said[-500:]}")
        compare(outcome(whole), folder, tally)
    how, said = call(lambda: run(stream, net, bench.fresh(), replace(training, lr=1e30)), bench.said())
    tally.end(f"{how}, a learning rate of 1e30", said, how == "status 1" and "steps 1 to" in said and "task 1" in said)
    return tally


def twice(bench: Bench) -> Tally:
    """A directory entered by several processes at once: one learns, the others say that it is in use."""
    config, tally = config_of("ewc"), Tally()
    _, reference, _ = bench.reference(config)
    for _ in range(max(1, bench.cases // 5)):
        folder = bench.fresh()
        said = [bench.place / f"said{i}" for i in range(6)]
        pids = [forked(lambda: learn(config, folder), path) for path in said]  # noqa: B023
        for pid, path in zip(pids, said):
            how, text = ended(pid), path.read_text()
            refused = "in use" in text or "is there already" in text
            tally.end(how, text, how == "status 0" or (how == "status 1" and refused))
        bench.finish(config, folder, reference, tally)
    return tally


def terms(bench: Bench) -> Tally:
    """SIGTERM in each phase, and at random moments, to the command line: it ends in order, and goes on."""
    tally = Tally()
    flags = [
        "--stream",
        "split",
        "--stream.source",
        "digits",
        "--stream.tasks",
        "3",
        "--stream.seed",
        "0",
        "--method",
        "ewc,l2",
    ]
    flags += [
        "--ewc.strength",
        "10",
        "--net.hidden",
        "32",
        "--optimizer",
        "adam",
        "--lr",
        "0.003",
        "--epochs",
        "2",
        "--batch_size",
        "32",
    ]
    flags += ["--threads", "1", "--every", "0"]

    def begin(folder: Path) -> int:
        return command_line(["run", *flags, "--out", str(folder)])

    whole = bench.fresh()
    began = time.monotonic()
    how, said = call(lambda: begin(whole), bench.said())
    seconds, reference = time.monotonic() - began, outcome(whole)
    if how != "status 0":
        raise RuntimeError(said)

    def go_on(folder: Path, phase: str) -> None:
        made = (folder / "config.yaml").exists()
        with_report = made and phase == "reporting"  # which takes longer than all else
        config = Config.load((folder if made else whole) / "config.yaml")
        how, said = call(
            lambda: command_line(["resume", str(folder)]) if with_report else learn(config, folder), bench.said()
        )
        if how != "status 0" or (with_report and not (folder / "report.html").exists()):
            tally.lost.append(f"{how}: {said[-800:]}")
        compare(reference, folder, tally)
        shutil.rmtree(folder)

    for phase in PHASES:
        for nth in (1, 2, 5) if bench.cases > 5 else (1,):
            folder = bench.fresh()
            sent = folder.with_suffix(".sent")

            def work() -> int:
                left = nth  # noqa: B023

                def enter(name: str) -> None:
                    nonlocal left
                    left -= name == phase  # noqa: B023
                    if not left:
                        sent.touch()  # noqa: B023
                        left = -1
                        os.kill(os.getpid(), signal.SIGTERM)

                _watch_phases(enter)
                return begin(folder)  # noqa: B023

            how, said = call(work, bench.said())
            if sent.exists():
                in_order = how == "status 130" and "stopped" in said
                # what writes the report is finished, and then all is
                tally.end(f"{how}, {phase}", said, how == "status 0" if phase == "reporting" else in_order)
            go_on(folder, phase)
    if bench.cases > 5:  # several processes, of which the first is told
        folder = bench.fresh()
        pid = forked(lambda: command_line(["run", *flags, "--jobs", "2", "--out", str(folder)]), bench.said())
        late = time.monotonic() + MINUTE
        while not any((folder / "checkpoint").glob("*/*/[0-9]*")) and time.monotonic() < late:
            time.sleep(0.02)
        os.kill(pid, signal.SIGTERM)
        how, said = ended(pid), bench.said().read_text()
        tally.end(f"{how}, two processes", said, how == "status 130" and "stopped" in said)
        go_on(folder, "")
    for _ in range(bench.cases):
        folder = bench.fresh()
        pid = forked(lambda: begin(folder), bench.said())  # noqa: B023
        time.sleep(bench.rng.uniform(0.02, seconds))
        os.kill(pid, signal.SIGTERM)
        how = ended(pid)
        # before the command has begun to listen, or when it is done, there is nothing to end in order
        tally.end(
            f"{how}, at a random moment", bench.said().read_text(), how in ("status 130", "status 0", "signal 15")
        )
        go_on(folder, "")
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


FAULTS: dict[str, Callable[..., Tally]] = {
    "kills": kills,
    "terms": terms,
    "disk": disk,
    "damage": damage,
    "forged": forged,
    "archives": archives,
    "configurations": configurations,
    "numbers": numbers,
    "twice": twice,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="of each method (default: 12)")
    parser.add_argument("--cases", type=int, default=30, help="of each other fault, about (default: 30)")
    parser.add_argument("--only", default=",".join(FAULTS), help="some of the faults")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of the methods, for the kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the figures go (default: results/faults.json and the page)")
    said = parser.parse_args()
    found = {}
    for name in said.only.split(","):
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            bench = Bench(Path(place), said.cases, random.Random(said.seed))
            tally = kills(bench, said.kills, said.methods.split(",")) if name == "kills" else FAULTS[name](bench)
        found[name] = tally.to_json()
        wrong = tally.unclear + tally.lost
        print(
            f"{name}: {tally.cases} cases, {tally.differing} of {tally.bits:,} bits differ, {len(wrong)} wrong",
            flush=True,
        )
        for line in wrong:
            print(f"  {line}", flush=True)
    if said.out is not None:
        said.out.write_text(json.dumps({"faults": found}, indent=1))
        return
    before = load("faults")  # what was not done this time is kept
    save("faults", 1, faults={**(before["faults"] if before else {}), **found}, seed=said.seed)


if __name__ == "__main__":
    main()
