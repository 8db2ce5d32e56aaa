"""Inputs of every kind are answered as the run does: rows, images, sentences, stories."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong.cli import main
from lifelong.core.errors import DataError
from lifelong.release import export
from lifelong.release.export import reader
from lifelong.release.inputs import answers_csv, read_inputs
from lifelong.runs.jobs import execute
from lifelong.runs.load_run import load_run
from lifelong.runs.spec import RunSpec


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_is_answered(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in ("class", "task"):
        found = load_run(runs[scenario], "finetune")
        out = str(export(runs[scenario], tmp_path / scenario, method="finetune").folder)
        lines, truth = [",".join(["task", *(f"p{i}" for i in range(64)), "label", "id"])], []
        for task in found.stream:
            chunk = next(task.test.all(5))
            scores = found.learner.scores(chunk.x, task)
            for i, (x, y) in enumerate(zip(chunk.x.flatten(1).tolist(), chunk.y.tolist())):
                name = f"{task.index}-{i}"
                lines.append(",".join([task.name, *map(str, x), found.stream.class_names[y], name]))
                p = scores[i].softmax(0)
                truth.append((name, found.stream.class_names[int(p.argmax())], float(p.max())))
        given = tmp_path / "rows.csv"
        given.write_text("\n".join(lines) + "\n")
        assert main(["predict", out, str(given), "--out", str(tmp_path / "answers.csv")]) == 0
        text = (tmp_path / "answers.csv").read_text()
        assert text.splitlines()[0] == "id,answer,probability,task,label"
        assert [(r["id"], r["answer"]) for r in rows(text)] == [(n, a) for n, a, _ in truth]
        assert [float(r["probability"]) for r in rows(text)] == pytest.approx([p for _, _, p in truth], abs=1e-5)
        assert main(["gate", "--old", str(tmp_path / "answers.csv"), "--new", str(tmp_path / "answers.csv")]) == 0
    capsys.readouterr()
    bare = tmp_path / "bare.csv"
    bare.write_text(",".join(["0"] * 64) + "\n")
    assert main(["predict", out, str(bare)]) == 2
    assert "needs the task of its inputs (--task" in capsys.readouterr().err
    assert main(["predict", out, str(bare), "--task", "9"]) == 1
    assert "no task '9'" in capsys.readouterr().err
    assert main(["predict", out, str(bare), "--task", "2"]) == 0
    [row] = rows(capsys.readouterr().out)
    assert row["answer"] in [found.stream.class_names[c] for c in found.stream[1].classes]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to answer"),
        ("1,2,3\n", "line 1: 3 columns of inputs, expected 64"),
        (",".join(["0"] * 64) + "\n" + ",".join(["0"] * 63) + "\n", "line 2: 63 cells, expected 64"),
        (",".join(["0"] * 64) + "\n" + ",".join(["x"] * 64) + "\n", "line 2: expected numbers"),
        (",".join(["nan"] * 64) + "\n", "line 1: a number is NaN"),
        ('"', "line 1: no CSV"),
    ],
)
def test_rows_that_are_wrong(text: str, message: str, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    about, scores = reader(exported)
    with pytest.raises(DataError, match=message):
        answers_csv(about, scores, read_inputs(about, str(tmp_path / "rows.csv")))


def test_images_are_answered(runs: dict[str, Path], exported: Path, tmp_path: Path) -> None:
    from PIL import Image

    found = load_run(runs["class"], "icarl")
    x = next(found.stream[0].test.all(6)).x
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pixels = (x * 255).round().to(torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(folder / ("deep" if i > 3 else ".") / f"{i}.png")
    about, scores = reader(exported)
    answered = rows(answers_csv(about, scores, read_inputs(about, str(folder))))
    truth = [found.stream.class_names[c] for c in found.learner.scores(pixels).argmax(1).tolist()]
    assert {Path(r["id"]).stem: r["answer"] for r in answered} == {str(i): a for i, a in enumerate(truth)}
    one = folder / "0.png"
    assert rows(answers_csv(about, scores, read_inputs(about, str(one))))[0]["answer"] == truth[0]
    Image.new("RGB", (20, 30), (9, 9, 9)).save(one)
    with pytest.raises(DataError, match=r"0.png has 30 × 20 pixels, the predictor takes 8 × 8: --resize"):
        answers_csv(about, scores, read_inputs(about, str(one)))
    assert rows(answers_csv(about, scores, read_inputs(about, str(one), resize=True)))
    one.write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match="is not an image"):
        answers_csv(about, scores, read_inputs(about, str(one)))
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(one, compress_level=9)  # 80 kB that unpack to 81 MB
    with pytest.raises(DataError, match="more than 50000000"):
        answers_csv(about, scores, read_inputs(about, str(one), resize=True))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images in"):
        answers_csv(about, scores, read_inputs(about, str(tmp_path / "none")))


def test_sentences_are_answered(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    keys = {
        "stream": "clinc150",
        "scenario": "class",
        "stream.examples": 45,
        "stream.test_examples": 15,
        "net.hidden": "8",
        "epochs": 1,
    }
    execute(RunSpec.from_keys(keys), tmp_path / "run")
    found, out = load_run(tmp_path / "run"), export(tmp_path / "run", tmp_path / "out").folder
    intents = ("freeze_account", "translate", "weather")
    data = json.loads((real_data / "clinc150" / "data_full.json").read_text())
    said = [next(s for s, i in data["test"] if i == intent) for intent in intents]
    (tmp_path / "said.txt").write_text("\n\n".join(said))
    monkeypatch.delenv("LIFELONG_DATA")  # the export knows its words itself
    about, scores = reader(out)
    answered = rows(answers_csv(about, scores, read_inputs(about, str(tmp_path / "said.txt"))))
    assert [r["id"] for r in answered] == ["1", "3", "5"]
    names = found.stream.class_names
    for row, intent in zip(answered, intents):
        task = next(t for t in found.stream if names.index(intent) in t.classes)
        index = torch.tensor([task.classes.index(names.index(intent))])  # one test sentence an intent
        p = found.learner.scores(next(task.test.chunks(index, 1)).x)[0].softmax(0)
        assert row["answer"] == names[int(p.argmax())]
        assert float(row["probability"]) == pytest.approx(float(p.max()), abs=1e-5)
    (tmp_path / "empty.txt").write_text("\n \n")
    for source, message in (
        (tmp_path / "empty.txt", "is empty: expected a sentence"),
        (tmp_path, "takes text, a sentence a line"),
    ):
        with pytest.raises(DataError, match=message):
            answers_csv(about, scores, read_inputs(about, str(source)))


def test_stories_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {
        "stream": "babi",
        "stream.tasks": "1",
        "stream.examples": 100,
        "stream.test_examples": 20,
        "stream.memory": 6,
        "epochs": 1,
    }
    execute(RunSpec.from_keys(keys), tmp_path / "run")
    found, out = load_run(tmp_path / "run"), export(tmp_path / "run", tmp_path / "out").folder
    words = found.stream.class_names
    x = next(found.stream[0].test.all(2)).x

    def story(i: int) -> list[str]:
        return [" ".join(words[w - 1] for w in line if w) for line in x[i].tolist() if any(line)]

    text = "\n".join(
        ["1 " + story(0)[0], *story(0)[1:-1], f"9 {story(0)[-1]}?\tthere\t1", "", *story(1)[:-1], story(1)[-1] + "?"]
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["predict", str(out), "-"]) == 0
    answered = rows(capsys.readouterr().out)
    p = found.learner.scores(x).softmax(1)
    assert [r["answer"] for r in answered] == [words[c] for c in p.argmax(1).tolist()]
    assert [float(r["probability"]) for r in answered] == pytest.approx(p.max(1).values.tolist(), abs=1e-5)
    about, scores = reader(out)
    for wrong, message in (
        ("Where is it?\n", "line 1: a question without a sentence"),
        (f"{story(0)[0]}\nWhere is Zaphod?\n", "line 2: .*not in the vocabulary"),
        (f"{story(0)[0]}\n", "has no question"),
    ):
        (tmp_path / "story.txt").write_text(wrong)
        with pytest.raises(DataError, match=message):
            answers_csv(about, scores, read_inputs(about, str(tmp_path / "story.txt")))
