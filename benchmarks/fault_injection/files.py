"""Archives and configurations that were made to do harm, or that are broken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from fault_injection.processes import call
from fault_injection.trials import Bench, Tally
from lifelong.cli import main as command_line
from lifelong.core.errors import LifelongError
from lifelong.streams.sources import unpacked


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
