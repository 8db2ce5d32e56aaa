"""An export on disk: files that are held to their hashes, and a predictor built of them without running anything they hold.

=========================  =================================================================================
``about.json``             what it is (`lifelong.release.about`), and length and SHA-256 of every other file
``model.safetensors``      weights and buffers of the network, and what the method's `predict` reads
``FIELD-NNN.safetensors``  an entry of a list that the method keeps apart (an expert, its gate)
``README.md``              the model card
=========================  =================================================================================

A program has ``model.pt2`` or ``model.onnx`` in the place of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final, overload

import torch
from torch import Tensor

from ..core import code
from ..core import state_io as tree
from ..core.chain import chain
from ..core.errors import LifelongError, RunError
from ..core.growth import Growth
from ..core.options import convert
from ..core.registry import METHODS, NETS, Entry, find
from ..core.system import open_plain
from ..core.yaml_io import plain
from ..nets.growing import grow
from ..nets.heads import last_linear
from ..runs.spec import precision_of
from ..runs.spec_keys import network_maker, options_of
from .about import FORMAT, VERSION, About, Part, from_plain
from .predictor import Predictor

__all__ = ["Apart", "Checksum", "Files", "load", "read_about", "tensor_files"]

MOST = 8 * 2**20  # bytes of about.json: names of classes and words take the most of it
TENSORS = "model.safetensors"


@final
@dataclass(frozen=True)
class Checksum:
    """What a file was when it was exported."""

    size: int
    sha256: str

    @staticmethod
    def of(content: bytes) -> Checksum:
        return Checksum(len(content), hashlib.sha256(content).hexdigest())


@final
class Files:
    """The files of an export. `reads` counts how often each was read."""

    def __init__(self, folder: Path, checksums: Mapping[str, Checksum]) -> None:
        self.folder, self.checksums = folder, checksums
        self.reads: Counter[str] = Counter()

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            RunError: it does not belong to the export, is missing, a link, or not what was exported.
        """
        path = self.folder / name
        if name not in self.checksums:
            raise RunError(f"{path} is not listed in {self.folder / 'about.json'}: it does not belong to this export")
        content = read_plain(path, self.checksums[name].size)
        if Checksum.of(content) != self.checksums[name]:
            raise RunError(
                f"{path} has been altered: it is not what was exported (its SHA-256 differs from that in about.json); restore it, or "
                "export again"
            )
        self.reads[name] += 1
        return content

    def check(self) -> None:
        """Raises `RunError` where a file is missing or of another length, before any is read."""
        for name, checksum in self.checksums.items():
            path = self.folder / name
            if not path.exists() and not path.is_symlink():
                raise RunError(f"{path} is missing: restore it, or export again")
            if path.lstat().st_size != checksum.size and not path.is_symlink():
                raise RunError(
                    f"{path} has been altered: it has {path.lstat().st_size} bytes, not {checksum.size}; restore it"
                )

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a file.

        Raises:
            RunError: as `read`; or it is no safetensors.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as loaded

        try:
            return loaded(self.read(name))
        except SafetensorError as error:
            raise RunError(f"{self.folder / name} is no file of tensors ({error}): export again") from error


@final
class Apart(Sequence[Any]):
    """A list of a method's state whose entries are files: each is read when it is asked for, and not kept."""

    def __init__(self, files: Files, entries: Sequence[tuple[str, Any]], hint: Any) -> None:
        self.files, self.entries, self.hint = files, entries, hint

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> Apart: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return Apart(self.files, self.entries[i], self.hint)
        name, skeleton = self.entries[i]
        return tree.join(self.hint, skeleton, self.files.tensors(name), name)


