"""An export that was tampered with is refused, whatever was changed in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save

from lifelong.core.errors import RunError
from lifelong.release import load
from lifelong.release.export import reader
from lifelong.release.export_io import TENSORS


def forged(exported: Path, folder: Path, change: Callable[[dict[str, Any]], Any], **files: bytes) -> Path:
    """A copy with another description and other files, sealed as if it were whole: what a malicious maker sends."""
    shutil.copytree(exported, folder)
    said = json.loads((folder / "about.json").read_text())
    for name, content in files.items():
        name = name.replace("_", ".")
        (folder / name).write_bytes(content)
        said["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(said)
    (folder / "about.json").write_text(json.dumps(said))
    return folder


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Sets what the path but its last part leads to, to that."""

    def change(said: dict[str, Any]) -> None:
        *there, last, value = path
        at: Any = said
        for key in there:
            at = at[key]
        at[last] = value

    return change


BOMB = 10**12
SEAL = {"size": 1, "sha256": "0"}
FORGERIES = {
    "a path upwards": (put("files", "../x.safetensors", SEAL), "expected plain names"),
    "an absolute path": (put("files", "/etc/passwd", SEAL), "expected plain names"),
    "a folder": (put("files", "a/b", SEAL), "expected plain names"),
    "the folder above": (put("files", "..", SEAL), "expected plain names"),
    "a path of another system": (put("files", "..\\x", SEAL), "expected plain names"),
    "code for a network": (put("about", "net", "name", "os:system"), "no net called 'os:system'"),
    "code for a method": (put("about", "method", 0, "name", "builtins:exec"), "no method called"),
    "an option that is none": (put("about", "net", "options", {"__class__": "x"}), "does not fit"),
    "another network": (put("about", "net", "options", {"hidden": [17]}), "the network described has"),
    "a giant network": (put("about", "net", "options", {"hidden": [BOMB, BOMB]}), "does not fit"),
    "very many hops": (
        put("about", "net", {"name": "memory_network", "options": {"hops": BOMB}, "code": "", "sha256": ""}),
        "more than the file has",
    ),
    "a network of very many layers": (put("about", "net", "options", {"hidden": [1] * 10**4}), "more layers than"),
    "a giant input": (put("about", "shape", [BOMB]), "does not fit"),
    "giant growth": (
        put("about", "growth", [{"kind": "wider", "layer": "1", "size": BOMB, "seed": 0, "noise": 0.0}]),
        "more growth than",
    ),
    "growth of a giant network": (
        lambda said: said["about"].update(
            net={"name": "mlp", "options": {"hidden": [1000, 1000]}, "code": "", "sha256": ""},
            growth=[{"kind": "wider", "layer": "1", "size": 20, "seed": 0, "noise": 0.0}],
        ),
        "more weights than the file",
    ),
    "giant outputs": (
        put("about", "growth", [{"kind": "outputs", "layer": "", "size": BOMB, "seed": 0, "noise": 0.0}]),
        "more growth than",
    ),
    "endless growth": (
        put("about", "growth", [{"kind": "wider", "layer": "1", "size": 20, "seed": 0, "noise": 0.0}] * 1000),
        "more growth than",
    ),
    "a class that is none": (put("about", "seen", [99]), "contradicts itself"),
    "a number for a word": (put("about", "stream", 7), "about.stream: expected a word"),
    "one field more": (put("about", "run", "rm"), "expected the keys"),
    "a scenario that is none": (put("about", "scenario", "any"), "expected 'task' or 'domain' or 'class'"),
    "a method that does not answer": (put("about", "answers", "hat"), "does not answer"),
    "a state without tensors": (put("state", "means", {"tensor": "state/none"}), "does not fit"),
    "a state of another kind": (put("state", [1, 2, 3]), "does not fit"),
    "another version": (put("version", 3), "has the version '3'"),
    "another format": (put("format", "pickle"), "describes no export"),
    "no files": (put("files", {}), "does not belong to this export"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_forgeries_are_refused(what: str, exported: Path, tmp_path: Path) -> None:
    change, message = FORGERIES[what]
    with pytest.raises(RunError, match=message):
        load(forged(exported, tmp_path / "forged", change))


def test_files_that_are_no_tensors_are_refused(exported: Path, tmp_path: Path) -> None:
    held = tensors_of((exported / TENSORS).read_bytes())
    more = {k: v for k, v in held.items() if "means" not in k}
    longer = (2**40).to_bytes(8, "little") + b"{}"  # a header that claims a terabyte
    for i, (content, message) in enumerate(
        (
            (pickle.dumps([1]), "no file of tensors"),
            (longer, "no file of tensors"),
            (save(more), "does not fit"),
            (b"", "no file of tensors"),
        )
    ):
        with pytest.raises(RunError, match=message):
            load(forged(exported, tmp_path / str(i), lambda said: None, model_safetensors=content))
    folder = forged(exported, tmp_path / "long", lambda said: None)
    (folder / "about.json").write_bytes(b" " * (9 * 2**20))
    with pytest.raises(RunError, match="longer than"):
        load(folder)
    (folder / "about.json").write_text("[" * 10**6)
    with pytest.raises(RunError, match="no JSON"):
        load(folder)
    (folder / "about.json").unlink()
    (folder / "about.json").symlink_to(exported / "about.json")
    with pytest.raises(RunError, match="a link, which is not followed"):
        load(folder)
    with pytest.raises(RunError, match="is no export"):
        load(tmp_path)


def test_any_altered_byte_is_noticed(exported: Path, tmp_path: Path) -> None:
    """Of the tensors always; of the description where it matters: then an error of this library, never another."""
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    draws, predictor, x = random.Random(0), load(exported), torch.rand(4, 8, 8)
    for name, count in ((TENSORS, 40), ("about.json", 150)):
        whole = (folder / name).read_bytes()
        for _ in range(count):
            at = draws.randrange(len(whole))
            (folder / name).write_bytes(whole[:at] + bytes([draws.randrange(256)]) + whole[at + 1 :])
            try:
                found = load(folder).scores(x)
            except RunError:
                continue
            assert name == "about.json" or (folder / name).read_bytes() == whole
            assert torch.equal(found, predictor.scores(x))  # a name was changed, or a letter of what nobody reads
        (folder / name).write_bytes(whole)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_programs_are_not_opened_unasked(exported: Path, tmp_path: Path) -> None:
    """Without trust nothing of a program is read; with it, an archive that points outside, or unpacks to more than it is, is refused."""
    marker = tmp_path / "ran"

    def archive(name: str, content: bytes, how: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as file:
            file.writestr(name, content)
        return out.getvalue()

    def program(i: int, content: bytes, form: str = "torch") -> Path:
        name = {"torch": "model_pt2", "onnx": "model_onnx"}[form]
        return forged(exported, tmp_path / f"{form}{i}", put("about", "form", form), **{name: content})

    bomb = archive("data/weights/0", bytes(10**7), zipfile.ZIP_DEFLATED)
    for i, (content, message) in enumerate(
        (
            (archive("../evil", b"x"), "points outside"),
            (archive("/etc/cron.d/evil", b"x"), "points outside"),
            (archive("a/../../evil", b"x"), "points outside"),
            (bomb, "unpacks to more"),
            (b"PK no archive", "no program that torch can read"),
            (archive("archive/data.pkl", pickle.dumps(Evil(marker))), "no program"),
        )
    ):
        folder = program(i, content)
        with pytest.raises(RunError, match="say --trust"):
            reader(folder)
        with pytest.raises(RunError, match=message):
            reader(folder, trust=True)
    import onnx

    weight = onnx.TensorProto(data_type=1, dims=[1], name="w", data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [onnx.helper.make_tensor_value_info("y", 1, [1])],
        [weight],
    )
    content = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    for i, part in enumerate((content, b"no graph")):
        with pytest.raises(RunError, match="no program that onnxruntime can read"):
            reader(program(i, part, "onnx"), trust=True)
    assert not marker.exists()
