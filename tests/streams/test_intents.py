"""Sentences as bags of words; sources in turn; superclasses; a direction that turns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong import DataError, clinc150, mixed, split, turning
from lifelong.streams import load
from lifelong.streams.intents import Bag


def test_bags() -> None:
    x = torch.tensor([[1, 3, 1, 0], [0, 0, 0, 0], [2, 2, 2, 2]], dtype=torch.int16)
    assert Bag(3)(x).tolist() == [[2, 0, 1], [0, 0, 0], [0, 4, 0]]
    assert Bag(3)(x[1:2]).tolist() == [[0, 0, 0]]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clinc150"
    folder.mkdir()
    said = {"train": [["pay my Bill", "pay"], ["play a song", "play"], ["pay the bill", "pay"], ["play it", "play"]]}
    said["test"] = [["pay it twice twice", "pay"], ["song song", "play"]]
    (folder / "data_full.json").write_text(json.dumps(said))
    (folder / "domains.json").write_text(json.dumps({"money": ["pay"], "music": ["play"]}))
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    return folder


def test_clinc150_by_hand(small: Path) -> None:
    stream = clinc150(min_count=1)
    assert [t.name for t in stream] == ["money", "music"]
    assert stream.class_names == ("pay", "play")
    words = ["a", "bill", "it", "my", "pay", "play", "song", "the"]  # of the training sentences, case apart
    assert stream.shape == (8,)
    chunk = next(stream[0].train.all())
    assert [Counter(w for w, n in zip(words, row) for _ in range(int(n))) for row in chunk.x] == [
        Counter(["pay", "my", "bill"]),
        Counter(["pay", "the", "bill"]),
    ]
    assert next(stream[0].test.all()).x.sum() == 2  # "twice" is not in the vocabulary
    assert next(stream[1].test.all()).x[0, 6] == 2
    assert next(stream[1].test.all()).y.tolist() == [1]
    assert clinc150(min_count=2).shape == (3,)


def test_clinc150_that_is_not_as_published(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="one an intent"):
        clinc150(examples=0)
    (small / "domains.json").write_text(json.dumps({"money": ["pay"]}))
    with pytest.raises(DataError, match=r"not those of domains\.json"):
        clinc150()
    (small / "data_full.json").write_text("{")
    with pytest.raises(DataError, match="oos-eval"):
        clinc150()
    monkeypatch.delenv("LIFELONG_DATA")
    with pytest.raises(DataError, match="not set"):
        clinc150()
    with pytest.raises(DataError, match="'domain'"):
        clinc150("domain")


def test_clinc150_as_published(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data / "clinc150" / "data_full.json").exists():
        pytest.skip(f"no clinc150/data_full.json in {real_data}")
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    stream = clinc150("class")
    assert (len(stream), stream.outputs) == (10, 150)
    assert {len(t.classes) for t in stream} == {15}
    assert {len(t.train) for t in stream} == {1500}
    assert {len(t.test) for t in stream} == {450}
    few = clinc150("task", examples=45, test_examples=30)
    assert {len(t.train) for t in few} == {45}
    assert torch.bincount(few[3].train.labels)[45:60].tolist() == [3] * 15
    assert next(few[0].train.all()).x.sum(1).min() >= 1


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_sources_in_turn(scenario: str) -> None:
    stream = mixed(tasks=4, scenario=scenario)  # type: ignore[arg-type]
    digits, clothes = load("mnist-mini"), load("fashion-mnist-mini")
    assert [t.name for t in stream][::2] == ["0/1/2/3/4", "5/6/7/8/9"]
    assert stream[1].name.startswith("T-shirt")
    assert stream.outputs == (5 if scenario == "domain" else 20)
    if scenario != "domain":
        assert stream[3].classes == (15, 16, 17, 18, 19)
        assert stream.class_names == (*digits.class_names, *clothes.class_names)
    for task, source, first in ((stream[2], digits, 5), (stream[3], clothes, 5)):
        rows = (source.test_y >= first).nonzero().squeeze(1)
        chunk = next(task.test.all(10_000))
        assert torch.equal(chunk.x, source.test_x[rows].float() / 255)
        assert torch.equal(chunk.y - min(task.classes), source.test_y[rows] - first)
    with pytest.raises(DataError, match="even number"):
        mixed(tasks=3)
    with pytest.raises(DataError, match="one input shape"):
        mixed("mnist-mini", "digits", tasks=2)


def test_superclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    fine = np.arange(100, dtype=np.uint8)
    coarse = (np.arange(100) * 7 % 20).astype(np.uint8)
    for name in ("train.bin", "test.bin"):
        content = np.concatenate([coarse[:, None], fine[:, None], np.zeros((100, 3072), np.uint8)], 1)
        (folder / name).write_bytes(content.tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing_{c}" for c in range(100)) + "\n")
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    stream = split("cifar100", tasks=20, scenario="task", order="superclass")
    for k, task in enumerate(stream):
        assert set(coarse[list(task.classes)].tolist()) == {k}
        assert sorted(task.train.labels.tolist()) == sorted(task.classes)
    with pytest.raises(DataError, match="no superclasses"):
        split("digits", order="superclass")


def test_a_direction_that_turns() -> None:
    stream = turning(tasks=3, degrees=30, radius=3.0, seed=1, examples=20_000)
    assert sorted(stream.notes["degrees"].values()) == [0, 30, 60]
    for task in stream:
        chunk = next(task.train.all(20_000))
        mean = chunk.x[chunk.y == 1].mean(0) - chunk.x[chunk.y == 0].mean(0)
        angle = torch.rad2deg(torch.atan2(mean[1], mean[0]))
        assert float(angle) == pytest.approx(stream.notes["degrees"][task.name], abs=2)
        assert float(mean.norm()) == pytest.approx(6, abs=0.1)
    assert [t.name for t in turning(seed=0)] != [t.name for t in turning(seed=2)]
    with pytest.raises(DataError, match="the scenario 'domain'"):
        turning(scenario="task")
    with pytest.raises(DataError, match="radius"):
        turning(radius=0)