# --- writing ------------------------------------------------------------------------------------------------------------
def tensor_files(predictor: Predictor) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a predictor's tensors, and what must be known to put its state together."""
    from safetensors.torch import save

    def content(tensors: Mapping[str, Tensor]) -> bytes:
        return save({k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()})

    method, state = predictor.method, predictor.state
    found: dict[str, bytes] = {}
    apart: dict[str, list[Any]] = {}
    for field in () if method is None else method.apart:
        apart[field] = []
        for i, entry in enumerate(getattr(state, field)):
            tensors, skeleton = tree.split(entry, field)
            name = f"{field}-{i:03d}.safetensors"
            found[name] = content(tensors)
            apart[field].append([name, skeleton])
        state = replace(state, **{field: []})
    tensors, skeleton = tree.split(state, "state")
    net = {f"net/{name}": t for name, t in predictor.net.state_dict().items()}
    found[TENSORS] = content({**net, **tensors})
    return found, {"state": skeleton, "apart": apart}


def about_json(about: About, state: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """``about.json``."""
    checksums = {name: asdict(Checksum.of(content)) for name, content in files.items()}
    return json.dumps(
        {"format": FORMAT, "version": VERSION, "about": plain(asdict(about)), **state, "files": checksums}, indent=1
    )


# --- reading ------------------------------------------------------------------------------------------------------------
def read_plain(path: Path, most: int) -> bytes:
    """A file's content.

    Raises:
        RunError: it is missing, is no ordinary file, or is longer than `most`.
    """
    try:
        handle = open_plain(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing: restore it, or export again") from None
    except OSError as error:
        why = "a link, which is not followed" if path.is_symlink() else error.strerror
        raise RunError(f"{path} cannot be read ({why}): an export is a folder of ordinary files") from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RunError(f"{path} is no ordinary file: an export is a folder of ordinary files")
        content = file.read(most + 1)
    if len(content) > most:
        raise RunError(f"{path} has been altered: it is longer than the {most} bytes that it may have; restore it")
    return content


def read_about(folder: Path) -> tuple[About, Files, dict[str, Any]]:
    """What an export says of itself, its files, and what else its description holds. Nothing is built yet.

    Raises:
        RunError: there is no export, or its description is not as it should be.
    """
    path = folder / "about.json"
    if not path.exists() and not path.is_symlink():
        raise RunError(f"{folder} is no export: it has no about.json; `lifelong export RUN --out {folder}` makes one")
    try:
        said = json.loads(read_plain(path, MOST))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is no JSON ({error}): restore it, or export again") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise RunError(f"{path} describes no export of lifelong")
    if said.get("version") != VERSION:
        raise RunError(
            f"{path} has the version {str(said.get('version'))[:20]!r}, expected {VERSION}: use another lifelong, or export again"
        )
    about: About = from_plain(About, said.get("about"), f"{path}: about")
    checksums: dict[str, Checksum] = from_plain(dict[str, Checksum], said.get("files"), f"{path}: files")
    for name in checksums:
        if name != Path(name).name or name.startswith(".") or "\\" in name or "\0" in name or name == "about.json":
            raise RunError(f"{path} lists the file {name[:80]!r}: expected plain names of files beside it")
    return about, Files(folder, checksums), said


def load(folder: Path | str, allow_code: bool = False) -> Predictor:
    """The predictor that was exported as safetensors. Nothing in the files is run, whoever made them; code that they name is loaded only with
    `allow_code`.

    Raises:
        RunError: a file is missing or altered; the description names something unknown, or does not fit the tensors.
    """
    folder = Path(folder)
    about, files, said = read_about(folder)
    if about.form != "safetensors":
        raise RunError(
            f"{folder} holds a program ({about.form}), which decides what is run: see lifelong predict --trust"
        )
    files.check()
    tensors = files.tensors(TENSORS)
    try:
        return _build_predictor(about, files, tensors, said, allow_code)
    except RunError:
        raise
    except (LifelongError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{folder / 'about.json'} does not fit {TENSORS}: {str(error)[:300]}; restore both, or export again"
        ) from error


def _build_predictor(
    about: About, files: Files, tensors: dict[str, Tensor], said: Mapping[str, Any], allow_code: bool
) -> Predictor:
    net_tensors = {k.removeprefix("net/"): t for k, t in tensors.items() if k.startswith("net/")}
    method = chain(*(_build_part("method", METHODS, p, tensors, allow_code) for p in about.method))
    build = _build_part("net", NETS, about.net, tensors, allow_code)

    most = sum(t.numel() for t in tensors.values())
    if len(about.growth) > len(tensors):
        raise ValueError("more growth than the file has tensors")
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):  # what would not fit is not even allocated
            first = method.network(build(about.shape, about.outputs))
        if not about.growth:
            _check_shapes(first, net_tensors)
        _check_size(first, most)
        net = method.network(build(about.shape, about.outputs))
        for operation in about.growth:
            _check_growth(net, operation, most)
            grow(net, operation)
            _check_size(net, most)
    _check_shapes(net, net_tensors)
    net.to(precision_of(about.precision))
    net.load_state_dict(net_tensors)
    answering = next((m for m in method.parts() if "predict" in m.acts), None)
    if ("" if answering is None else answering.name) != about.answers:
        raise ValueError(f"{about.answers!r} does not answer in {about.method}")
    if answering is None:
        return Predictor(about, net)
    state = tree.join(answering.state_type, said["state"], tensors, "state")
    hints = typing.get_type_hints(answering.state_type) if answering.apart else {}
    apart = {
        name: Apart(files, [(str(n), s) for n, s in said["apart"][name]], typing.get_args(hints[name])[0])
        for name in answering.apart
    }
    return Predictor(about, net, answering, replace(state, **apart) if apart else state)


def _build_part(
    kind: str, table: Mapping[str, Entry], part: Part, tensors: Mapping[str, Tensor], allow_code: bool
) -> Any:
    if part.code and not allow_code:
        raise RunError(f"this export names code that would be run ({part.code}): say --allow-code if you trust it")
    if part.code and (now := code.fingerprint(part.code)) != part.sha256:
        raise RunError(
            f"{part.code} has changed since this was exported (SHA-256 {part.sha256[:12]} then, {now[:12]} now): put it back as it was, or export again"
        )
    entry = Entry(part.code, "") if part.code else find(kind, table, part.name)
    target = entry.load()
    hints = {o.name: o.hint for o in options_of(kind, entry)}
    given = {name: convert(hints[name], value, f"{part.name}.{name}") for name, value in part.options.items()}
    if any(isinstance(v, tuple) and len(v) > len(tensors) for v in given.values()):
        raise ValueError(f"{part.name} has more layers than the file has tensors")
    most = sum(t.numel() for t in tensors.values())
    sizes = [n for v in given.values() for n in (v if isinstance(v, tuple) else (v,)) if isinstance(n, int)]
    if kind == "net" and any(n > most for n in sizes):
        raise ValueError(f"{part.name} with {max(sizes)} units or more is more than the file has weights")
    return network_maker(entry, given) if kind == "net" else target(**given)


def _check_size(net: torch.nn.Module, most: int) -> None:
    if sum(t.numel() for t in net.state_dict().values()) > most:
        raise ValueError("the network described has more weights than the file")


def _check_growth(net: torch.nn.Module, operation: Growth, most: int) -> None:
    """Refuses a step that would allocate far more than the file has, before it does."""
    if operation.kind == "wider":
        wild = operation.size > 64 * net.get_parameter(f"{operation.layer}.weight").shape[0]
    else:
        wild = operation.kind == "outputs" and operation.size * last_linear(net).in_features > most
    if wild:
        raise ValueError(
            f"growth {operation.kind!r} to {operation.size} units is more growth than the file has weights"
        )


def _check_shapes(net: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    made = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    held = {name: tuple(t.shape) for name, t in tensors.items()}
    if made != held:
        odd = next(n for n in (*made, *held) if made.get(n) != held.get(n))
        raise ValueError(f"the network described has {odd} {made.get(odd)}, the file {held.get(odd)}")
