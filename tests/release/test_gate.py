"""The gate before a release: numbers worked by hand, files that are wrong, and runs that forget or retain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lifelong.cli import main
from lifelong.core.errors import DataError, MethodError
from lifelong.release import Answers, Limits, gate
from lifelong.release.gate import Slice
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec

# task, label, what the old model says, what the new one says
ROWS = [
    ("a", "cat", "cat", "cat"),
    ("a", "cat", "cat", "dog"),  # a negative flip
    ("a", "cat", "dog", "cat"),  # a positive one
    ("a", "dog", "dog", "dog"),
    ("a", "dog", "dog", "dog"),
    ("b", "dog", "dog", "cat"),  # a negative flip
    ("b", "dog", "dog", "cat"),  # another
    ("b", "dog", "cat", "cow"),  # wrong before and now
    ("b", "cow", "cow", "cow"),
    ("b", "cow", "cow", "dog"),  # another
]


def answers(which: int, rows: list[tuple[str, str, str, str]] = ROWS) -> Answers:
    task, label = tuple(r[0] for r in rows), tuple(r[1] for r in rows)
    return Answers("ab"[which], label, tuple(r[2 + which] for r in rows), task, where=tuple(map(str, range(len(rows)))))


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_flips_and_changes_by_hand() -> None:
    found = gate(answers(0), answers(1))
    total = found.total
    assert (total.n, total.old, total.new, total.negative, total.positive) == (10, 8, 5, 4, 1)
    assert total.change == pytest.approx(-0.3)
    assert total.rate == pytest.approx(0.4)
    assert total.p == pytest.approx(2 * (1 + 5) / 32)  # 5 flips, at most 1 the one way
    a, b = found.tasks
    assert (a.name, a.n, a.old, a.new, a.negative, a.positive) == ("a", 5, 4, 4, 1, 1)
    assert (b.name, b.n, b.old, b.new, b.negative, b.positive) == ("b", 5, 4, 1, 3, 0)
    assert found.flips == (("dog", "cat", 2), ("cat", "dog", 1), ("cow", "dog", 1))
    assert [(s.name, s.change) for s in found.classes] == [
        ("a: cat", 0.0),
        ("a: dog", 0.0),
        ("b: cow", -0.5),
        ("b: dog", pytest.approx(-2 / 3)),
    ]
    assert found.worst.name == "b: dog"
    assert not found.passed
    assert [(c.what, c.where, c.passed) for c in found.checks] == [
        ("drop", "all", False),
        ("drop", "a", True),
        ("drop", "b", False),
    ]


def test_intervals_by_hand() -> None:
    # p = (9 + 1)/100, q = (3 + 1)/100: -0.06 ± 1.959964 √((0.14 - 0.0036)/100)
    low, high = Slice("", 98, 0, 0, 9, 3).change_interval
    assert (low, high) == (pytest.approx(-0.06 - 0.0723862, abs=1e-6), pytest.approx(-0.06 + 0.0723862, abs=1e-6))
    # none of ten, all of ten: 1 - (α/2)^(1/10)
    assert Slice("", 10, 0, 0, 0, 0).rate_interval == (0.0, pytest.approx(1 - 0.025**0.1))
    assert Slice("", 10, 0, 0, 10, 0).rate_interval == (pytest.approx(0.025**0.1), 1.0)
    assert Slice("", 10, 0, 0, 6, 0).p == 2 / 64
    assert Slice("", 10, 0, 0, 0, 0).p == 1.0
    wide, narrow = (Slice("", 98, 0, 0, 9, 3, c).change_interval for c in (0.99, 0.8))
    assert wide[0] < low < narrow[0] < narrow[1] < high < wide[1]


def test_what_is_decided_on() -> None:
    """Nine of 98 flip to wrong, three to right: a drop of 0.061, by the interval from -0.012 to 0.132."""
    rows = [("t", "x", "x", "y")] * 9 + [("t", "x", "y", "x")] * 3 + [("t", "x", "x", "x")] * 86
    old, new = answers(0, rows), answers(1, rows)

    def passes(decide: str, **limits: float) -> bool:
        return gate(old, new, Limits(**{"max_drop": None, **limits}, decide=decide)).passed  # type: ignore[arg-type]

    assert [passes(d, max_drop=0.05) for d in ("point", "shown", "excluded")] == [False, True, False]
    assert [passes(d, max_drop=0.07) for d in ("point", "shown", "excluded")] == [True, True, False]
    assert passes("excluded", max_drop=0.14)
    assert [passes(d, max_negative_flips=0.05) for d in ("point", "shown", "excluded")] == [False, True, False]
    assert [passes(d, worst_class=0.06) for d in ("point", "shown", "excluded")] == [False, True, False]
    assert passes("point", max_drop=6 / 98)  # as much as the limit is not more
    assert passes("point")  # nothing was asked for


def test_files_statuses_and_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.csv", "task,label,prediction\n" + "".join(f"{t},{y},{a}\n" for t, y, a, _ in ROWS))
    new = write(tmp_path / "new.csv", "label,answer,task\n" + "".join(f"{y},{b},{t}\n" for t, y, _, b in ROWS))
    pages = [*("--json", str(tmp_path / "g.json")), *("--markdown", str(tmp_path / "g.md"))]
    assert main(["gate", "--old", old, "--new", new, *pages]) == 1
    assert "2 of 3 limits exceeded" in capsys.readouterr().err
    found = json.loads((tmp_path / "g.json").read_text())
    assert not found["passed"]
    assert found["total"]["negative_flip_rate"] == 0.4
    assert found["negative_flips"][0] == {"label": "dog", "now": "cat", "count": 2}
    page = (tmp_path / "g.md").read_text()
    assert page.startswith("# Retention gate: failed")
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    assert ["label \\ now", "cat", "dog"] in cells
    assert ["dog", "2", "·"] in cells
    assert main(["gate", "--old", old, "--new", old]) == 0
    assert main(["gate", "--old", old, "--new", new, "--max-drop", "0.6"]) == 0
    assert main(["gate", "--old", old, "--new", new, "--max-drop", "none", "--worst-class", "0.6"]) == 1
    assert "b: dog" in capsys.readouterr().out
    for wrong in (["--max-drop", "much"], ["--max-drop", "7"], ["--confidence", "2"], ["--old-seed", "1"]):
        assert main(["gate", "--old", old, "--new", new, *wrong]) == 2
    with pytest.raises(SystemExit) as status:
        main(["gate", "--old", old])
    assert status.value.code == 2
    assert main(["gate", "--old", old, "--new", str(tmp_path / "none.csv")]) == 2  # 1 would mean that it forgot


def test_rows_are_matched_by_id(tmp_path: Path) -> None:
    old = Answers.read(write(tmp_path / "old.csv", "id,label,prediction\nu,x,x\nv,y,y\nw,y,x\n"))
    new = Answers.read(write(tmp_path / "new.csv", "id,label,prediction\nw,y,y\nu,x,y\nv,y,y\n"))
    found = gate(old, new)
    assert (found.total.negative, found.total.positive) == (1, 1)
    assert found.flips == (("x", "y", 1),)
    assert [s.name for s in found.classes] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "new.csv is empty"),
        ("label,prediction\n", "has no rows below"),
        ("lable,prediction\nx,y\n", "line 1: no column 'label' .did you mean 'lable'"),
        ("label,said\nx,y\n", "line 1: no column 'prediction'"),
        ("label,prediction,answer\nx,y,y\n", "line 1: both columns"),
        ("label,prediction,label\nx,y,x\n", "line 1: the column 'label' stands twice"),
        ("label,prediction\nx,x\ny\n", "line 3: 1 cells, expected 2"),
        ("label,prediction\nx,x\n\ny,\n", "line 4: the column 'prediction' is empty"),
        ('label,prediction\nx,x\ny,"y\n', "line 3: no CSV"),
        ("id,label,prediction\n1,x,x\n1,y,y\n", "line 3: the id '1' stands in line 2 already"),
        ("label,prediction\nx,x\nx,y\n", "new.csv, line 3: label 'x', but .*old.csv, line 3 has 'y'"),
        ("label,prediction\nx,x\n", "old.csv has 2 rows, .*new.csv has 1"),
        ("task,label,prediction\na,x,x\na,y,y\n", "new.csv has a column 'task', .*old.csv has none"),
    ],
)
def test_files_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    old = Answers.read(write(tmp_path / "old.csv", "label,prediction\nx,x\ny,y\n"))
    with pytest.raises(DataError, match=message):
        gate(old, Answers.read(write(tmp_path / "new.csv", text)))


def test_ids_that_do_not_match(tmp_path: Path) -> None:
    old = Answers.read(write(tmp_path / "old.csv", "id,label,prediction\nu,x,x\nv,y,y\n"))
    for text, message in (
        ("id,label,prediction\nu,x,x\nw,y,y\n", "old.csv, line 3: the id 'v' is not in .*new.csv"),
        ("id,label,prediction\nu,x,x\nv,y,y\nw,y,y\n", "new.csv, line 4: the id 'w' is not in .*old.csv"),
        ("id,label,prediction\nv,y,y\nu,y,y\n", "new.csv, line 3: label 'y', but .*old.csv, line 2 has 'x'"),
    ):
        with pytest.raises(DataError, match=message):
            gate(old, Answers.read(write(tmp_path / "new.csv", text)))
    (tmp_path / "new.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        Answers.read(tmp_path / "new.csv")
    with pytest.raises(MethodError, match="a fraction"):
        Limits(max_drop=-0.1)


PERMUTED = {"stream": "permuted", "stream.source": "digits", "net.hidden": "32", "epochs": 6, "threads": 1}


def test_a_model_that_forgets_and_one_that_retains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, other = tmp_path / "old", tmp_path / "new", tmp_path / "other"
    execute(RunSpec.from_keys({**PERMUTED, "stream.tasks": 1}), old)
    both = {"method": "finetune,replay", "replay.buffer_size": 2000}
    _, failed = execute(RunSpec.from_keys({**PERMUTED, **both, "stream.tasks": 3}), new)
    assert not failed
    page = tmp_path / "g.json"
    limits = ["--max-drop", "0.05", "--json", str(page)]
    assert main(["gate", "--old", str(old), "--new", str(new), "--new-method", "finetune", *limits]) == 1
    found = json.loads(page.read_text())
    [task] = found["tasks"]  # what the old one has learnt
    assert task["change"] < -0.1
    [r] = [line for line in (new / "results.csv").read_text().splitlines() if ",finetune,0,3,1,accuracy," in line]
    assert task["accuracy_new"] == float(r.split(",")[7])  # as the run measured it
    assert main(["gate", "--old", str(old), "--new", str(new), "--new-method", "replay", *limits]) == 0
    capsys.readouterr()
    assert main(["gate", "--old", str(new), "--new", str(old)]) == 2
    assert "has no task" in capsys.readouterr().err
    execute(RunSpec.from_keys({**PERMUTED, "stream.tasks": 1, "stream.seed": 5, "epochs": 1}), other)
    assert main(["gate", "--old", str(old), "--new", str(other)]) == 2
    assert "on other inputs" in capsys.readouterr().err


def test_a_model_that_knew_nothing_is_noted_and_may_be_held_to_an_error() -> None:
    rows = [("t", "x", "y", "y")] * 6 + [
        ("t", "y", "y", "y")
    ] * 4  # always the same answer, and not the more frequent one
    found = gate(answers(0, rows), answers(1, rows), Limits(max_error=0.7))
    assert found.passed
    assert found.remarks == (
        "the old model knew little of t that could be forgotten: it answers 0.4000 of it rightly, its most frequent label alone would 0.6000",
    )
    assert "Note: the old model knew little of t" in found.to_markdown()
    assert not gate(answers(0, rows), answers(1, rows), Limits(max_error=0.5)).passed
    # six of ten wrong: the interval of Clopper and Pearson from 0.262 to 0.878
    for decide, limit in (("shown", 0.27), ("excluded", 0.88)):
        assert gate(answers(0, rows), answers(1, rows), Limits(None, max_error=limit, decide=decide)).passed  # type: ignore[arg-type]
        assert not gate(answers(0, rows), answers(1, rows), Limits(None, max_error=limit - 0.02, decide=decide)).passed  # type: ignore[arg-type]
    good = [("t", "x", "x", "x"), ("t", "x", "x", "y"), ("t", "y", "y", "y")]
    assert not gate(answers(0, good), answers(1, good)).remarks
