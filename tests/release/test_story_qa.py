"""Questions asked of what a run has learnt from stories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lifelong.cli import main


def test_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, told = tmp_path / "run", tmp_path / "story.txt"
    run = ["run", "--stream", "babi", "--stream.tasks", "1", "--stream.memory", "6", "--stream.examples", "600"]
    run += ["--stream.test_examples", "50", "--epochs", "15", "--net.units", "20", "--threads", "1"]
    assert main([*run, "--out", str(out)]) == 0
    assert "stories have more than 6 sentences" in capsys.readouterr().err
    told.write_text("1 Ada went to the attic.\n2 Emil moved to the porch.\n3 Ada walked to the pantry.\n")
    asked = ["ask", str(out), "--story", str(told), "--question"]
    assert main([*asked, "Where is Ada?"]) == 0
    answer, head, *rows = capsys.readouterr().out.splitlines()
    assert answer.startswith("pantry  (probability 0.")
    assert head.split() == ["hop", "1", "hop", "2", "hop", "3", "sentence"]
    seen = torch.tensor([[float(p) for p in row.split()[:3]] for row in rows])
    assert [" ".join(row.split()[3:]) for row in rows][2] == "ada walked to the pantry"
    assert rows[3].endswith("(none)")
    assert seen.sum(0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert seen[2].sum() > seen[:2].sum()  # it looked where the answer is
    told.write_text("\n".join(["Emil moved to the porch."] * 7 + ["Ada walked to the pantry."]))
    assert main([*asked, "Where is Ada?"]) == 0
    assert "first 2 sentences were left out" in capsys.readouterr().out
    for question, words in (("Where is Adaa?", "did you mean 'ada'"), ("?", "has no words")):
        assert main([*asked, question]) == 1
        assert words in capsys.readouterr().err
    told.write_text("\n")
    assert main([*asked, "Where is Ada?"]) == 1
    assert "is empty: expected one sentence a line" in capsys.readouterr().err
    for more, words in ((["--method", "ewc"], "has no ewc with seed 0"), (["--task", "3"], "one of 1")):
        told.write_text("Ada went to the attic.")
        assert main([*asked, "Where is Ada?", *more]) == 2
        assert words in capsys.readouterr().err


def test_ask_in_the_scenario_task_and_of_other_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "story.txt"
    told.write_text("Ada went to the attic.")
    small_run = ["--epochs", "1", "--threads", "1", "--stream.examples", "20", "--stream.test_examples", "20"]
    out = tmp_path / "run"
    words = ["run", "--stream", "babi", "--scenario", "task", "--net", "reader", "--method", "independent"]
    assert main([*words, *small_run, "--out", str(out)]) == 0
    asked = ["ask", str(out), "--story", str(told), "--question", "Is Ada in the attic?"]
    assert main(asked) == 2
    assert "expected the number of the kind of question, one of 1, 2, 3, 4, 5" in capsys.readouterr().err
    assert main([*asked, "--task", "4"]) == 0
    assert capsys.readouterr().out.split()[0] in ("yes", "no")
    other = tmp_path / "other"
    images = ["run", "--stream", "split", "--stream.source", "digits", "--net", "mlp", *small_run[:4]]
    assert main([*images, "--out", str(other)]) == 0
    assert main(["ask", str(other), *asked[2:]]) == 2
    assert "has no questions" in capsys.readouterr().err
    assert main(["ask", str(tmp_path), *asked[2:]]) == 1
    assert "is no run directory" in capsys.readouterr().err
