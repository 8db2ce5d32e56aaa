"""Checkpoints: whole or not there, never code, and the newest whole one is found."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lifelong.core import state_io as tree
from lifelong.core.errors import RunError
from lifelong.core.files import locked, write_atomically
from lifelong.core.vector import Vector
from lifelong.runs.checkpoint import Store


def saved(value: float) -> dict[str, object]:
    return {"tensors": {"w": torch.full((3,), value)}, "meta": {"value": value}}


def test_round_trip_and_the_newest_two(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.newest() is None
    for value in (1.0, 2.0, 3.0):
        store.save(saved(value))
    found = store.newest()
    assert found["meta"] == {"value": 3.0}
    assert found["tensors"]["w"].tolist() == [3, 3, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000002", "000003"]


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "sealed.json"])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "missing", "empty"])
def test_damage_is_recognised(tmp_path: Path, file: str, damage: str) -> None:
    store = Store(tmp_path)
    store.save(saved(1.0))
    store.save(saved(2.0))
    path = tmp_path / "000002" / file
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "one bit":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    found = store.newest()
    assert found["meta"] == {"value": 1.0}
    assert "000002" in store.damaged[0]


def test_tensors_are_written_as_safetensors_has_them(tmp_path: Path) -> None:
    from safetensors.torch import load, load_file, save

    kinds = [torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.uint8]
    kinds += [torch.int8, torch.int16, torch.int32, torch.int64]
    draws = torch.Generator().manual_seed(0)
    tensors = {f"{k}/é": (100 * torch.rand(3, 5, generator=draws)).to(k) for k in kinds}
    tensors |= {"none": torch.zeros(0, 4), "one": torch.tensor(2.5), "turned": torch.rand(4, 6, generator=draws).T}
    Store(tmp_path).save({"tensors": tensors, "meta": {}})
    found = load_file(tmp_path / "000001" / "tensors.safetensors")
    theirs = load(save({k: v.contiguous() for k, v in tensors.items()}))
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)
        assert torch.equal(found[key], theirs[key])


def test_an_unfinished_checkpoint_is_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(saved(1.0))
    beside = tmp_path / ".000002"
    beside.mkdir()
    (beside / "tensors.safetensors").write_bytes(b"half")
    assert store.newest()["meta"] == {"value": 1.0}
    store.save(saved(2.0))
    assert store.newest()["meta"] == {"value": 2.0}


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save(saved(1.0))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left.*free some space"):
        store.save(saved(2.0))
    (tmp_path / "file").write_text("old")
    with pytest.raises(RunError, match="No space left"):
        write_atomically(tmp_path / "file", "new")
    monkeypatch.undo()
    assert store.newest()["meta"] == {"value": 1.0}
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001", "file"]


def test_a_folder_is_entered_once(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunError, match="in use"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@dataclass(frozen=True)
class Inner:
    v: Vector
    n: int


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: list[dict[str, Tensor]]
    pair: tuple[int, float]
    maybe: Tensor | None
    draws: torch.Generator
    name: str


def test_states_are_taken_apart_and_put_together() -> None:
    draws = torch.Generator().manual_seed(5)
    value = Outer(
        Inner(Vector(("a", "b"), [torch.ones(2), torch.zeros(3, 1)]), 3),
        [{"x": torch.arange(4)}, {}],
        (1, 0.1),
        None,
        draws,
        "é",
    )
    tensors, skeleton = tree.split(value, "state")
    back = tree.join(Outer, json.loads(json.dumps(skeleton)), {k: v.clone() for k, v in tensors.items()})
    assert back.inner.v.names == ("a", "b")
    assert torch.equal(back.inner.v.flat(), value.inner.v.flat())
    assert (back.inner.n, back.pair, back.maybe, back.name) == (3, (1, 0.1), None, "é")
    assert torch.equal(back.many[0]["x"], torch.arange(4))
    assert torch.equal(torch.rand(3, generator=back.draws), torch.rand(3, generator=draws))
    assert tree.nbytes(value.inner) == 5 * 4


def test_a_skeleton_cannot_choose_types() -> None:
    with pytest.raises(RunError, match="does not fit"):
        tree.join(Outer, {"inner": {"__class__": "os.system"}}, {})
    with pytest.raises(TypeError, match="may hold"):
        tree.split({"f": print})
