"""Checkpoints that are either whole or not there.

A checkpoint is a folder of ``tensors.safetensors`` and ``state.json``, written beside its place, flushed, sealed by the
hashes of both (``sealed.json``, written last) and renamed. Nothing in it is pickled and nothing in it names code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..core.errors import RunError
from ..core.files import instead
from ..core.system import flushed

if TYPE_CHECKING:
    from torch import Tensor

    from .lease import Lease

__all__ = ["Store"]


@final
class Store:
    """The checkpoints of one job in a folder of its own; the newest two are kept. With a lease none is written after another
    process has taken the folder over."""

    def __init__(self, folder: str | Path, lease: Lease | None = None) -> None:
        self.folder, self.lease = Path(folder), lease
        self.damaged: list[str] = []  # found by `newest`

    def save(self, saved: dict[str, Any]) -> None:
        """Writes ``{"tensors": ..., "meta": ...}`` as the newest checkpoint.

        Raises:
            RunError: the disk is full or cannot be written to; the checkpoint before is still whole.
        """
        number = max((int(p.name) for p in self._folders()), default=0) + 1
        beside = self.folder / (f".{number:06d}" if self.lease is None else f".{number:06d}.{self.lease.token}")
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            sums = {
                "tensors.safetensors": _write(beside / "tensors.safetensors", _pieces(saved["tensors"])),
                "state.json": _write(beside / "state.json", [json.dumps(saved["meta"]).encode()]),
            }
            _write(beside / "sealed.json", [json.dumps(sums).encode()])
            if self.lease is not None:
                self.lease.check()
            os.rename(beside, self.folder / f"{number:06d}")
            flushed(self.folder)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise RunError(
                f"cannot write the checkpoint {self.folder / str(number)}: {error.strerror or error}; the one before is whole: "
                f"{instead(error, 'resume')}"
            ) from error
        for old in (
            *self._folders()[:-2],
            *self.folder.glob(".[0-9]*"),
        ):  # and what a process that died left half written
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint; None where there is none. Damaged ones are passed over and noted."""
        from safetensors.torch import load

        for folder in reversed(self._folders()):
            try:
                sums = json.loads((folder / "sealed.json").read_bytes())
                content = {name: (folder / name).read_bytes() for name in ("tensors.safetensors", "state.json")}
                if any(hashlib.sha256(data).hexdigest() != sums[name] for name, data in content.items()):
                    raise ValueError("its content is not what was sealed")
                return {"tensors": load(content["tensors.safetensors"]), "meta": json.loads(content["state.json"])}
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.damaged.append(f"{folder}: {error}")
        return None

    def sealed(self) -> dict[str, Any] | None:
        """What the newest checkpoint says, where it is whole; None where there is none, or it is damaged. Its tensors are not loaded."""
        for folder in self._folders()[-1:]:
            try:
                sums = json.loads((folder / "sealed.json").read_bytes())
                content = (folder / "state.json").read_bytes()
                with open(folder / "tensors.safetensors", "rb") as file:
                    tensors = hashlib.file_digest(file, "sha256").hexdigest()
                if (hashlib.sha256(content).hexdigest(), tensors) == (sums["state.json"], sums["tensors.safetensors"]):
                    found: dict[str, Any] = json.loads(content)
                    return found if found["learnt"] >= 0 else None
            except (OSError, ValueError, KeyError, TypeError):
                pass
        return None

    def told(self) -> dict[str, Any] | None:
        """What the newest whole checkpoint says, its tensors unread."""
        for folder in reversed(self._folders()):
            try:
                sums, content = json.loads((folder / "sealed.json").read_bytes()), (folder / "state.json").read_bytes()
                if hashlib.sha256(content).hexdigest() == sums["state.json"]:
                    found: dict[str, Any] = json.loads(content)
                    return found
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def _folders(self) -> list[Path]:
        if not self.folder.exists():
            return []
        return sorted(p for p in self.folder.iterdir() if p.is_dir() and p.name.isdigit())


_DTYPES = {
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{"bfloat16": "BF16", "uint8": "U8", "bool": "BOOL"},
}


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Tensors in the format of safetensors, one after another: its own `save` needs all of them a second time in memory, and
    where that is short ends the process."""
    import torch

    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, at = {}, 0
    for name in order:
        t = tensors[name]
        end = at + t.numel() * t.element_size()
        dtype = _DTYPES[str(t.dtype).removeprefix("torch.")]
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        t = tensors[name].detach().cpu().contiguous()
        if t.numel():
            yield t.view(-1).view(torch.uint8).numpy().data


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> str:
    """Writes and flushes a file; gives its hash."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
