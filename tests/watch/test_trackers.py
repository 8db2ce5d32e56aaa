"""What a run has measured, in TensorBoard's files, read back by TensorBoard. (MLflow and Weights & Biases are slow to start:
`benchmarks/trackers.py` does the same with them.)"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lifelong.cli import main
from lifelong.runs.heartbeat import FILE
from lifelong.runs.run_status import Folder
from run_folders import lay_out, learn


def scalars(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Steps, values and times by tag."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value, e.wall_time) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_holds_r_and_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = lay_out(tmp_path / "run", {"ewc/0": 5, "ewc+l2/3": 2}, running=False)
    assert main(["track", str(run), "--to", "tensorboard"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "tensorboard")
    seen = Folder(run).look("run")
    assert seen is not None
    whole = scalars(run / "tensorboard" / "ewc" / "0")
    R = seen.jobs[0].record.accuracy
    for i, name in enumerate(("1 zero", "2 one", "3 two _b_", "4 three")):
        assert [(s, pytest.approx(v)) for s, v, _ in whole[f"accuracy/{name}"]] == [(a, R[a][i]) for a in range(5)]
    assert [v for _, v, _ in whole["accuracy of tasks seen"]] == pytest.approx([sum(R[a][:a]) / a for a in range(1, 5)])
    assert [v for _, v, _ in whole["training seconds"]] == [0, 1, 3, 6, 10]
    assert [v for _, v, _ in whole["memory bytes"]] == [0, 200, 400, 600, 800]
    times = [t for _, _, t in whole["accuracy/1 zero"]]
    assert times[4] == pytest.approx(seen.jobs[0].times[4])
    acc = seen.summary(seen.jobs[0])["acc"]
    assert whole["measures/acc"][0][:2] == (4, pytest.approx(acc))
    assert "measures/intransigence" not in whole  # undefined: there is no joint
    part = scalars(run / "tensorboard" / "ewc+l2" / "3")
    assert len(part["accuracy/1 zero"]) == 2
    assert not any(tag.startswith("measures") for tag in part)
    assert main(["track", str(run), "--to", "tensorboard"]) == 1
    assert "--out" in capsys.readouterr().err


def test_rows_are_handed_on_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = lay_out(tmp_path / "run", {"ewc/0": 2}), tmp_path / "board"
    steps = []

    def meanwhile(seconds: float) -> None:
        steps.append([s for s, _, _ in scalars(out / "ewc" / "0")["accuracy/1 zero"]])
        learn(run, "ewc/0", len(steps) + 2)
        if len(steps) == 3:  # the last task is learnt, and the process leaves
            (run / "results.csv").write_text(
                "stream,scenario,method,seed,after,on,metric,value,n,seconds\npermuted,domain,ewc,0,0,1,accuracy,0,1,0\n"
            )
            (run / FILE).unlink()

    monkeypatch.setattr("time.sleep", meanwhile)
    assert main(["track", str(run), "--to", "tensorboard", "--out", str(out), "--follow"]) == 0
    assert steps == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]
    whole = scalars(out / "ewc" / "0")
    assert [s for s, _, _ in whole["accuracy/1 zero"]] == [0, 1, 2, 3, 4]
    assert "measures/acc" in whole


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["track", str(tmp_path), "--to", "tensorboard"]) == 1
    assert "no run directory" in capsys.readouterr().err
    run = lay_out(tmp_path / "run", {"ewc/0": 2}, running=False)
    assert main(["track", str(run), "--to", "tensorbord"]) == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["track", str(run), "--to", "wandb"]) == 1
    assert "lifelong[wandb]" in capsys.readouterr().err
